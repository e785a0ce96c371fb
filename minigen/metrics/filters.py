"""Classical filters that a denoising network is measured against: scikit-image's, each with the settings to try.

    function, candidates = FILTERS["median"]
    clean = function(noisy, sigma, **candidates[0])

A filter takes one image (H, W, C) in [0, 1] with noise, and the noise's standard deviation, and gives (H, W, C).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..data.base import require


def _grid(**values: Any) -> list[dict[str, Any]]:
    """All combinations: _grid(a=(1, 2), b=(3,)) is [{"a": 1, "b": 3}, {"a": 2, "b": 3}]."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def _check_sigma(name: str, sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"{name}: sigma must be positive, got {sigma}")


def median(image: np.ndarray, sigma: float, size: int) -> np.ndarray:
    """Each pixel the median of the size x size pixels around it. It needs no sigma."""
    return require("skimage.filters", "scikit-image", "median").median(image, np.ones((size, size, 1)))


def total_variation(image: np.ndarray, sigma: float, weight: float) -> np.ndarray:
    """The image u of the least |u - image|^2 / 2 + weight sigma TV(u) (Rudin et al. 1992; Chambolle 2004)."""
    _check_sigma("total_variation", sigma)
    restoration = require("skimage.restoration", "scikit-image", "total_variation")
    return restoration.denoise_tv_chambolle(image, weight=weight * sigma, channel_axis=-1)


def non_local_means(image: np.ndarray, sigma: float, patch_size: int, h: float) -> np.ndarray:
    """Each pixel a mean of those within 7 pixels, by how alike the patches around them are (Buades et al. 2005).

    h sets how alike, in units of sigma. Not in scikit-image's fast mode, in which a patch's middle counts no more.
    """
    _check_sigma("non_local_means", sigma)
    restoration = require("skimage.restoration", "scikit-image", "non_local_means")
    settings = dict(patch_size=patch_size, patch_distance=7, fast_mode=False)
    denoised = restoration.denoise_nl_means(image, h=h * sigma, sigma=sigma, channel_axis=-1, **settings)
    return denoised.reshape(image.shape)  # scikit-image drops a single channel


FILTERS: dict[str, tuple[Callable[..., np.ndarray], list[dict[str, Any]]]] = {
    "median": (median, _grid(size=(3, 5, 7))),
    "total variation": (total_variation, _grid(weight=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5))),
    **{
        f"non-local means, {size} x {size}": (
            non_local_means,
            _grid(patch_size=(size,), h=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        )
        for size in (5, 7)
    },
}
