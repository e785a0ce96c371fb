"""Rectified flow (Liu et al. 2023, arXiv:2209.03003): the straight line x_t = (1 - t) x0 + t eps from data to noise,
and a network that says in which direction it goes, eps - x0.

Where many lines cross, the mean of their directions is what is learned, and the way of a sample bends; a model that
learns from the pairs (noise, sample) of another one, whose ways do not cross, has straighter ways (`reflow_loss`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..random import Generator, default_generator
from ..tensor import Tensor
from .denoiser import Network, Preconditioning, x0_coefficients
from .process import TIME_SCALE, Process, mix, per_sample, spread
from .timetable import signal_and_noise


class RectifiedFlow(Process):
    """t is uniform in [0, 1]; the network is told 1000 t."""

    def alpha_bar(self, time: float) -> float:
        """The level of the line at t: (1 - t)^2 / ((1 - t)^2 + t^2)."""
        if not 0 <= time <= 1:
            raise ValueError(f"RectifiedFlow: t must be from 0 to 1, got {time}")
        return (1 - time) ** 2 / ((1 - time) ** 2 + time**2)

    def times(self, steps: int) -> np.ndarray:
        return np.linspace(1, 0, steps + 1)

    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    def preconditioning(self, alpha_bar: float) -> Preconditioning:
        """In the variance-preserving x the line is x / (alpha + beta), at t = beta / (alpha + beta)."""
        alpha, beta = signal_and_noise(alpha_bar)
        time = TIME_SCALE * beta / (alpha + beta)
        return Preconditioning(1 / (alpha + beta), time, *x0_coefficients("flow", alpha_bar))

    def loss(self, network: Network, x0: Any, generator: Generator | None = None) -> Tensor:
        """The mean squared error of the direction at one random t per sample (eq. 1)."""
        generator = generator or default_generator
        t = spread(len(x0), generator)
        x, noise = mix(x0, 1 - t, t, generator)
        error = network(x, TIME_SCALE * t) - (noise - x0)
        return (error * error).mean()

    def reflow_loss(self, network: Network, x0: Any, noise: Any, generator: Generator | None = None) -> Tensor:
        """The same for given pairs: x0 (N, ...) is what an earlier model made of noise (N, ...). Section 2.2."""
        t = spread(len(x0), generator or default_generator)
        each = per_sample(x0, t)
        error = network((1 - each) * x0 + each * noise, TIME_SCALE * t) - (noise - x0)
        return (error * error).mean()
