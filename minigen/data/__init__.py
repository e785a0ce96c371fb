"""Data: reading images into a `Dataset`, and serving batches of them.

    from minigen.data import DataLoader, load, to_float

    dataset = load("digits")  # or "shapes", a folder of images, an MNIST or CIFAR file, an .npz
    batches = DataLoader(dataset.images, dataset.labels, batch_size=64, seed=0)
    images, labels = next(batches)  # uint8 (64, 28, 28, 1), int64 (64,)
    x = to_float(images)  # float32 in [-1, 1]

Everything is held in memory, channels last. Nothing is downloaded.
"""

from .augment import binarise, symmetries, warp
from .base import Dataset
from .datasets import digits, load
from .formats import cifar, idx, image_folder, npz
from .loader import DataLoader, to_float, to_uint8
from .outlines import outlines
from .photos import patches, photograph, photos
from .shapes import shapes
from .solids import SOLIDS, solids
from .split import held_out
from .textures import textured
from .video import DIRECTIONS, captioned_shapes, moving_shapes

__all__ = [
    "DIRECTIONS",
    "SOLIDS",
    "DataLoader",
    "Dataset",
    "binarise",
    "captioned_shapes",
    "cifar",
    "digits",
    "held_out",
    "idx",
    "image_folder",
    "load",
    "moving_shapes",
    "npz",
    "outlines",
    "patches",
    "photograph",
    "photos",
    "shapes",
    "solids",
    "symmetries",
    "textured",
    "to_float",
    "to_uint8",
    "warp",
]
