"""Editing of given images by a denoiser: some noise and back (SDEdit), and paths between two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import using
from ..tensor import Tensor
from .denoiser import Denoiser
from .process import per_sample
from .samplers import Noise, Progress, denoise, invert
from .timetable import Timetable, signal_and_noise

PARALLEL = 1e-6  # radians: nearer directions are interpolated in a straight line


def edit(
    denoiser: Denoiser,
    images: Tensor,
    timetable: Timetable,
    strength: float,
    method: str = "ddim",
    seed: int = 0,
    eta: float = 0.0,
    first_sample: int = 0,
    progress: Progress = iter,
) -> Tensor:
    """SDEdit (Meng et al. 2022, arXiv:2108.01073): images (N, ...) noised to a level, and denoised from there.

    strength: the share of the timetable's steps, counted from its end, that are undone by noise and taken anew: 0
              gives the images as they are, 1 begins with (almost) nothing but noise. Between them, coarse structure is
              kept, and fine structure becomes that of the data which the denoiser knows
    The other arguments are those of `samplers.denoise`. Sample i of a seed does not depend on its batch.
    """
    rest = timetable.last(strength)
    if rest is None:
        return images
    alpha, beta = signal_and_noise(rest.alpha_bars[0])
    with no_grad(), using(images.device):
        x = ops.linear_step([images], [alpha], deviation=beta, **Noise(seed, first_sample).of(-1))
    return denoise(denoiser, x, rest, method, seed, eta, first_sample, progress)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The point at that share of the way from a to b, both (N, ...), along an arc: sample by sample

        (sin((1 - share) angle) a + sin(share angle) b) / sin(angle),    angle that between a and b

    (Shoemake 1985). Where both have the length of a sample of noise, so has every point between; on a straight line
    the middle of two samples of noise is shorter by sqrt(2), which no denoiser has seen.
    """
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"slerp: needs two arrays (N, ...) of one shape, got {a.shape} and {b.shape}")
    angle = _angles(a, b)
    if np.any(angle > math.pi - PARALLEL):
        raise ValueError("slerp: opposite directions have no one arc between them")
    straight = angle < PARALLEL
    safe = np.where(straight, 1.0, angle)
    to_a = np.where(straight, 1 - share, np.sin((1 - share) * safe) / np.sin(safe))
    to_b = np.where(straight, share, np.sin(share * safe) / np.sin(safe))
    return per_sample(a, to_a) * a + per_sample(b, to_b) * b


def _angles(a: Tensor, b: Tensor) -> np.ndarray:
    """Between the samples of a and of b, in radians: (N,), float64."""
    x, y = (np.asarray(t.numpy(), np.float64).reshape(len(t), -1) for t in (a, b))
    dot, x2, y2 = ((p * q).sum(1) for p, q in ((x, y), (x, x), (y, y)))
    return np.arccos(np.clip(dot / np.sqrt(np.maximum(x2 * y2, np.finfo(np.float64).tiny)), -1, 1))


def interpolate(
    denoiser: Denoiser,
    first: Tensor,
    second: Tensor,
    shares: Sequence[float],
    timetable: Timetable,
    progress: Progress = iter,
) -> list[Tensor]:
    """Images on the way from `first` to `second`, both (N, ...): at each share, (N, ...).

    Both are turned into the noise that DDIM makes them from, which is interpolated by `slerp` and turned back (Song et
    al. 2021, arXiv:2010.02502, section 5.3). Shares 0 and 1 give the two as inversion reconstructs them.
    """
    if first.shape != second.shape:
        raise ValueError(f"interpolate: needs images of one shape, got {first.shape} and {second.shape}")
    if not len(shares):
        raise ValueError("interpolate: needs at least one share of the way, got none")
    with no_grad(), using(first.device):
        noises = invert(denoiser, ops.concatenate([first, second]), timetable, progress)
        a, b = ops.split(noises, 2)
        between = ops.concatenate([slerp(a, b, share) for share in shares])
        return list(ops.split(denoise(denoiser, between, timetable, "ddim", progress=progress), len(shares)))
