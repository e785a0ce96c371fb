"""From noise to data: samplers, each a way to follow the estimates of a `Denoiser` through the levels of a `Timetable`.

The deterministic ones solve one ordinary differential equation (Song et al. 2021, arXiv:2011.13456, eq. 13): in
sigma = beta / alpha, for the unscaled y = x / alpha,

    dy / dsigma = eps(y, sigma) = (y - D) / sigma        (Karras et al. 2022, eq. 3),  D the estimate of x0

    euler, ddim   eps held over a step: order 1. (Euler's step in sigma is DDIM's: they differ by where they step.)
    heun          the mean of eps at both ends: order 2, two evaluations a step
    dpm++2m       D instead of eps held, as a line through this estimate and the one before: order 2, one evaluation
    pndm          eps as a polynomial through the last four, after three steps of Runge-Kutta

and the others, ddpm and ddim with eta > 0, add noise on the way. Every step is a sum of a few arrays times numbers,
with noise or without: `minigen.linear_step` and its kin. Noise of step i is draw i + 1 of the sampling draws, whose
rows are the samples: sample i of a seed does not depend on its batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kernels.denoising import ddpm_levels

from .. import ops
from ..autograd import no_grad
from ..backend import kernels_on, using
from ..tensor import Tensor
from .denoiser import Denoiser
from .timetable import Timetable, log_ratio, signal_and_noise

PURE_NOISE = 1e-6  # at an alpha_bar of so little, eps says nothing of x0: a step is taken by the estimate of x0 alone
SAMPLING_DRAW = 2**62  # sampling counts its draws from here on, training from 0: they never share noise
Progress = Callable[[Iterable], Iterable]


class Noise:
    """Which random numbers a step gets: step i those of draw SAMPLING_DRAW + 1 + i."""

    def __init__(self, seed: int, first_sample: int):
        self.seed, self.first_row = seed, first_sample

    def of(self, step: int) -> dict[str, int]:
        return dict(seed=self.seed, draw=SAMPLING_DRAW + 1 + step, first_row=self.first_row)


def sample(
    denoiser: Denoiser,
    shape: Sequence[int],
    timetable: Timetable,
    method: str = "ddim",
    seed: int = 0,
    eta: float = 0.0,
    first_sample: int = 0,
    device: str | None = None,
    progress: Progress = iter,
) -> Tensor:
    """Samples number first_sample, first_sample + 1, ... of a seed, in the given shape (N, ...).

    Arguments as `denoise`; `device` is by default the network's. Sample i of a seed is the same image whichever batch
    it is computed in, to the bit with the CPU's kernels (but MINIGEN_KERNELS=reference: up to rounding), and on
    whichever device, up to rounding.
    """
    device = denoiser.device if device is None else device
    with using(device):
        x = Tensor(kernels_on(device).normal(tuple(shape), seed, SAMPLING_DRAW, first_sample))
    return denoise(denoiser, x, timetable, method, seed, eta, first_sample, progress)


def denoise(
    denoiser: Denoiser,
    x: Tensor,
    timetable: Timetable,
    method: str = "ddim",
    seed: int = 0,
    eta: float = 0.0,
    first_sample: int = 0,
    progress: Progress = iter,
) -> Tensor:
    """x (N, ...), as noisy as the timetable's first level, moved to its last level.

    `method` is one of `SAMPLERS`; `eta` belongs to 'ddim' (0: no noise is added, 1: as much as in 'ddpm'). `progress`
    wraps the loop over steps, as `tqdm.tqdm` does.
    """
    if method not in SAMPLERS:
        raise ValueError(f"denoise: method {method!r} is unknown: choose one of {sorted(SAMPLERS)}")
    if eta != 0 and method != "ddim":
        raise ValueError(f"denoise: eta={eta} belongs to method 'ddim', not to {method!r}")
    if method == "pndm" and len(timetable) < 4:
        raise ValueError(f"denoise: 'pndm' takes at least 4 steps, got {len(timetable)}")
    settings: dict[str, Any] = dict(eta=eta) if method == "ddim" else {}
    with no_grad(), using(x.device):
        return SAMPLERS[method](denoiser, x, timetable, Noise(seed, first_sample), progress, **settings)


def evaluations(method: str, steps: int) -> int:
    """How often the network is asked in so many steps, the last of which ends with clean data."""
    return {"heun": 2 * steps - 1, "pndm": steps + 9}.get(method, steps)


# ---- the methods ---------------------------------------------------------------------------------------


def ddpm(denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, algorithm 2), with the network's own variance if it has
    learned one (Nichol & Dhariwal 2021), else the posterior's."""
    for i, (now, then) in enumerate(progress(timetable)):
        x = ancestral_step(denoiser, x, now, then, **noise.of(i))
    return x


def ddim(
    denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress, eta: float = 0.0
) -> Tensor:
    """Song et al. 2021, arXiv:2010.02502, eq. 12."""
    for i, (now, then) in enumerate(progress(timetable)):
        x = ops.ddim_step(x, denoiser(x, now), now, then, prediction="x0", eta=eta, **noise.of(i))
    return x


def euler(denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress) -> Tensor:
    """Karras et al. 2022, algorithm 1, without its second half."""
    for now, then in progress(timetable):
        x = move(x, denoiser(x, now), now, then)
    return x


def heun(denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress) -> Tensor:
    """Karras et al. 2022, arXiv:2206.00364, algorithm 1: Euler's step is a trial, taken again with the mean of eps at
    its two ends. To clean data, and from pure noise, where eps or sigma are not finite, it is Euler's alone."""
    for now, then in progress(timetable):
        x0 = denoiser(x, now)
        trial = move(x, x0, now, then)
        if now > PURE_NOISE and then < 1:
            (alpha, beta), (alpha_then, beta_then) = signal_and_noise(now), signal_and_noise(then)
            half = (beta_then - alpha_then * beta / alpha) / 2  # of alpha_then (sigma_then - sigma)
            coefficients = (alpha_then / alpha + half / beta, -half * alpha / beta, half / beta_then)
            last = -half * alpha_then / beta_then
            x = ops.linear_step([x, x0, trial, denoiser(trial, then)], [*coefficients, last])
        else:
            x = trial
    return x


def dpm_solver_2m(denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    With lambda = log(alpha / beta), h the step in it and r = h_before / h:
        x_then = beta_then / beta x + alpha_then (1 - exp(-h)) ((1 + 1 / 2r) D - 1 / 2r D_before).
    The first step, and that to clean data, whose h is infinite, hold D.
    """
    before, h_before = None, 0.0
    for now, then in progress(timetable):
        x0, h = denoiser(x, now), log_ratio(then) - log_ratio(now)
        (_, beta), (alpha_then, beta_then) = signal_and_noise(now), signal_and_noise(then)
        onto, kept = -alpha_then * math.expm1(-h), beta_then / beta
        if before is None or then == 1:
            x = ops.linear_step([x, x0], [kept, onto])
        else:
            back = h / (2 * h_before)
            x = ops.linear_step([x, x0, before], [kept, onto * (1 + back), -onto * back])
        before, h_before = x0, h
    return x


def pndm(denoiser: Denoiser, x: Tensor, timetable: Timetable, noise: Noise, progress: Progress) -> Tensor:
    """F-PNDM (Liu et al. 2022, arXiv:2202.09778, eq. 12 and 13): pseudo linear multistep, after three steps of pseudo
    Runge-Kutta; 'pseudo', since the step that is taken with a mean of several eps is DDIM's."""
    if timetable.halfway is None:
        raise ValueError("denoise: 'pndm' needs a timetable with levels halfway: one that a process made")

    def eps(x: Tensor, level: float) -> Tensor:
        alpha, beta = signal_and_noise(level)
        return ops.linear_step([x, denoiser(x, level)], [1 / beta, -alpha / beta])

    seen: list[Tensor] = []
    steps = zip(timetable, timetable.halfway.tolist(), strict=True)
    for (now, then), middle in progress(list(steps)):
        if now <= PURE_NOISE:
            x = move(x, denoiser(x, now), now, then)
            continue
        seen = [eps(x, now), *seen[:3]]
        if len(seen) < 4:
            second = eps(_move_by(x, seen[:1], [1], now, middle), middle)
            third = eps(_move_by(x, [second], [1], now, middle), middle)
            fourth = eps(_move_by(x, [third], [1], now, then), then)
            x = _move_by(x, [seen[0], second, third, fourth], [1 / 6, 2 / 6, 2 / 6, 1 / 6], now, then)
        else:
            x = _move_by(x, seen, [55 / 24, -59 / 24, 37 / 24, -9 / 24], now, then)
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpm++2m": dpm_solver_2m,
    "pndm": pndm,
}


# ---- their parts ---------------------------------------------------------------------------------------


def ancestral_step(denoiser: Denoiser, x: Tensor, now: float, then: float, **noise: int) -> Tensor:
    """One step of `ddpm`, with the noise of those numbers."""
    x0, log_variance = denoiser.with_log_variance(x, now, then)
    if log_variance is None or then == 1:
        return ops.ddpm_step(x, x0, now, then, prediction="x0", **noise)
    return ops.gaussian_step(ops.linear_step([x, x0], posterior_mean(now, then)), log_variance, **noise)


def move(x: Tensor, x0: Tensor, now: float, then: float) -> Tensor:
    """x at another level, if x0 and the noise in it stay what they are: alpha_then x0 + beta_then eps."""
    (alpha, beta), (alpha_then, beta_then) = signal_and_noise(now), signal_and_noise(then)
    kept = beta_then / beta
    return ops.linear_step([x, x0], [kept, alpha_then - kept * alpha])


def _move_by(x: Tensor, eps: Sequence[Tensor], weights: Sequence[float], now: float, then: float) -> Tensor:
    """The same for a given noise, the weighted sum of several: alpha_then (x - beta eps) / alpha + beta_then eps."""
    (alpha, beta), (alpha_then, beta_then) = signal_and_noise(now), signal_and_noise(then)
    by = beta_then - alpha_then * beta / alpha
    return ops.linear_step([x, *eps], [alpha_then / alpha, *(by * w for w in weights)])


def posterior_mean(now: float, then: float) -> tuple[float, float]:
    """The coefficients of x and x0 in the mean of q(x_then | x, x0): Ho et al. 2020, eq. 7."""
    levels = ddpm_levels(now, then, "x0")
    return levels.from_x, levels.from_x0


def invert(denoiser: Denoiser, x0: Tensor, timetable: Timetable, progress: Progress = iter) -> Tensor:
    """DDIM backwards: data x0 (N, ...) to the noise at the timetable's first level from which `ddim` makes them again.

    Each step goes from a level to the noisier one with the estimate at the former (Song et al. 2021, section 4.3), so
    it is exact up to the change of the estimate in a step. Data count as being at the timetable's last level below 1.
    """
    levels = [level for level in timetable.alpha_bars.tolist() if level < 1][::-1]
    with no_grad(), using(x0.device):
        x = x0
        for now, then in progress(list(itertools.pairwise(levels))):
            x = move(x, denoiser(x, now), now, then)
    return x
