"""A reverse step of diffusion in five numbers, worked out in float64: what tells the samplers apart.

Every reverse step is linear in x, the network's output m and the noise z, but for the clipping of x0:

    x_prev = from_x0 clip(c_x x + c_m m) + from_x x + deviation z
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Levels(NamedTuple):
    c_x: float
    c_m: float
    from_x0: float
    from_x: float
    deviation: float


def ddpm_levels(alpha_bar: float, alpha_bar_prev: float, prediction: str) -> Levels:
    """The mean and standard deviation of q(x_prev | x, x0): Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7."""
    beta = 1 - alpha_bar / alpha_bar_prev
    from_x0 = math.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)
    from_x = math.sqrt(1 - beta) * (1 - alpha_bar_prev) / (1 - alpha_bar)
    deviation = math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * beta)
    return Levels(*x0_coefficients(prediction, alpha_bar), from_x0, from_x, deviation)


def ddim_levels(alpha_bar: float, alpha_bar_prev: float, prediction: str, eta: float) -> Levels:
    """sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - sigma^2) eps + sigma noise.

    Song et al. 2021, arXiv:2010.02502, eq. 12 and 16; eps = (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar).
    """
    sigma = 0.0
    if eta > 0:
        sigma = eta * math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev))
    direction = math.sqrt(max(1 - alpha_bar_prev - sigma**2, 0.0))  # the max is for rounding
    from_x = direction / math.sqrt(1 - alpha_bar)
    from_x0 = math.sqrt(alpha_bar_prev) - from_x * math.sqrt(alpha_bar)
    return Levels(*x0_coefficients(prediction, alpha_bar), from_x0, from_x, sigma)


def x0_coefficients(prediction: str, alpha_bar: float) -> tuple[float, float]:
    """(c_x, c_m) of x0 = c_x x + c_m m, where m is the prediction of eps, of x0 or of v."""
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "eps":
        return 1 / signal, -noise / signal
    return (signal, -noise) if prediction == "v" else (0.0, 1.0)
