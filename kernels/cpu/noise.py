"""Forward noising and the reverse steps of diffusion: one pass over memory, the noise made on the way.

Every reverse step is linear in x, the network's output and the noise, but for the clipping of x0:

    x_prev = A clip(c_x x + c_m m) + B x + deviation z,   m = out, or uncond + guidance (out - uncond)

What tells the samplers apart is six numbers, worked out in float64 before the pass.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from kernels import checks
from kernels.cpu.jit import old_parallel_kernel, plain
from kernels.cpu.philox import BLOCKS_PER_TASK, normals, rows_of, store, tasks_per_row


def add_noise(
    x0: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, seed: int, draw: int, first_row: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(x_t, noise), x_t[n] = alpha[n] x0[n] + sigma[n] noise[n]: Ho et al. 2020, arXiv:2006.11239, eq. 4."""
    checks.add_noise(x0, alpha, sigma, seed, draw, first_row)
    x_t, noise = np.empty(x0.shape, x0.dtype), np.empty(x0.shape, x0.dtype)
    _add_noise(
        rows_of(plain(x0)), plain(alpha), plain(sigma), np.uint64(seed), np.uint64(draw),
        np.uint64(first_row), rows_of(x_t), rows_of(noise),
    )  # fmt: skip
    return x_t, noise


@old_parallel_kernel()
def _add_noise(x0, alpha, sigma, seed, draw, first_row, x_t, noise):
    rows, elements = x0.shape
    tasks = tasks_per_row(elements)
    for task in prange(rows * tasks):
        r, part = task // tasks, task % tasks
        for block in range(part * BLOCKS_PER_TASK, min((part + 1) * BLOCKS_PER_TASK, (elements + 3) // 4)):
            store(noise[r], block, normals(seed, draw, first_row + np.uint64(r), np.uint64(block)))
            for i in range(4 * block, min(4 * block + 4, elements)):
                x_t[r, i] = alpha[r] * x0[r, i] + sigma[r] * noise[r, i]


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
    beta = 1 - alpha_bar / alpha_bar_prev
    from_x0 = math.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)
    from_x = math.sqrt(1 - beta) * (1 - alpha_bar_prev) / (1 - alpha_bar)
    deviation = math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * beta)
    levels = (*x0_coefficients(prediction, alpha_bar), from_x0, from_x, deviation)
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
    sigma = 0.0
    if eta > 0:
        sigma = eta * math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev))
    direction = math.sqrt(max(1 - alpha_bar_prev - sigma**2, 0.0))  # the max is for rounding
    from_x = direction / math.sqrt(1 - alpha_bar)
    from_x0 = math.sqrt(alpha_bar_prev) - from_x * math.sqrt(alpha_bar)
    levels = (*x0_coefficients(prediction, alpha_bar), from_x0, from_x, sigma)
    return step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row)


def x0_coefficients(prediction: str, alpha_bar: float) -> tuple[float, float]:
    """(c_x, c_m) of x0 = c_x x + c_m m, where m is the prediction of eps, of x0 or of v."""
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    return {"eps": (1 / signal, -noise / signal), "x0": (0.0, 1.0), "v": (signal, -noise)}[prediction]


def step(x, out, out_uncond, guidance, clip, levels, seed, draw, first_row) -> np.ndarray:
    """One pass with the levels (c_x, c_m, A, B, deviation)."""
    x_prev = np.empty(x.shape, x.dtype)
    out = rows_of(plain(out))
    _step(
        rows_of(plain(x)),
        out,
        out if out_uncond is None else rows_of(plain(out_uncond)),
        np.array([*levels, guidance, math.inf if clip is None else clip]).astype(x.dtype),
        np.uint64(seed),
        np.uint64(draw),
        np.uint64(first_row),
        rows_of(x_prev),
    )
    return x_prev


@old_parallel_kernel()
def _step(x, out, out_uncond, numbers, seed, draw, first_row, x_prev):
    c_x, c_m, from_x0, from_x, deviation, guidance, clip = numbers
    rows, elements = x.shape
    tasks = tasks_per_row(elements)
    for task in prange(rows * tasks):
        r, part = task // tasks, task % tasks
        first, last = part * BLOCKS_PER_TASK, min((part + 1) * BLOCKS_PER_TASK, (elements + 3) // 4)
        if deviation != 0:  # the noise goes where the result will be
            for block in range(first, last):
                store(x_prev[r], block, normals(seed, draw, first_row + np.uint64(r), np.uint64(block)))
        for i in range(4 * first, min(4 * last, elements)):
            m = out_uncond[r, i] + guidance * (out[r, i] - out_uncond[r, i])
            x0 = min(max(c_x * x[r, i] + c_m * m, -clip), clip)
            value = from_x0 * x0 + from_x * x[r, i]
            x_prev[r, i] = value + deviation * x_prev[r, i] if deviation != 0 else value
