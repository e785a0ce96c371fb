"""Group normalisation of a single position and group: each row of a matrix by itself.

A row stays in the nearest cache: what is done with it is a few passes over it, and memory is read and written once.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cpu.functions import sigmoid
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.vector import add_widened, keep_first, lanes, load, load_first, spread, store, store_first, total

CHUNKS = 64  # at most, shares of the rows, whose sums over rows are then added up in this order
BLOCK = 16  # rows whose sums are taken in the array's own precision


def forward(work: int, x: np.ndarray, weight, bias, eps: float, silu: bool, y, mean, rstd) -> None:
    """x and y (N C,), mean and rstd (N,), weight and bias (C,) padded to whole vectors."""
    _forward(work, x, weight, bias, eps, silu, y, mean, rstd)


def backward(work: int, g: np.ndarray, x, weight, bias, mean, rstd, silu: bool, dx) -> np.ndarray:
    """Writes dx (N C,); gives (chunks, 2, C), the sums of du and of du n over shares of the rows."""
    sums = np.zeros((min(CHUNKS, -(-mean.size // BLOCK)), 2, weight.size))
    _backward(2 * work, g, x, weight, bias, mean, rstd, silu, dx, sums)
    return sums


@parallel_kernel
def _forward(part, parts, x, weight, bias, eps, silu, y, mean, rstd):
    channels = x.size // max(1, mean.size)
    for n in range(share(mean.size, part, parts), share(mean.size, part + 1, parts)):
        row = n * channels
        sum_x, sum_d, sum_d2 = spread(x, 0), spread(x, 0), spread(x, 0)
        for c in range(0, channels, lanes(x)):
            sum_x += load_first(x, row + c, channels - c)
        mean[n] = total(sum_x) / channels
        middle = mean[n]
        for c in range(0, channels, lanes(x)):
            d = keep_first(load_first(x, row + c, channels - c) - middle, channels - c)
            sum_d += d
            sum_d2 += d * d
        rounding = np.float64(total(sum_d)) / channels  # what is left of the mean
        mean[n] = middle + rounding
        variance = np.float64(total(sum_d2)) / channels - rounding * rounding
        rstd[n] = 1.0 / math.sqrt(variance + eps)
        middle, deviation = mean[n], rstd[n]
        for c in range(0, channels, lanes(x)):
            u = (load_first(x, row + c, channels - c) - middle) * deviation * load(weight, c) + load(bias, c)
            if silu:
                u = u * sigmoid(u)
            store_first(y, row + c, u, channels - c)


@parallel_kernel
def _backward(part, parts, g, x, weight, bias, mean, rstd, silu, dx, sums):
    channels = x.size // max(1, mean.size)
    scratch = np.empty((2, weight.size), x.dtype)
    sum_du, sum_du_n = scratch[0], scratch[1]
    for chunk in range(share(len(sums), part, parts), share(len(sums), part + 1, parts)):
        first, last = share(mean.size, chunk, len(sums)), share(mean.size, chunk + 1, len(sums))
        for start in range(first, last, BLOCK):
            scratch[:] = 0
            for n in range(start, min(start + BLOCK, last)):
                row, middle, deviation = n * channels, mean[n], rstd[n]
                sum_dn, sum_dn_n = spread(x, 0), spread(x, 0)
                for c in range(0, channels, lanes(x)):
                    normal = (load_first(x, row + c, channels - c) - middle) * deviation
                    d = load_first(g, row + c, channels - c)
                    if silu:
                        u = normal * load(weight, c) + load(bias, c)
                        s = sigmoid(u)
                        d = d * s * (1.0 + u * (1.0 - s))
                    store_first(dx, row + c, d, channels - c)
                    store(sum_du, c, load(sum_du, c) + d)
                    store(sum_du_n, c, load(sum_du_n, c) + d * normal)
                    sum_dn += d * load(weight, c)
                    sum_dn_n += d * load(weight, c) * normal
                average_dn, average_dn_n = total(sum_dn) / channels, total(sum_dn_n) / channels
                for c in range(0, channels, lanes(x)):
                    normal = (load_first(x, row + c, channels - c) - middle) * deviation
                    d = load_first(dx, row + c, channels - c) * load(weight, c)
                    store_first(dx, row + c, (d - average_dn - normal * average_dn_n) * deviation, channels - c)
            for c in range(0, channels, lanes(x)):
                add_widened(sums[chunk, 0], c, load(sum_du, c))
                add_widened(sums[chunk, 1], c, load(sum_du_n, c))
