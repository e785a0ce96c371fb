"""How much two images differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def psnr(images: Any, originals: Any, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared error) over all images; inf if they are equal.

    `peak` is the width of the range: 255 for uint8 images, 1 for [0, 1], 2 for [-1, 1].
    """
    images, originals = np.asarray(images, np.float64), np.asarray(originals, np.float64)
    if images.shape != originals.shape or not images.size:
        raise ValueError(f"psnr: needs two sets of images of one shape, got {images.shape} and {originals.shape}")
    if not peak > 0:
        raise ValueError(f"psnr: peak must be positive, got {peak}")
    error = np.mean((images - originals) ** 2)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def mean_psnr(images: Iterable[Any], originals: Iterable[Any]) -> float:
    """The mean over images in [0, 1], of any shapes, of the `psnr` of each; `images` are clipped to [0, 1] first."""
    pairs = [(np.asarray(image), np.asarray(original)) for image, original in zip(images, originals, strict=True)]
    if not pairs:
        raise ValueError("mean_psnr: needs at least one image, got none")
    for x in itertools.chain(*pairs):
        if x.dtype.kind != "f":
            raise TypeError(f"mean_psnr: needs floating-point images in [0, 1], got {x.dtype}")
    return float(np.mean([psnr(np.clip(image, 0, 1), original, peak=1) for image, original in pairs]))
