"""EDM (Karras et al. 2022, arXiv:2206.00364): x = x0 + sigma eps for any sigma, and a network whose input and whose
target have variance 1 at every one of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..random import Generator, default_generator
from ..tensor import Tensor
from .denoiser import Network, Preconditioning
from .process import TIME_SCALE, Process, mix, normal_spread, per_sample
from .timetable import (
    LARGEST_SIGMA,
    SMALLEST_SIGMA,
    alpha_bar_of_sigma,
    karras_sigmas,
    sigma_of_alpha_bar,
    signal_and_noise,
)


class EDM(Process):
    """sigma_data: the standard deviation of the data; ln sigma in training is normal with mean p_mean and standard
    deviation p_std."""

    def __init__(self, sigma_data: float = 0.5, p_mean: float = -1.2, p_std: float = 1.2):
        if not sigma_data > 0 or not p_std > 0:
            raise ValueError(f"EDM: sigma_data and p_std must be positive, got {sigma_data} and {p_std}")
        self.sigma_data, self.p_mean, self.p_std = sigma_data, p_mean, p_std

    def alpha_bar(self, time: float) -> float:
        """Its own time is sigma^(1/7), as its samplers go: 'uniform' and 'karras' are the same here."""
        return alpha_bar_of_sigma(time**7)

    def times(self, steps: int) -> np.ndarray:
        return np.append(karras_sigmas(steps, SMALLEST_SIGMA, LARGEST_SIGMA) ** (1 / 7), 0)

    def ends(self) -> tuple[float, float]:
        return alpha_bar_of_sigma(LARGEST_SIGMA), alpha_bar_of_sigma(SMALLEST_SIGMA)

    def preconditioning(self, alpha_bar: float) -> Preconditioning:
        """Table 1, its column "Ours", for x = (x0 + sigma eps) / sqrt(1 + sigma^2)."""
        (alpha, beta), data = signal_and_noise(alpha_bar), self.sigma_data
        if not 0 < alpha_bar < 1:
            raise ValueError(f"EDM: alpha_bar must be between 0 and 1, where sigma is finite, got {alpha_bar}")
        deviation = math.hypot(alpha * data, beta)  # of x
        time = TIME_SCALE * math.log(sigma_of_alpha_bar(alpha_bar)) / 4
        return Preconditioning(1 / deviation, time, alpha * (data / deviation) ** 2, beta * data / deviation)

    def loss(self, network: Network, x0: Any, generator: Generator | None = None) -> Tensor:
        """The mean squared error of the network at one random sigma per sample, weighed as in eq. 8: by 1.

        With y = x0 + sigma eps and s = sqrt(sigma^2 + sigma_data^2), it sees y / s, and should say
        (x0 - c_skip y) / c_out = (sigma / sigma_data x0 - sigma_data eps) / s.
        """
        generator = generator or default_generator
        sigma = np.exp(normal_spread(len(x0), generator, self.p_mean, self.p_std))
        deviation = np.hypot(sigma, self.sigma_data)
        x, noise = mix(x0, 1 / deviation, sigma / deviation, generator)
        of_x0 = per_sample(x0, sigma / self.sigma_data / deviation)
        of_noise = per_sample(x0, self.sigma_data / deviation)
        error = network(x, TIME_SCALE * np.log(sigma) / 4) - (of_x0 * x0 - of_noise * noise)
        return (error * error).mean()
