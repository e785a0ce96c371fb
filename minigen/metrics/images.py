"""How much two images differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..data.base import require


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


def ssim(images: np.ndarray, originals: np.ndarray) -> float:
    """The structural similarity of uint8 images (N, H, W, C), averaged over them: 1 if they are equal.

    Means, variances and the covariance of both are compared in a Gaussian window around each pixel, of standard
    deviation 1.5 (Wang et al. 2004). A window is 11 pixels wide, and beyond the edges images are mirrored; the mean is
    over the pixels whose window lies within the image (of those below 11 pixels, over more).
    """
    if images.shape != originals.shape or images.ndim != 4 or not images.size:
        raise ValueError(f"ssim: needs two sets of images (N, H, W, C), got {images.shape} and {originals.shape}")
    if images.dtype != np.uint8 or originals.dtype != np.uint8:
        raise TypeError(f"ssim: needs uint8 images, got {images.dtype} and {originals.dtype}")
    metrics = require("skimage.metrics", "scikit-image", "ssim")
    window = min(11, (min(images.shape[1:3]) - 1) // 2 * 2 + 1)  # odd
    wang = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=window, channel_axis=-1)
    pairs = zip(images, originals, strict=True)
    return float(np.mean([metrics.structural_similarity(a, b, data_range=255, **wang) for a, b in pairs]))


def fidelity(images: np.ndarray, originals: np.ndarray) -> dict[str, float]:
    """The "psnr" in dB and the "ssim" of uint8 images (N, H, W, C): the mean over the images of each one's."""
    likeness = ssim(images, originals)
    return {"psnr": float(np.mean([psnr(*pair) for pair in zip(images, originals, strict=True)])), "ssim": likeness}


def seam_gradient(images: np.ndarray, mask: np.ndarray) -> float:
    """The mean absolute difference, in grey levels, of pixels that lie beside or below each other across the edge of a
    mask. Where an inpainted image does not go on as it should, it is above that of real images.

    images: uint8 (N, H, W, C);  mask: bool (N, H, W, 1)
    """
    if images.ndim != 4 or images.dtype != np.uint8 or mask.dtype != bool or mask.shape != (*images.shape[:3], 1):
        raise ValueError(
            "seam_gradient: needs uint8 images (N, H, W, C) and a mask, bool (N, H, W, 1), "
            f"got {images.dtype} of shape {images.shape} and {mask.dtype} of shape {mask.shape}"
        )
    x, across = images.astype(np.float64), []
    for axis in (1, 2):
        edge = np.diff(mask, axis=axis)[..., 0]
        across.append(np.abs(np.diff(x, axis=axis))[edge])  # (edges, C)
    differences = np.concatenate(across)
    if not differences.size:
        raise ValueError("seam_gradient: the mask has no edge: it is the same everywhere")
    return float(differences.mean())
