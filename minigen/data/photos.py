"""Colour photographs: patches of those that scikit-image and scikit-learn bring along, split by photograph.

They are the everyday ones among the pictures inside the two packages' wheels, so nothing is fetched. A patch of a
held-out photograph shows a scene of which no training patch shows any part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Dataset, require

# A photograph's number here is its label.
PHOTOGRAPHS = ("astronaut", "coffee", "flower", "motorcycle", "rocket", "chelsea", "china")
HELD_OUT = ("chelsea", "china")
TRAINING = tuple(name for name in PHOTOGRAPHS if name not in HELD_OUT)

_SCIKIT_IMAGE = ("skimage", "scikit-image", "data")  # module, package, folder in it
_SCIKIT_LEARN = ("sklearn", "scikit-learn", "datasets/images")
_FILES = {
    "astronaut": (*_SCIKIT_IMAGE, "astronaut.png"),
    "coffee": (*_SCIKIT_IMAGE, "coffee.png"),
    "flower": (*_SCIKIT_LEARN, "flower.jpg"),
    "motorcycle": (*_SCIKIT_IMAGE, "motorcycle_left.png"),
    "rocket": (*_SCIKIT_IMAGE, "rocket.jpg"),
    "chelsea": (*_SCIKIT_IMAGE, "chelsea.png"),
    "china": (*_SCIKIT_LEARN, "china.jpg"),
}


def photograph(name: str) -> np.ndarray:
    """A whole photograph by its name in PHOTOGRAPHS: uint8 (H, W, 3), the sides between 300 and 741."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"photograph: {name!r} is none of {', '.join(PHOTOGRAPHS)}")
    module, package, folder, file = _FILES[name]
    root = Path(require(module, package, f"the photograph {name!r}").__file__).parent
    pillow = require("PIL.Image", "Pillow", "the data set 'photos'")
    try:
        with pillow.open(root / folder / file) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        mend = f"reinstall it: pip install --force-reinstall {package}"
        raise FileNotFoundError(f"photos: cannot read {file} of the package {package} ({error}); {mend}") from error


def photos(size: int = 32, stride: int | None = None, held_out: bool = False) -> Dataset:
    """Square patches of the training photographs, or of the held-out ones: images (N, size, size, 3), labels (N,).

    stride: pixels from one patch to the next, across and down; by default half a patch, which gives 5,125 training
            patches of 32 x 32 and 1,434 held-out ones. Patches lie wholly inside their photograph.
    """
    stride = max(1, size // 2) if stride is None else stride
    if size < 1 or stride < 1:
        raise ValueError(f"photos: size and stride must be at least 1 pixel, got {size} and {stride}")
    images, labels = [], []
    for name in HELD_OUT if held_out else TRAINING:
        whole = photograph(name)
        if size > min(whole.shape[:2]):
            raise ValueError(f"photos: size {size} is more than a side of {name!r}, {whole.shape[:2]}")
        images.append(patches(whole, size, stride))
        labels.append(np.full(len(images[-1]), PHOTOGRAPHS.index(name), np.int64))
    return Dataset(np.concatenate(images), np.concatenate(labels), "photos")


def patches(whole: np.ndarray, size: int, stride: int) -> np.ndarray:
    """All square pieces of an image (H, W, C), row by row, from one to the next `stride` pixels: (N, size, size, C)."""
    if whole.ndim != 3 or not 1 <= size <= min(whole.shape[:2]) or stride < 1:
        raise ValueError(
            "patches: needs an image (H, W, C), size from 1 to its shorter side, and stride of at least 1, "
            f"got shape {whole.shape}, size {size}, stride {stride}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(whole, (size, size), (0, 1))[::stride, ::stride]
    return windows.transpose(0, 1, 3, 4, 2).reshape(-1, size, size, whole.shape[-1])  # (r,c,C,s,s) -> (r c,s,s,C)
