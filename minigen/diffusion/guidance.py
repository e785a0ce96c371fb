"""Denoisers made of others: pushed towards a condition, or kept within the range of the data.

    loss = diffusion.loss(partial(network, labels=drop_labels(labels, network.null_class, 0.1)), x0)
    x = sample(guided(diffusion, network, labels, scale=3.0), shape, diffusion.timetable(20))

All of them work on estimates of x0. The other predictions are linear in it, so guiding eps, v or the score is the same.
Bound the estimates last: the denoisers that are guided should not clip theirs. Two ways: `clip`, and `Thresholded`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..autograd import enable_grad, grad
from ..backend import Array, device_of
from ..random import Generator, rand
from ..tensor import Tensor
from .denoiser import Denoiser
from .process import Process
from .timetable import signal_and_noise

SMALLEST_SIGNAL = 0.02  # alpha, below which `EstimateGuided` does not push


class ClassifierFree(Denoiser):
    """uncond + scale (cond - uncond): Ho & Salimans 2022, arXiv:2207.12598, eq. 6.

    cond, uncond: denoisers with and without the condition
    scale:        1 is `cond` itself, 0 is `uncond`, more than 1 exaggerates the condition, at the cost of variety
    rescale:      how far, from 0 to 1, each estimate's standard deviation is brought back to that of `cond`: large
                  scales give too much contrast (Lin et al. 2024, arXiv:2305.08891, eq. 15 and 16; 0.7 there)
    clip:         estimates are bounded to [-clip, clip]
    """

    def __init__(self, cond: Denoiser, uncond: Denoiser, scale: float, rescale: float = 0.0, clip: float | None = None):
        if not 0 <= rescale <= 1:
            raise ValueError(f"ClassifierFree: rescale must be from 0 to 1, got {rescale}")
        self.cond, self.uncond, self.scale, self.rescale, self.device = cond, uncond, scale, rescale, cond.device
        self.clip = clip

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        cond = self.cond(x, alpha_bar)
        guided = cond if self.scale == 1 else self._past(cond, self.uncond(x, alpha_bar))
        return guided if self.clip is None else ops.clip(guided, -self.clip, self.clip)

    def _past(self, cond: Tensor, uncond: Tensor) -> Tensor:
        guided = ops.linear_step([cond, uncond], [self.scale, 1 - self.scale])
        if self.rescale == 0:
            return guided
        axes = tuple(range(1, cond.ndim))
        wanted, got = (ops.sqrt(y.var(axis=axes, keepdims=True)) for y in (cond, guided))
        return guided * (self.rescale * wanted / ops.maximum(got, 1e-8) + (1 - self.rescale))


class ClassifierGuided(Denoiser):
    """x0 + scale beta^2 / alpha grad log p(y | x): Dhariwal & Nichol 2021, arXiv:2105.05233, algorithm 2.

    log_probability(x, alpha_bar) -> (N,): of the wanted class, by a classifier that knows noisy x (N, ...)
    """

    def __init__(self, denoiser: Denoiser, log_probability: Callable[[Tensor, float], Tensor], scale: float = 1.0):
        self.denoiser, self.log_probability, self.scale, self.device = denoiser, log_probability, scale, denoiser.device

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        alpha, beta = signal_and_noise(alpha_bar)
        if alpha == 0:
            return self.denoiser(x, alpha_bar)  # nothing to classify
        with enable_grad():
            seen = Tensor(x.data, True)
            (slope,) = grad(self.log_probability(seen, alpha_bar).sum(), [seen])
        return ops.linear_step([self.denoiser(x, alpha_bar), slope], [1.0, self.scale * beta**2 / alpha])


class EstimateGuided(Denoiser):
    """x0 + scale beta^2 / alpha grad_x f(x0), for conditions that know only clean images: they judge the estimate
    (Bansal et al. 2023, arXiv:2302.07121, eq. 6; Chung et al. 2023, arXiv:2209.14687).

    f(x0) -> (N,): how well each image fits, such as a log-probability. It is asked with gradients, of estimates that
        are not bounded yet
    clip: estimates are bounded to [-clip, clip], after the push

    beta^2 / alpha dx0/dx is what the denoiser says of the covariance of x0 given x: so an image is pushed only along
    what is still undecided about it. Where alpha is below `SMALLEST_SIGNAL`, that is a small number times a large one,
    and the estimate is left alone.
    """

    def __init__(
        self, denoiser: Denoiser, f: Callable[[Tensor], Tensor], scale: float = 1.0, clip: float | None = None
    ):
        self.denoiser, self.f, self.scale, self.clip, self.device = denoiser, f, scale, clip, denoiser.device

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        alpha, beta = signal_and_noise(alpha_bar)
        if alpha < SMALLEST_SIGNAL:
            return ops.linear_step([self.denoiser(x, alpha_bar)], [1.0], clip=self.clip)
        with enable_grad():
            seen = Tensor(x.data, True)
            x0 = self.denoiser(seen, alpha_bar)
            (slope,) = grad(self.f(x0).sum(), [seen])
        return ops.linear_step([x0.detach(), slope], [1.0, self.scale * beta**2 / alpha], clip=self.clip)


class Thresholded(Denoiser):
    """Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, section 2.3): each estimate is bounded to [-s, s]
    and divided by s, where s is the `percentile` of its absolute values, and at least `bound`, the data's largest.

    Where guidance makes estimates too large, this keeps them from being saturated everywhere, as clipping would make
    them. percentile = 100 only divides. For natural images; what lies at an end of the range on purpose, such as the
    black around a digit, is divided too, and turns grey: there, clip.
    """

    def __init__(self, denoiser: Denoiser, percentile: float = 99.5, bound: float = 1.0):
        if not 0 < percentile <= 100 or not bound > 0:
            raise ValueError(
                f"Thresholded: needs a percentile in (0, 100] and a bound above 0, got {percentile} and {bound}"
            )
        self.denoiser, self.percentile, self.bound, self.device = denoiser, percentile, bound, denoiser.device

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        x0 = self.denoiser(x, alpha_bar)
        axes = tuple(range(1, x.ndim))
        largest = np.percentile(np.abs(x0.data), self.percentile, axis=axes, keepdims=True).astype(x0.dtype)
        s = Tensor(np.maximum(largest, self.bound))
        return ops.minimum(ops.maximum(x0, -s), s) * (self.bound / s)


def drop_labels(labels: Any, null_class: int, share: float, generator: Generator | None = None) -> Array:
    """Labels (N,), each with that chance replaced by `null_class`: so a network learns to do with and without them, as
    classifier-free guidance needs (Ho & Salimans 2022, algorithm 1)."""
    kept = rand(len(labels), generator=generator, device=device_of(labels)).data >= share
    return np.where(kept, labels, null_class)


def guided(process: Process, network: Any, labels: np.ndarray, scale: float) -> Denoiser:
    """The denoiser of a network(x, t, labels) that has a `null_class`, guided towards labels (N,); it clips at 1."""
    none = np.full_like(labels, network.null_class)
    cond, uncond = (process.denoiser(partial(network, labels=y), clip=None) for y in (labels, none))
    return ClassifierFree(cond, uncond, scale, clip=1.0)
