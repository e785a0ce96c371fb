"""DDPM: data turned into noise in T steps of a schedule.

Forward:  x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps,  eps normal        (Ho et al. 2020, eq. 4)
The network sees x_t and t, and predicts eps, x0, v or the flow (see `denoiser`), of which each gives the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import to_device
from ..random import Generator, default_generator
from ..tensor import Tensor, array_of
from . import variational
from .denoiser import PREDICTIONS, Network, NetworkDenoiser, Preconditioning, halves, x0_coefficients
from .posterior import PosteriorMean
from .process import Process, mix, normal_spread, per_sample, spread, weighted
from .schedules import SCHEDULES

LARGEST_WEIGHT = 5.0  # of an error of x0, see `Diffusion.loss`
ROUNDING = 1e-9  # of the angle of a level that was computed from a sigma
BOUND_WEIGHT = 1e-3  # of the variational bound beside the simple loss: Nichol & Dhariwal 2021, section 3.1


class Diffusion(Process):
    """A schedule, and what the network predicts.

    timesteps:  T
    schedule:   one of `SCHEDULES`, or alphas_cumprod (T,) itself; `zero_terminal_snr` makes one that ends in pure noise
    prediction: 'eps', 'x0', 'v' or 'flow'
    variance:   'fixed', that of the posterior q(x_prev | x, x0), or 'learned': the network then gives twice the
                channels, the second half for the variance (Nichol & Dhariwal 2021)
    weighting:  'simple' or 'min_snr', see `loss`
    logit_normal: the timesteps of training: None for evenly spread ones, or (mean, std) for T / (1 + exp(-z)) with z
                normal (Esser et al. 2024, arXiv:2403.03206, section 3.1). A mean above 0 prefers noisier ones, where
                it is decided what the image will be of

    Images may be on any device; timesteps and the schedule are few numbers, and stay on the CPU.
    """

    def __init__(
        self,
        timesteps: int = 1000,
        schedule: str | np.ndarray = "cosine",
        prediction: str = "eps",
        variance: str = "fixed",
        weighting: str = "simple",
        logit_normal: tuple[float, float] | None = None,
    ):
        if isinstance(schedule, str) and schedule not in SCHEDULES:
            raise ValueError(f"Diffusion: schedule {schedule!r} is unknown: choose one of {sorted(SCHEDULES)}")
        for name, value, choices in (
            ("prediction", prediction, PREDICTIONS),
            ("variance", variance, ("fixed", "learned")),
            ("weighting", weighting, ("simple", "min_snr")),
        ):
            if value not in choices:
                raise ValueError(f"Diffusion: {name} {value!r} is unknown: choose one of {choices}")
        if not isinstance(timesteps, (int, np.integer)) or timesteps < 1:
            raise ValueError(f"Diffusion: timesteps must be a whole number of at least 1, got {timesteps}")
        if logit_normal is not None and not logit_normal[1] > 0:
            raise ValueError(f"Diffusion: logit_normal must be (mean, std) with std above 0, got {logit_normal}")
        if logit_normal is not None and variance == "learned":
            raise ValueError(
                "Diffusion: the bound of variance='learned' needs timesteps that are evenly spread: leave out "
                f"logit_normal={logit_normal}"
            )
        self.logit_normal = logit_normal
        self.timesteps, self.prediction, self.variance, self.weighting = timesteps, prediction, variance, weighting
        table = SCHEDULES[schedule](timesteps) if isinstance(schedule, str) else np.asarray(schedule, np.float64)
        if table.shape != (timesteps,) or np.any(np.diff(table) >= 0) or not 0 <= table[-1] <= table[0] < 1:
            raise ValueError(f"Diffusion: schedule must be {timesteps} numbers in [0, 1) that fall, got {table}")
        if prediction == "eps" and table[-1] == 0:
            raise ValueError("Diffusion: prediction 'eps' says nothing of x0 in pure noise: choose 'x0', 'v' or 'flow'")
        self.alphas_cumprod = table
        self._angles = np.arctan2(np.sqrt(1 - table), np.sqrt(table))  # of (alpha, beta): between 0 and pi / 2

    # ---- levels ------------------------------------------------------------------------------------------

    def alpha_bar(self, time: float) -> float:
        """alphas_cumprod at any time from 0 to T - 1; between timesteps the angle of (alpha, beta) is interpolated."""
        if not 0 <= time <= self.timesteps - 1:
            raise ValueError(f"Diffusion: t must be from 0 to {self.timesteps - 1}, got {time}")
        if time == int(time):
            return float(self.alphas_cumprod[int(time)])
        return math.cos(np.interp(time, np.arange(self.timesteps), self._angles)) ** 2

    def times(self, steps: int) -> np.ndarray:
        """Timesteps T - 1 on, each the last of an equal share of all ("trailing": Lin et al. 2024, arXiv:2305.08891,
        section 3.3), so that the last step towards clean data is as long as the others."""
        if steps > self.timesteps:
            raise ValueError(f"Diffusion: sampling steps must be from 1 to {self.timesteps}, got {steps}")
        kept = np.round(self.timesteps * (1 - np.arange(steps) / steps)).astype(int) - 1
        return np.append(kept, 0)

    def ends(self) -> tuple[float, float]:
        return float(self.alphas_cumprod[-1]), float(self.alphas_cumprod[0])

    def timestep(self, alpha_bar: float) -> float:
        """The time of a level, the inverse of `alpha_bar`: an int where it is one."""
        table, angle = self.alphas_cumprod, math.atan2(math.sqrt(1 - alpha_bar), math.sqrt(alpha_bar))
        if not -ROUNDING <= angle - self._angles[0] <= self._angles[-1] - self._angles[0] + ROUNDING:
            raise ValueError(
                f"Diffusion: alpha_bar must be from {table[-1]:.6g} (t = {self.timesteps - 1}) to {table[0]:.6g} "
                f"(t = 0), got {alpha_bar}"
            )
        t = int(np.searchsorted(-table, -alpha_bar))  # the first with no more than alpha_bar
        if t < self.timesteps and table[t] == alpha_bar:
            return t
        return float(np.interp(angle, self._angles, np.arange(self.timesteps)))

    def preconditioning(self, alpha_bar: float) -> Preconditioning:
        return Preconditioning(1.0, self.timestep(alpha_bar), *x0_coefficients(self.prediction, alpha_bar))

    def denoiser(self, network: Network, clip: float | None = 1.0) -> NetworkDenoiser:
        learned = variational.log_variance if self.variance == "learned" else None
        return NetworkDenoiser(network, self.preconditioning, clip, learned)

    # ---- training ----------------------------------------------------------------------------------------

    def _levels(self, t: Any) -> np.ndarray:
        """alphas_cumprod at timesteps t (N,)."""
        t = to_device(array_of(t), "cpu")
        if t.dtype.kind not in "iu" or np.any((t < 0) | (t >= self.timesteps)):
            raise ValueError(f"Diffusion: t must be integers from 0 to {self.timesteps - 1}, got {t}")
        return self.alphas_cumprod[t]

    def add_noise(self, x0: Any, t: Any, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """x_t and the noise in it. x0 (N, ...), t (N,) -> two tensors (N, ...)."""
        alpha_bar = self._levels(t)
        return mix(x0, np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar), generator)

    def target(self, x0: Any, noise: Any, t: Any) -> Tensor:
        """What the network should have said: eps, x0, v or the flow."""
        if self.prediction == "eps":
            return noise
        if self.prediction == "x0":
            return x0
        if self.prediction == "flow":
            return noise - x0
        alpha_bar = self._levels(t)
        alpha, sigma = (per_sample(x0, np.sqrt(a)) for a in (alpha_bar, 1 - alpha_bar))
        return alpha * noise - sigma * x0

    def loss(
        self, network: Network, x0: Any, generator: Generator | None = None, posterior: PosteriorMean | None = None
    ) -> Tensor:
        """The mean squared error of the prediction at one random timestep per sample, a number.

        'simple' (Ho et al. 2020, eq. 14) weighs all timesteps alike, but for errors of x0: they count 1 / (1 - abar_t)
        times, as the errors of v that they amount to, and at most 5 times, so that nearly clean images do not dominate
        (Salimans & Ho 2022, section 4). 'min_snr' weighs errors of x0 by min(SNR, 5), SNR = abar_t / (1 - abar_t), and
        others as the errors of x0 that they amount to (Hang et al. 2023, arXiv:2303.09556, eq. 8 and 9). With a learned
        variance, a thousandth of the variational bound is added, which trains that variance alone.

        With `posterior`, the `PosteriorMean` of all images, the target is the mean of all that could have become x_t
        instead of x0, of which it was made: the minimum is the same, and the loss scatters less.
        """
        generator = generator or default_generator
        t = self.random_timesteps(len(x0), generator)
        x_t, noise = self.add_noise(x0, t, generator)
        out, rest = network(x_t, t), None
        if self.variance == "learned":
            out, rest = halves(out, x0)
        error = out - (self.target(x0, noise, t) if posterior is None else self._mean_target(posterior, x_t, t))
        weights = self._weights(t)
        if weights is not None:
            error = weighted(error, np.sqrt(weights))
        simple = (error * error).mean()
        if rest is None:
            return simple
        bound = variational.bound_terms(self, x_t, out.detach(), rest, x0, t).mean()
        return simple + BOUND_WEIGHT * self.timesteps * bound

    def _mean_target(self, posterior: PosteriorMean, x_t: Tensor, t: np.ndarray) -> Tensor:
        """`target`, its mean given x_t."""
        alpha_bar = self._levels(t)
        x0 = posterior(x_t, alpha_bar)
        noise = per_sample(x_t, 1 / np.sqrt(1 - alpha_bar)) * (x_t - per_sample(x_t, np.sqrt(alpha_bar)) * x0)
        return self.target(x0, noise, t)

    def _weights(self, t: np.ndarray) -> np.ndarray | None:
        """Of the squared errors at timesteps t (N,); None if all are 1."""
        alpha_bar = self.alphas_cumprod[t]
        if self.weighting == "simple":
            return np.minimum(1 / (1 - alpha_bar), LARGEST_WEIGHT) if self.prediction == "x0" else None
        of_x0 = np.minimum(alpha_bar / (1 - alpha_bar), LARGEST_WEIGHT)
        # the error of x0 is c_out times that of the prediction
        c_out = np.array([x0_coefficients(self.prediction, a)[1] for a in alpha_bar.tolist()])
        return of_x0 * c_out**2

    def random_timesteps(self, n: int, generator: Generator) -> np.ndarray:
        """One timestep for each of n samples, spread (see `spread`) evenly or as `logit_normal` says."""
        if self.logit_normal is None:
            share = spread(n, generator)
        else:
            share = 1 / (1 + np.exp(-normal_spread(n, generator, *self.logit_normal)))
        return (share * self.timesteps).astype(np.int64)
