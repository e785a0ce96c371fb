"""Forward noising and the reverse steps of diffusion: one launch and one pass each, the noise made on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype
from kernels.cuda.philox import THREADS, quads_of
from kernels.denoising import Levels, ddim_levels, ddpm_levels

Array = Any  # cupy.ndarray

_source = Source("noise.cu")


def add_noise(x0: Array, alpha: Array, sigma: Array, seed: int, draw: int, first_row: int = 0) -> tuple[Array, Array]:
    """(x_t, noise), x_t[n] = alpha[n] x0[n] + sigma[n] noise[n]: Ho et al. 2020, arXiv:2006.11239, eq. 4."""
    checks.add_noise(x0, alpha, sigma, seed, draw, first_row)
    x0, x_t, noise = contiguous(x0), empty(x0.shape, x0), empty(x0.shape, x0)
    quads = quads_of(x0, x_t, noise)
    args = (x0, contiguous(alpha), contiguous(sigma), x_t, noise, *quads, seed, draw, first_row)
    _source.launch(f"add_noise<{ctype(x0.dtype)}>", args, (quads.rows * quads.of_row,), (THREADS,), THREADS)
    return x_t, noise


def ddpm_step(
    x: Array,
    out: Array,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Array | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
) -> Array:
    """A sample of q(x_prev | x, x0), all (N, ...): Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7."""
    alpha_bar, alpha_bar_prev, guidance, clip, _ = checks.denoising_step(
        "ddpm_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta=1.0
    )
    checks.random("ddpm_step", x.shape, seed, draw, first_row, x.dtype)
    levels = ddpm_levels(alpha_bar, alpha_bar_prev, prediction)
    return _step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row)


def ddim_step(
    x: Array,
    out: Array,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Array | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
    eta: float = 0.0,
) -> Array:
    """sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - sigma^2) eps + sigma noise, all (N, ...).

    Song et al. 2021, arXiv:2010.02502, eq. 12 and 16; eps = (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar).
    """
    alpha_bar, alpha_bar_prev, guidance, clip, eta = checks.denoising_step(
        "ddim_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta
    )
    checks.random("ddim_step", x.shape, seed, draw, first_row, x.dtype)
    levels = ddim_levels(alpha_bar, alpha_bar_prev, prediction, eta)
    return _step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row)


def _step(x, out, out_uncond, guidance, clip, levels: Levels, seed, draw, first_row) -> Array:
    x, out, x_prev = contiguous(x), contiguous(out), empty(x.shape, x)
    out_uncond = None if out_uncond is None else contiguous(out_uncond)
    quads = quads_of(x, out, out_uncond, x_prev)
    numbers = (*levels, guidance, math.inf if clip is None else clip)
    args = (x, out, out_uncond, x_prev, *numbers, *quads, seed, draw, first_row)
    _source.launch(f"denoising_step<{ctype(x.dtype)}>", args, (quads.rows * quads.of_row,), (THREADS,), THREADS)
    return x_prev


def linear_step(
    arrays: Sequence[Array],
    coefficients: Sequence[float],
    seed: int = 0,
    draw: int = 0,
    first_row: int = 0,
    deviation: float = 0.0,
    clip: float | None = None,
) -> Array:
    """clip(c_0 a_0 + c_1 a_1 + ...) + deviation noise, of 1 to 5 arrays (N, ...): a step of any sampler."""
    numbers, deviation, bound = checks.linear_step(arrays, coefficients, seed, draw, first_row, deviation, clip)
    missing = 5 - len(arrays)
    given, y = [contiguous(a) for a in arrays], empty(arrays[0].shape, arrays[0])
    quads = quads_of(*given, y)
    numbers = [*numbers, *[0.0] * missing, deviation, bound]
    args = (*given, *[None] * missing, y, *numbers, *quads, seed, draw, first_row)
    _source.launch(f"linear_step<{ctype(y.dtype)}>", args, (quads.rows * quads.of_row,), (THREADS,), THREADS)
    return y


def gaussian_step(mean: Array, log_variance: Array, seed: int, draw: int, first_row: int = 0) -> Array:
    """mean + exp(log_variance / 2) noise, all (N, ...): Nichol & Dhariwal 2021, arXiv:2102.09672, section 3.1."""
    checks.gaussian_step(mean, log_variance, seed, draw, first_row)
    mean, log_variance, y = contiguous(mean), contiguous(log_variance), empty(mean.shape, mean)
    quads = quads_of(mean, log_variance, y)
    args = (mean, log_variance, y, *quads, seed, draw, first_row)
    _source.launch(f"gaussian_step<{ctype(y.dtype)}>", args, (quads.rows * quads.of_row,), (THREADS,), THREADS)
    return y
