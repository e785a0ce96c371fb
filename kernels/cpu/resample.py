"""FIR resampling, in one pass: each row of the output is first filtered along H, from the rows of x that it sees, into
a line that stays in the cache; then that line along W. Zeros between samples and beyond the edges are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from kernels import checks
from kernels.checks import IntOrInts, Resampling
from kernels.cpu.jit import kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned_empty, contiguous
from kernels.cpu.vector import lanes, load, load_first, spread, store, store_first


def upfirdn2d(
    x: np.ndarray, taps: np.ndarray, up: IntOrInts = 1, down: IntOrInts = 1, padding: Sequence[Any] = (0, 0)
) -> np.ndarray:
    """x (N,H,W,C) with zeros put between and around its pixels, filtered by taps (k,) along both axes, thinned out:
    (N,Ho,Wo,C) with Ho = (H up + before + after - k) // down + 1. Karras et al. 2020, arXiv:1912.04958."""
    rows, columns = checks.upfirdn2d(x, taps, up, down, padding)
    x, taps = contiguous(x), contiguous(taps)
    samples, height, width, channels = x.shape
    y = np.empty((samples, rows.out, columns.out, channels), x.dtype)
    plan = rows.up, _seen(height, taps.size, rows), columns.up, _seen(width, taps.size, columns)
    _upfirdn2d(x.size + y.size, x.reshape(-1), taps, samples, height, width, channels, *plan, y.reshape(-1))
    return y


@lru_cache(256)
def _seen(size: int, taps: int, along: Resampling) -> np.ndarray:
    """(out, 3): the first of `size` samples that each output sees, the one after the last, and the tap of the first."""
    start = np.arange(along.out) * along.down - along.before  # where the last tap lies, zeros counted
    first = np.maximum(-(-start // along.up), 0)
    last = np.minimum((start + taps - 1) // along.up + 1, size)
    return np.stack([first, last, taps - 1 - (first * along.up - start)], axis=1)


@parallel_kernel
def _upfirdn2d(part, parts, x, taps, samples, height, width, channels, up_h, rows, up_w, columns, y):
    line = aligned_empty(width * channels, x)
    for row in range(share(samples * len(rows), part, parts), share(samples * len(rows), part + 1, parts)):
        _make_row(row, x, taps, height, width, channels, up_h, rows, up_w, columns, line, y)


@kernel_part()
def _make_row(row, x, taps, height, width, channels, up_h, rows, up_w, columns, line, y):
    n, r = row // len(rows), row % len(rows)
    first, last, tap = rows[r, 0], rows[r, 1], rows[r, 2]
    length = width * channels
    _weigh(x, (n * height + first) * length, length, last - first, taps, tap, up_h, line, 0, length)
    for w in range(len(columns)):
        first, last, tap = columns[w, 0], columns[w, 1], columns[w, 2]
        to = (row * len(columns) + w) * channels
        _weigh(line, first * channels, channels, last - first, taps, tap, up_w, y, to, channels)


@kernel_part(inline="always")
def _weigh(x, at, step, count, taps, tap, up, y, to, length):
    """y[to + j] = sum_i taps[tap - i up] x[at + i step + j] for j < length and i < count; four vectors at a time."""
    n = lanes(x)
    in_fours = length - length % (4 * n)
    for j in range(0, in_fours, 4 * n):
        a, b, c, d = spread(x, 0), spread(x, 0), spread(x, 0), spread(x, 0)
        for i in range(count):
            weight, here = taps[tap - i * up], at + i * step + j
            a += weight * load(x, here)
            b += weight * load(x, here + n)
            c += weight * load(x, here + 2 * n)
            d += weight * load(x, here + 3 * n)
        store(y, to + j, a)
        store(y, to + j + n, b)
        store(y, to + j + 2 * n, c)
        store(y, to + j + 3 * n, d)
    for j in range(in_fours, length, n):
        a = spread(x, 0)
        for i in range(count):
            a += taps[tap - i * up] * load_first(x, at + i * step + j, length - j)
        store_first(y, to + j, a, length - j)
