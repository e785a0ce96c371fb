"""Noise for denoising autoencoders: what is done to an image before the network is to give it back clean.

A denoising autoencoder (Vincent et al. 2008) sees a corrupted image c(x) and minimises |r(c(x)) - x|^2, whose minimum
is r(y) = E[x | c(x) = y]: copying the input is not enough.

Each function takes images in [0, 1], (N, H, W, C), and gives as many of the same shape, dtype and device. The random
numbers are one draw of `generator`; None means the default one.
"""

from __future__ import annotations

from .. import ops
from ..random import Generator, rand, randn
from ..tensor import Tensor


def gaussian_noise(x: Tensor, sigma: float = 0.5, generator: Generator | None = None) -> Tensor:
    """x + sigma eps, eps normal in every pixel and channel; the result is not clipped."""
    if not sigma >= 0:
        raise ValueError(f"gaussian_noise: sigma must not be negative, got {sigma}")
    return x + sigma * randn(*x.shape, dtype=x.dtype, generator=generator, device=x.device)


def salt_and_pepper(x: Tensor, share: float = 0.5, generator: Generator | None = None) -> Tensor:
    """A share of the pixels, in all their channels, becomes black or white, each as often as the other."""
    u = _uniform_per_pixel("salt_and_pepper", x, share, generator)
    return ops.where(u < share / 2, 0.0, ops.where(u < share, 1.0, x))


def masked(x: Tensor, share: float = 0.5, generator: Generator | None = None) -> Tensor:
    """A share of the pixels, in all their channels, becomes black."""
    return ops.where(_uniform_per_pixel("masked", x, share, generator) < share, 0.0, x)


def _uniform_per_pixel(name: str, x: Tensor, share: float, generator: Generator | None) -> Tensor:
    if x.ndim != 4:
        raise ValueError(f"{name}: needs images (N, H, W, C), got shape {x.shape}")
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: share must be from 0 to 1, got {share}")
    return rand(*x.shape[:-1], 1, dtype=x.dtype, generator=generator, device=x.device)
