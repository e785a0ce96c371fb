"""Moving numbers: copies of parts of arrays, joining arrays, changing the resolution by whole factors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kernels import checks
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import Rows, contiguous, copied, copy_rows
from kernels.cpu.vector import lanes, load_first, spread, store_first


def copy(x: np.ndarray) -> np.ndarray:
    """A contiguous copy of x."""
    checks.copy(x)
    return copied(x)


def join(xs: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (..., C_i), whose other axes agree, joined along the last axis."""
    checks.join(xs)
    count, lengths = math.prod(xs[0].shape[:-1]), [x.shape[-1] for x in xs]
    y = np.empty((*xs[0].shape[:-1], sum(lengths)), xs[0].dtype)
    start = 0
    for x, length in zip(xs, lengths):
        source = Rows(contiguous(x).reshape(-1), 0, length, count, length)
        copy_rows(source, Rows(y.reshape(-1), start, sum(lengths), count, length))
        start += length
    return y


def upsample(x: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """(N,*S,C) -> (N,*(S factors),C): every pixel becomes a block of equal ones."""
    checks.upsample(x, factors)
    x = contiguous(x)
    y = np.empty((x.shape[0], *[n * f for n, f in zip(x.shape[1:-1], factors)], x.shape[-1]), x.dtype)
    _upsample(x.size + y.size, x.reshape(-1), *_volume(x, factors), y.reshape(-1))
    return y


def sum_blocks(x: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """(N,*(S factors),C) -> (N,*S,C): the sum of every block of pixels."""
    checks.sum_blocks(x, factors)
    x = contiguous(x)
    y = np.empty((x.shape[0], *[n // f for n, f in zip(x.shape[1:-1], factors)], x.shape[-1]), x.dtype)
    _sum_blocks(x.size + y.size, x.reshape(-1), *_volume(y, factors), y.reshape(-1))
    return y


def _volume(x: np.ndarray, factors: Sequence[int]) -> tuple[int, ...]:
    """(planes, rows, columns, numbers in a pixel) of the smaller image, and its three factors: missing axes are 1."""
    planes, rows, columns = (1,) * (3 - len(factors)) + x.shape[1:-1]
    return x.shape[0] * planes, rows, columns, x.shape[-1], *(1,) * (3 - len(factors)), *map(int, factors)


@parallel_kernel
def _upsample(part, parts, x, planes, rows, columns, channels, deep, high, wide, y):
    line = columns * channels
    for row in range(share(planes * rows, part, parts), share(planes * rows, part + 1, parts)):
        plane, r = row // rows, row % rows
        for i in range(deep * high):
            first = ((plane * deep + i // high) * rows * high + r * high + i % high) * line * wide
            for w in range(columns * wide):
                for c in range(0, channels, lanes(x)):
                    pixel = load_first(x, row * line + w // wide * channels + c, channels - c)
                    store_first(y, first + w * channels + c, pixel, channels - c)


@parallel_kernel
def _sum_blocks(part, parts, x, planes, rows, columns, channels, deep, high, wide, y):
    line = columns * channels
    for row in range(share(planes * rows, part, parts), share(planes * rows, part + 1, parts)):
        plane, r = row // rows, row % rows
        for w in range(columns):
            for c in range(0, channels, lanes(x)):
                pixel = spread(x, 0)
                for i in range(deep * high):
                    first = ((plane * deep + i // high) * rows * high + r * high + i % high) * line * wide
                    for k in range(w * wide, (w + 1) * wide):
                        pixel += load_first(x, first + k * channels + c, channels - c)
                store_first(y, row * line + w * channels + c, pixel, channels - c)
