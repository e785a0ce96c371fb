"""Forward noising and the reverse steps of diffusion: one pass over memory, the noise made on the way.

    x_prev = from_x0 clip(c_x x + c_m m) + from_x x + deviation z,   m = out, or uncond + guidance (out - uncond)

What tells the samplers apart is these five numbers: see `kernels.denoising`. `linear_step` is for those that look back
at what the network said before, or that go forwards and back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kernels import checks
from kernels.cpu.functions import exp
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import contiguous
from kernels.cpu.philox import COST, address_of_draw, fill_normal, run_at, runs_in
from kernels.cpu.vector import lanes, larger, load_first, smaller, store_first
from kernels.denoising import Levels, ddim_levels, ddpm_levels


def add_noise(
    x0: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, seed: int, draw: int, first_row: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(x_t, noise), x_t[n] = alpha[n] x0[n] + sigma[n] noise[n]: Ho et al. 2020, arXiv:2006.11239, eq. 4."""
    checks.add_noise(x0, alpha, sigma, seed, draw, first_row)
    x_t, noise = np.empty(x0.shape, x0.dtype), np.empty(x0.shape, x0.dtype)
    x0, address = contiguous(x0).reshape(-1), address_of_draw(seed, draw, first_row)
    _add_noise(COST * x0.size, x0, contiguous(alpha), contiguous(sigma), address, x_t.reshape(-1), noise.reshape(-1))
    return x_t, noise


@parallel_kernel
def _add_noise(part, parts, x0, alpha, sigma, address, x_t, noise):
    elements = x0.size // max(alpha.size, 1)
    runs = runs_in(alpha.size, elements)
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        fill_normal(noise, row, begin, end, elements, address)
        for at in range(row * elements + begin, row * elements + end, lanes(x0)):
            n = row * elements + end - at
            store_first(x_t, at, alpha[row] * load_first(x0, at, n) + sigma[row] * load_first(noise, at, n), n)


def ddpm_step(
    x: np.ndarray,
    out: np.ndarray,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: np.ndarray | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
) -> np.ndarray:
    """A sample of q(x_prev | x, x0), all (N, ...): Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7."""
    alpha_bar, alpha_bar_prev, guidance, clip, _ = checks.denoising_step(
        "ddpm_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta=1.0
    )
    checks.random("ddpm_step", x.shape, seed, draw, first_row, x.dtype)
    levels = ddpm_levels(alpha_bar, alpha_bar_prev, prediction)
    return step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row)


def ddim_step(
    x: np.ndarray,
    out: np.ndarray,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: np.ndarray | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
    eta: float = 0.0,
) -> np.ndarray:
    """sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - sigma^2) eps + sigma noise, all (N, ...).

    Song et al. 2021, arXiv:2010.02502, eq. 12 and 16; eps = (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar).
    """
    alpha_bar, alpha_bar_prev, guidance, clip, eta = checks.denoising_step(
        "ddim_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta
    )
    checks.random("ddim_step", x.shape, seed, draw, first_row, x.dtype)
    levels = ddim_levels(alpha_bar, alpha_bar_prev, prediction, eta)
    return step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row)


def step(x, out, out_uncond, guidance, clip, levels: Levels, seed, draw, first_row) -> np.ndarray:
    """One pass over memory."""
    x_prev = np.empty(x.shape, x.dtype)
    out = contiguous(out).reshape(-1)
    _step(
        (COST if levels.deviation else 3) * x.size,
        contiguous(x).reshape(-1),
        out,
        out if out_uncond is None else contiguous(out_uncond).reshape(-1),
        out_uncond is not None,
        np.array([*levels, guidance, math.inf if clip is None else clip]).astype(x.dtype),
        len(x),
        address_of_draw(seed, draw, first_row),
        x_prev.reshape(-1),
    )
    return x_prev


@parallel_kernel
def _step(part, parts, x, out, out_uncond, guided, numbers, rows, address, x_prev):
    c_x, c_m, from_x0, from_x, deviation, guidance, clip = numbers
    elements = x.size // max(rows, 1)
    runs = runs_in(rows, elements)
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        if deviation != 0:  # the noise goes where the result will be
            fill_normal(x_prev, row, begin, end, elements, address)
        for at in range(row * elements + begin, row * elements + end, lanes(x)):
            n = row * elements + end - at
            now, m = load_first(x, at, n), load_first(out, at, n)
            if guided:
                uncond = load_first(out_uncond, at, n)
                m = uncond + guidance * (m - uncond)
            value = from_x0 * smaller(larger(c_x * now + c_m * m, -clip), clip) + from_x * now
            if deviation != 0:
                value = value + deviation * load_first(x_prev, at, n)
            store_first(x_prev, at, value, n)


def linear_step(
    arrays: Sequence[np.ndarray],
    coefficients: Sequence[float],
    seed: int = 0,
    draw: int = 0,
    first_row: int = 0,
    deviation: float = 0.0,
    clip: float | None = None,
) -> np.ndarray:
    """clip(c_0 a_0 + c_1 a_1 + ...) + deviation noise, of 1 to 5 arrays (N, ...): a step of any sampler."""
    numbers, deviation, bound = checks.linear_step(arrays, coefficients, seed, draw, first_row, deviation, clip)
    first, missing = arrays[0], 5 - len(arrays)
    y = np.empty(first.shape, first.dtype)
    flat = [contiguous(a).reshape(-1) for a in arrays]
    _linear_step(
        (COST if deviation else len(arrays) + 1) * first.size,
        *flat,
        *[flat[0]] * missing,
        len(arrays),
        np.array([*numbers, *[0.0] * missing, deviation, bound]).astype(first.dtype),
        len(first),
        address_of_draw(seed, draw, first_row),
        y.reshape(-1),
    )
    return y


@parallel_kernel
def _linear_step(part, parts, a, b, c, d, e, count, numbers, rows, address, y):
    from_a, from_b, from_c, from_d, from_e, deviation, bound = numbers
    elements = a.size // max(rows, 1)
    runs = runs_in(rows, elements)
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        if deviation != 0:  # the noise goes where the result will be
            fill_normal(y, row, begin, end, elements, address)
        for at in range(row * elements + begin, row * elements + end, lanes(a)):
            n = row * elements + end - at
            value = from_a * load_first(a, at, n)
            if count > 1:
                value = value + from_b * load_first(b, at, n)
            if count > 2:
                value = value + from_c * load_first(c, at, n)
            if count > 3:
                value = value + from_d * load_first(d, at, n)
            if count > 4:
                value = value + from_e * load_first(e, at, n)
            value = smaller(larger(value, -bound), bound)
            if deviation != 0:
                value = value + deviation * load_first(y, at, n)
            store_first(y, at, value, n)


def gaussian_step(mean: np.ndarray, log_variance: np.ndarray, seed: int, draw: int, first_row: int = 0) -> np.ndarray:
    """mean + exp(log_variance / 2) noise, all (N, ...): Nichol & Dhariwal 2021, arXiv:2102.09672, section 3.1."""
    checks.gaussian_step(mean, log_variance, seed, draw, first_row)
    y, address = np.empty(mean.shape, mean.dtype), address_of_draw(seed, draw, first_row)
    flat = contiguous(mean).reshape(-1), contiguous(log_variance).reshape(-1)
    _gaussian_step(COST * mean.size, *flat, len(mean), address, y.reshape(-1))
    return y


@parallel_kernel
def _gaussian_step(part, parts, mean, log_variance, rows, address, y):
    elements = mean.size // max(rows, 1)
    runs = runs_in(rows, elements)
    half = np.full(1, 0.5, mean.dtype)[0]
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        fill_normal(y, row, begin, end, elements, address)
        for at in range(row * elements + begin, row * elements + end, lanes(mean)):
            n = row * elements + end - at
            deviation = exp(half * load_first(log_variance, at, n))
            store_first(y, at, load_first(mean, at, n) + deviation * load_first(y, at, n), n)
