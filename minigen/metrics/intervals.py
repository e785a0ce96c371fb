"""How far the mean of a few runs may be from that of all runs there could be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data.base import require


def mean_interval(values: Any, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high): Student's interval for the mean of what `values` (N,), N >= 2, are independent draws of.

        mean +- t s / sqrt(N),    s^2 = sum (x - mean)^2 / (N - 1),    t the quantile of N - 1 degrees of freedom

    It holds the true mean with that confidence where the values are normally distributed (Student 1908). To compare
    two methods, give the differences of runs that have all else in common: what varies from run to run for both drops
    out.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"mean_interval: needs at least two values (N,), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"mean_interval: some values are not finite numbers: {values}")
    if not 0 < confidence < 1:
        raise ValueError(f"mean_interval: confidence must be between 0 and 1, got {confidence}")
    stats = require("scipy.stats", "scipy", "mean_interval")
    quantile = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1))
    mean, reach = float(values.mean()), quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach
