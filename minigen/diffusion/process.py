"""What all ways to train a diffusion model have in common: data turned into noise level by level, a network that is
asked for the way back, and samplers that do not care how it was trained.

    Diffusion       T steps of a schedule of noise      (Ho et al. 2020)      ddpm.py
    EDM             any sigma, unit-variance training   (Karras et al. 2022)  edm.py
    RectifiedFlow   the straight line from data to noise (Liu et al. 2023)    flow.py
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from .. import ops
from ..backend import Array, device_of, kernels_on, to_device
from ..random import Generator, default_generator
from ..tensor import Tensor
from .denoiser import Network, NetworkDenoiser, Preconditioning
from .samplers import Progress, sample
from .timetable import (
    LARGEST_SIGMA,
    SMALLEST_SIGMA,
    Timetable,
    alpha_bar_of_sigma,
    karras_sigmas,
    sigma_of_alpha_bar,
)

TIME_SCALE = 1000.0  # of times that are not timesteps: networks are made for numbers up to about 1000
SPACINGS = ("uniform", "karras")
OWN_SPACING = {"euler": "karras", "heun": "karras", "dpm++2m": "karras"}  # of the methods where it is usual


class Process:
    """Subclasses say how a network is asked (`preconditioning`), which levels there are, what it learns (`loss`)."""

    def preconditioning(self, alpha_bar: float) -> Preconditioning:
        raise NotImplementedError

    def alpha_bar(self, time: float) -> float:
        """The level at a time of the process's own."""
        raise NotImplementedError

    def times(self, steps: int) -> np.ndarray:
        """So many times from the noisiest on, evenly spread, and then the one that stands for clean data."""
        raise NotImplementedError

    def ends(self) -> tuple[float, float]:
        """alpha_bar of the noisiest and of the least noisy level that the network has seen."""
        raise NotImplementedError

    def denoiser(self, network: Network, clip: float | None = 1.0) -> NetworkDenoiser:
        """The network as a function from (x, alpha_bar) to x0, bounded to [-clip, clip]."""
        return NetworkDenoiser(network, self.preconditioning, clip)

    def timetable(self, steps: int, spacing: str = "uniform") -> Timetable:
        """`steps` levels from the noisiest on, then clean data.

        'uniform' spreads them evenly over the process's own time; 'karras' evenly in sigma^(1/7), from at most 80 to at
        least 0.002. As a string it is a table.
        """
        if spacing not in SPACINGS:
            raise ValueError(f"timetable: spacing {spacing!r} is unknown: choose one of {SPACINGS}")
        if not isinstance(steps, (int, np.integer)) or steps < 1:
            raise ValueError(f"timetable: steps must be a whole number of at least 1, got {steps!r}")
        if spacing == "uniform":
            times = self.times(steps)
            levels = [self.alpha_bar(t) for t in times[:-1].tolist()]
            halfway = [self.alpha_bar(t) for t in ((times[1:] + times[:-1]) / 2).tolist()]
        else:
            largest, smallest = map(sigma_of_alpha_bar, self.ends())
            sigmas = karras_sigmas(2 * steps - 1, max(smallest, SMALLEST_SIGMA), min(largest, LARGEST_SIGMA))
            levels = [alpha_bar_of_sigma(s) for s in sigmas[::2]]
            halfway = [alpha_bar_of_sigma(s) for s in [*sigmas[1::2], sigmas[-1] / 2]]
        return Timetable([*levels, 1.0], halfway, lambda level: self.preconditioning(level).time)

    def sample(
        self,
        network: Network,
        shape: Sequence[int],
        seed: int = 0,
        steps: int = 50,
        method: str = "ddim",
        eta: float = 0.0,
        clip: float | None = 1.0,
        first_sample: int = 0,
        device: str | None = None,
        progress: Progress = iter,
        spacing: str | None = None,
    ) -> Tensor:
        """Samples number first_sample, first_sample + 1, ... of a seed, in the given shape (N, ...).

        `method` and the rest: see `samplers.sample`; `spacing`: see `timetable`, by default 'karras' for the methods
        that are usually used so; `clip` bounds the estimates of x0.
        """
        timetable = self.timetable(steps, spacing or OWN_SPACING.get(method, "uniform"))
        denoiser = self.denoiser(network, clip)
        return sample(denoiser, shape, timetable, method, seed, eta, first_sample, device, progress)


def spread(n: int, generator: Generator) -> np.ndarray:
    """n numbers in [0, 1), evenly spread: the range is cut into n parts, and one draw shifts them all.

    A batch whose noise levels are spread like this covers them all, which makes the loss less noisy (Kingma et al.
    2021, arXiv:2107.00630, appendix I.1).
    """
    u = kernels_on("cpu").uniform((1, 1), generator.seed, generator.next_draw(), dtype=np.float64)[0, 0]
    return (np.arange(n) + u) / n


def normal_spread(n: int, generator: Generator, mean: float, std: float) -> np.ndarray:
    """n numbers that are spread as those of `spread`, but over a normal distribution."""
    normal = NormalDist(mean, std)
    return np.array([normal.inv_cdf(u) for u in np.clip(spread(n, generator), 1e-6, 1 - 1e-6)])


def mix(x0: Any, signal: np.ndarray, noise: np.ndarray, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """signal x0 + noise eps and eps, with two numbers for each sample of x0 (N, ...)."""
    generator = generator or default_generator
    return ops.add_noise(x0, like(x0, signal), like(x0, noise), generator.seed, generator.next_draw())


def weighted(x: Tensor, weights: np.ndarray) -> Tensor:
    """Each sample of x (N, ...) times its number of weights (N,)."""
    return x * per_sample(x, weights)


def per_sample(x: Any, values: np.ndarray) -> Array:
    """A number for each sample of x (N, ...): (N,) -> (N, 1, ..., 1), as `like` gives them."""
    return like(x, values).reshape(-1, *[1] * (x.ndim - 1))


def like(x: Any, values: np.ndarray) -> Array:
    """Values in the dtype of x, a Tensor or an array, and on its device."""
    return to_device(values.astype(x.dtype), device_of(x.data if isinstance(x, Tensor) else x))
