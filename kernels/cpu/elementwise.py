"""Sums, differences and products of large arrays, and sums over positions: as fast as memory is."""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import contiguous
from kernels.cpu.vector import add_widened, lanes, load_first, prefetch, spread, store_first, whole_vectors

ROW = 2**12  # numbers that are gone through at a time where two arrays have the same shape
AHEAD = 2**11  # numbers from one that is worked on to the one that is asked for
BLOCK = 32  # rows whose sum is taken in the array's own precision, before they are added up in float64
UNIT = 2**15  # numbers whose sums are one thread's work
ADD, SUBTRACT, MULTIPLY = range(3)


def arithmetic(a: np.ndarray, b: np.ndarray, name: str) -> np.ndarray:
    """a + b, a - b or a b, as `name` says: 'add', 'subtract' or 'multiply'. b broadcasts to a's shape."""
    checks.arithmetic(a, b, name)
    a, b = contiguous(a), contiguous(b)
    y = np.empty(a.shape, a.dtype)
    repeats, row = _rows(a.shape, b.shape)
    if row < lanes(a):
        getattr(np, name)(a, b, out=y)
    else:
        operation = dict(add=ADD, subtract=SUBTRACT, multiply=MULTIPLY)[name]
        _arithmetic(a.size, operation, a.reshape(-1), b.reshape(-1), repeats, row, y.reshape(-1))
    return y


def _rows(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int]:
    """(repeats, row): a, `row` numbers at a time, meets the rows of b, each of them `repeats` times. Row 0: not so."""
    if a == b:
        return 1, ROW
    b = (1,) * (len(a) - len(b)) + b
    last = len(a)
    while last > 0 and b[last - 1] == a[last - 1]:
        last -= 1
    first = last
    while first > 0 and b[first - 1] == 1:
        first -= 1
    return math.prod(a[first:last]), math.prod(a[last:]) if b[:first] == a[:first] else 0


@parallel_kernel
def _arithmetic(part, parts, operation, a, b, repeats, row, y):
    rows = -(-a.size // row)
    for r in range(share(rows, part, parts), share(rows, part + 1, parts)):
        start, other = r * row, r // repeats * row
        count = min(row, a.size - start)
        for at in range(0, count, lanes(a)):
            v, w = load_first(a, start + at, count - at), load_first(b, other + at, count - at)
            v = v + w if operation == ADD else v - w if operation == SUBTRACT else v * w
            store_first(y, start + at, v, count - at)


def sum_positions(x: np.ndarray) -> np.ndarray:
    """(N,M,C) -> (N,C), the sum over M."""
    checks.sum_positions(x)
    x = contiguous(x)
    samples, positions, channels = x.shape
    units = max(1, min(positions, -(-positions * channels // UNIT)))
    sums = np.zeros((samples * units, whole_vectors(x, channels)))
    _sum_positions(x.size, x.reshape(-1), positions, channels, units, sums)
    sums = sums.reshape(samples, units, sums.shape[1]).sum(1)
    return sums[:, :channels].astype(x.dtype)


@parallel_kernel
def _sum_positions(part, parts, x, positions, channels, units, sums):
    for unit in range(share(len(sums), part, parts), share(len(sums), part + 1, parts)):
        n, k = unit // units, unit % units
        first, last = n * positions + share(positions, k, units), n * positions + share(positions, k + 1, units)
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            coming = start * channels + AHEAD
            for c in range(0, channels, lanes(x)):
                sum_x = spread(x, 0)
                for at in range(start * channels + c, end * channels + c, channels):
                    prefetch(x, coming)
                    coming += lanes(x)
                    sum_x += load_first(x, at, channels - c)
                add_widened(sums[unit], c, sum_x)
