"""Softmax over the last axis, and its gradient.

A row stays in the nearest cache: what is done with it is three passes over it, and memory is read and written once.
"""

from __future__ import annotations

import numpy as np

from kernels import checks
from kernels.cpu.functions import exp
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import contiguous
from kernels.cpu.vector import first_or, keep_first, lanes, larger, load_first, most, spread, store_first, total


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis of x (*S,L); nan where all of that is -inf."""
    checks.softmax(x)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    _softmax(8 * x.size, x.reshape(-1), x.shape[-1], y.reshape(-1))
    return y


def softmax_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = y (g - sum(g y)) over the last axis, for the gradient g of y = softmax(x)."""
    checks.softmax_backward(g, y)
    g, y = contiguous(g), contiguous(y)
    dx = np.empty(y.shape, y.dtype)
    _softmax_backward(2 * y.size, g.reshape(-1), y.reshape(-1), y.shape[-1], dx.reshape(-1))
    return dx


@parallel_kernel
def _softmax(part, parts, x, length, y):
    rows = x.size // max(1, length)
    for row in range(share(rows, part, parts), share(rows, part + 1, parts)):
        start = row * length
        tops = spread(x, -np.inf)
        for c in range(0, length, lanes(x)):
            tops = larger(first_or(load_first(x, start + c, length - c), length - c, -np.inf), tops)
        top = most(tops)
        sums = spread(x, 0)
        for c in range(0, length, lanes(x)):
            e = exp(load_first(x, start + c, length - c) - top)
            store_first(y, start + c, e, length - c)
            sums += keep_first(e, length - c)
        factor = 1.0 / total(sums)
        for c in range(0, length, lanes(x)):
            store_first(y, start + c, load_first(y, start + c, length - c) * factor, length - c)


@parallel_kernel
def _softmax_backward(part, parts, g, y, length, dx):
    rows = y.size // max(1, length)
    for row in range(share(rows, part, parts), share(rows, part + 1, parts)):
        start = row * length
        sums = spread(y, 0)
        for c in range(0, length, lanes(y)):
            sums += load_first(g, start + c, length - c) * load_first(y, start + c, length - c)
        sum_gy = total(sums)
        for c in range(0, length, lanes(y)):
            d = load_first(y, start + c, length - c) * (load_first(g, start + c, length - c) - sum_gy)
            store_first(dx, start + c, d, length - c)
