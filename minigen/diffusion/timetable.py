"""The noise levels that a sampler visits.

A level is told by alpha_bar, the share of the data in the variance of

    x = alpha x0 + beta eps,    alpha = sqrt(alpha_bar), beta = sqrt(1 - alpha_bar):

1 is clean data, 0 pure noise. Others count in sigma = beta / alpha (the noise beside unscaled data: Karras et al. 2022)
or t = beta / (alpha + beta) (the place between data and noise: Liu et al. 2023); both are functions of alpha_bar.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

LARGEST_SIGMA = 80.0  # Karras et al. 2022, table 1: beyond, there is nothing left to see
SMALLEST_SIGMA = 0.002


def signal_and_noise(alpha_bar: float) -> tuple[float, float]:
    """alpha and beta of a level."""
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


def alpha_bar_of_sigma(sigma: float) -> float:
    return 1 / (1 + sigma**2)


def sigma_of_alpha_bar(alpha_bar: float) -> float:
    alpha, beta = signal_and_noise(alpha_bar)
    return beta / alpha if alpha else math.inf


def log_ratio(alpha_bar: float) -> float:
    """lambda = log(alpha / beta), half the logarithm of the signal-to-noise ratio."""
    alpha, beta = signal_and_noise(alpha_bar)
    return math.log(alpha / beta) if alpha and beta else math.inf if alpha else -math.inf


def karras_sigmas(steps: int, smallest: float, largest: float, rho: float = 7.0) -> np.ndarray:
    """`steps` values of sigma from the largest to the smallest, evenly spread in sigma^(1/rho).

    Karras et al. 2022, arXiv:2206.00364, eq. 5 (without the zero at the end).
    """
    if not 0 < smallest < largest < math.inf:
        raise ValueError(f"karras_sigmas: needs 0 < smallest < largest < inf, got {smallest} and {largest}")
    if steps == 1:
        return np.array([largest])
    high, low = largest ** (1 / rho), smallest ** (1 / rho)
    return (high + np.arange(steps) / (steps - 1) * (low - high)) ** rho


class Timetable:
    """Levels from noise to data. `print` shows them as a table.

    alpha_bars: (steps + 1,), rising; the last one is 1 for samplers that end with clean data
    halfway:    (steps,), levels between each two, which the first steps of PNDM visit
    time_of:    the network's name for a level, for the table
    """

    def __init__(
        self,
        alpha_bars: Sequence[float] | np.ndarray,
        halfway: Sequence[float] | np.ndarray | None = None,
        time_of: Callable[[float], float] | None = None,
    ):
        self.alpha_bars = np.asarray(alpha_bars, np.float64)
        levels = self.alpha_bars
        if levels.ndim != 1 or len(levels) < 2 or np.any(np.diff(levels) <= 0) or levels[0] < 0 or levels[-1] > 1:
            raise ValueError(f"Timetable: alpha_bars must be two or more numbers that rise within [0, 1], got {levels}")
        self.halfway = None if halfway is None else np.asarray(halfway, np.float64)
        self.time_of = time_of

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.alpha_bars) - 1

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """(alpha_bar now, alpha_bar then) of each step."""
        return itertools.pairwise(self.alpha_bars.tolist())

    def after(self, first: int) -> Timetable:
        """Without the first steps: for data that are noisy to begin with."""
        halfway = None if self.halfway is None else self.halfway[first:]
        return Timetable(self.alpha_bars[first:], halfway, self.time_of)

    def last(self, strength: float) -> Timetable | None:
        """That share of the steps, from 0 to 1, counted from the end and rounded; None if none is left."""
        if not 0 <= strength <= 1:
            raise ValueError(f"Timetable.last: strength must be from 0 to 1, got {strength}")
        taken = round(strength * len(self))
        return self.after(len(self) - taken) if taken else None

    def __str__(self) -> str:
        lines = [f"{'step':>5} {'time':>9} {'alpha_bar':>12} {'sigma':>11} {'log SNR':>9}"]
        for i, level in enumerate(self.alpha_bars.tolist()):
            sigma, snr = sigma_of_alpha_bar(level), 2 * log_ratio(level)
            time = "" if self.time_of is None or level == 1 else f"{self.time_of(level):.6g}"
            lines.append(f"{i:>5} {time:>9} {level:>12.7g} {sigma:>11.5g} {snr:>9.4g}")
        return "\n".join(lines)
