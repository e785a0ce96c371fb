"""The kernel distance between two sets of features, KID (Binkowski et al. 2018): it needs few samples, and no bias."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import check_features

ROWS = 1000  # of a kernel matrix at a time, so that memory stays small


def kernel_distance(x: Any, y: Any) -> tuple[float, float, float]:
    """(KID, low, high) of features x (N, d) and y (M, d): the squared maximum mean discrepancy

        E k(x, x') + E k(y, y') - 2 E k(x, y)    with k(a, b) = (a.b / d + 1)^3,

    the means over pairs of different samples. That makes the estimate unbiased: about 0, or a little below, for samples
    of one distribution, whatever their number. low and high are its 95% confidence interval, 1.96 standard errors to
    both sides; the standard error is the jackknife's, from how the estimate changes as each sample is left out. No
    random blocks: the order of the samples changes nothing.
    """
    x, y = check_features("kernel_distance", x, y)
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise ValueError(f"kernel_distance: needs at least three samples of each, got {n} and {m}")
    xx, yy = _row_sums(x, x) - _kernel(x, x), _row_sums(y, y) - _kernel(y, y)  # without k(x_i, x_i)
    xy, yx = _row_sums(x, y), _row_sums(y, x)
    within_x, within_y, between = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1)), xy.sum() / (n * m)
    value = float(within_x + within_y - 2 * between)
    # the same with x_i, or y_i, left out: its row and its column of each kernel matrix are gone
    without_x = (xx.sum() - 2 * xx) / ((n - 1) * (n - 2)) + within_y - 2 * (xy.sum() - xy) / ((n - 1) * m)
    without_y = within_x + (yy.sum() - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (yx.sum() - yx) / (n * (m - 1))
    error = math.sqrt((n - 1) * without_x.var() + (m - 1) * without_y.var())
    return value, value - 1.96 * error, value + 1.96 * error


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """k(a_i, b_i): (N,)."""
    return ((a * b).mean(1) + 1) ** 3


def _row_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sums over j of k(a_i, b_j): (N,)."""
    blocks = [a[i : i + ROWS] for i in range(0, len(a), ROWS)]
    return np.concatenate([((block @ b.T / a.shape[1] + 1) ** 3).sum(1) for block in blocks])
