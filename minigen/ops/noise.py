"""The noise-schedule steps of diffusion as differentiable operations.

Each has its equations twice: below in plain operations, which is what derivatives are taken of, and in a fused
kernel, which is what runs. Noise is normal(shape, seed, draw, first_row) of `minigen.random`: where a derivative needs
it, it is made again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd import primitive
from ..backend import kernels_for, using
from ..tensor import Tensor
from .elementwise import clip as clip_to
from .elementwise import exp
from .shape import reshape


def _noise_like(x: Tensor, seed: int, draw: int, first_row: int) -> Tensor:
    with using(x.device):
        return Tensor(kernels_for(x.data).normal(x.shape, seed, draw, first_row, x.dtype))


def _plain_add_noise(x0, alpha, sigma, *, seed, draw, first_row):
    each = (-1,) + (1,) * (x0.ndim - 1)
    return reshape(alpha, each) * x0 + reshape(sigma, each) * _noise_like(x0, seed, draw, first_row)


@primitive(plain=_plain_add_noise, saves=True)
def _add_noise(x0, alpha, sigma, *, seed, draw, first_row):
    return kernels_for(x0).add_noise(x0, alpha, sigma, seed, draw, first_row)


def add_noise(x0: Any, alpha: Any, sigma: Any, seed: int, draw: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
    """Forward noising x_t = alpha x0 + sigma noise (Ho et al. 2020, eq. 4): returns (x_t, noise).

    x0 (N, ...); alpha and sigma (N,), one for each sample. Sample i gets the noise of row first_row + i.
    """
    x_t, noise = _add_noise.run(x0, alpha, sigma, seed=seed, draw=draw, first_row=first_row)
    return x_t, Tensor(noise)


def _estimate_x0(x, out, out_uncond, *, alpha_bar, prediction, guidance, clip):
    """The clean image that `out`, the network's answer, amounts to."""
    if out_uncond is not None:
        out = out_uncond + guidance * (out - out_uncond)  # Ho & Salimans 2022, eq. 6
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "eps":
        x0 = (x - noise * out) / signal
    elif prediction == "v":
        x0 = signal * x - noise * out  # Salimans & Ho 2022, appendix D
    else:
        x0 = out
    return x0 if clip is None else clip_to(x0, -clip, clip)


def _plain_ddpm_step(x, out, out_uncond, *, alpha_bar, alpha_bar_prev, seed, draw, first_row, **estimate):
    """Ho et al. 2020, eq. 6 and 7."""
    x0 = _estimate_x0(x, out, out_uncond, alpha_bar=alpha_bar, **estimate)
    beta = 1 - alpha_bar / alpha_bar_prev
    mean_x0 = math.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)
    mean_x = math.sqrt(1 - beta) * (1 - alpha_bar_prev) / (1 - alpha_bar)
    deviation = math.sqrt(beta * (1 - alpha_bar_prev) / (1 - alpha_bar))
    return mean_x0 * x0 + mean_x * x + deviation * _noise_like(x, seed, draw, first_row)


def _plain_ddim_step(x, out, out_uncond, *, alpha_bar, alpha_bar_prev, seed, draw, first_row, eta, **estimate):
    """Song et al. 2021, eq. 12 and 16."""
    x0 = _estimate_x0(x, out, out_uncond, alpha_bar=alpha_bar, **estimate)
    eps = (x - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
    variance = eta**2 * (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    direction = math.sqrt(max(1 - alpha_bar_prev - variance, 0.0))
    x_prev = math.sqrt(alpha_bar_prev) * x0 + direction * eps
    return x_prev if eta == 0 else x_prev + math.sqrt(variance) * _noise_like(x, seed, draw, first_row)


@primitive(plain=_plain_ddpm_step)
def _ddpm_step(x, out, out_uncond, **settings):
    return kernels_for(x).ddpm_step(x, out, out_uncond=out_uncond, **settings)


@primitive(plain=_plain_ddim_step)
def _ddim_step(x, out, out_uncond, **settings):
    return kernels_for(x).ddim_step(x, out, out_uncond=out_uncond, **settings)


def _plain_linear_step(*arrays, coefficients, seed, draw, first_row, deviation, clip):
    total = sum(c * a for c, a in zip(coefficients, arrays, strict=True))
    total = total if clip is None else clip_to(total, -clip, clip)
    return total if deviation == 0 else total + deviation * _noise_like(arrays[0], seed, draw, first_row)


@primitive(plain=_plain_linear_step)
def _linear_step(*arrays, **settings):
    return kernels_for(arrays[0]).linear_step(arrays, **settings)


def _plain_gaussian_step(mean, log_variance, *, seed, draw, first_row):
    return mean + exp(0.5 * log_variance) * _noise_like(mean, seed, draw, first_row)


@primitive(plain=_plain_gaussian_step)
def _gaussian_step(mean, log_variance, *, seed, draw, first_row):
    return kernels_for(mean).gaussian_step(mean, log_variance, seed, draw, first_row)


def ddpm_step(
    x: Any,
    out: Any,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Any = None,
    guidance: float = 1.0,
    clip: float | None = None,
) -> Tensor:
    """One ancestral step from signal level `alpha_bar` to `alpha_bar_prev` (Ho et al. 2020, algorithm 2).

    x and out (N, ...), where `out` is the network's `prediction`: 'eps', 'x0' or 'v'. Given `out_uncond`, guidance
    moves `out` away from it; `clip` bounds the estimate of x0; no noise is added when alpha_bar_prev is 1.
    """
    settings = dict(seed=seed, draw=draw, first_row=first_row, prediction=prediction, guidance=guidance, clip=clip)
    return _ddpm_step(x, out, out_uncond, alpha_bar=alpha_bar, alpha_bar_prev=alpha_bar_prev, **settings)


def ddim_step(
    x: Any,
    out: Any,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Any = None,
    guidance: float = 1.0,
    clip: float | None = None,
    eta: float = 0.0,
) -> Tensor:
    """One step of DDIM (Song et al. 2021); eta=0 adds no noise, eta=1 is `ddpm_step`. Arguments as there."""
    settings = dict(seed=seed, draw=draw, first_row=first_row, prediction=prediction, guidance=guidance, clip=clip)
    return _ddim_step(x, out, out_uncond, alpha_bar=alpha_bar, alpha_bar_prev=alpha_bar_prev, eta=eta, **settings)


def linear_step(
    arrays: Sequence[Any],
    coefficients: Sequence[float],
    seed: int = 0,
    draw: int = 0,
    first_row: int = 0,
    deviation: float = 0.0,
    clip: float | None = None,
) -> Tensor:
    """clip(c_0 a_0 + c_1 a_1 + ...) + deviation noise, in one pass: what any step of any sampler comes to.

    1 to 5 arrays (N, ...) of one shape, with a coefficient each; `clip` bounds the sum.
    """
    settings = dict(seed=seed, draw=draw, first_row=first_row, deviation=deviation, clip=clip)
    return _linear_step(*arrays, coefficients=tuple(coefficients), **settings)


def gaussian_step(mean: Any, log_variance: Any, seed: int, draw: int, first_row: int = 0) -> Tensor:
    """mean + exp(log_variance / 2) noise, all (N, ...): a step whose variance the network has learned.

    The derivative by the variance needs the noise, which is made again. Nichol & Dhariwal 2021, section 3.1.
    """
    return _gaussian_step(mean, log_variance, seed=seed, draw=draw, first_row=first_row)
