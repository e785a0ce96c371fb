"""Memory for arrays and scratch: aligned, kept for the next call, contiguous where kernels need it."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any, NamedTuple

import numpy as np

from kernels.cpu.jit import allocating_part, parallel_kernel, share
from kernels.cpu.vector import lanes, load_first, store_first, whole_vectors

CACHE_LINE = 64  # bytes
KEPT = 2**30  # bytes of freed memory that are kept at most
LARGE = 2**14  # numbers from which on a kernel copies faster than NumPy


def _glibc(function: str) -> Any:
    """A function of glibc; other C libraries lack it, and are left alone."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None


def _keep_freed_memory() -> None:
    """Tells the allocator to keep freed memory for the next array instead of handing it back to the system.

    That holds for arrays below 32 MB, as large as it goes. A training step allocates the same arrays over and over, and
    kernels their scratch. Getting each afresh means that the system clears every page of it: a third of the time of a
    small U-Net's step.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # from malloc.h
        mallopt(m_mmap_threshold, 32 * 2**20)  # the largest that it takes
        mallopt(m_trim_threshold, KEPT)
        mallopt(m_top_pad, 64 * 2**20)


_keep_freed_memory()


def release_memory() -> None:
    """Hands freed memory that was kept for later arrays back to the system."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that starts on a cache line, so that no vector of it straddles two."""
    size, itemsize = math.prod(shape), np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE // itemsize, dtype)
    start = -memory.ctypes.data % CACHE_LINE // itemsize
    return memory[start : start + size].reshape(shape)


@allocating_part()
def aligned_empty(size, like):
    """`aligned` for compiled code: a flat array of the dtype of `like`."""
    memory = np.empty(size + CACHE_LINE // like.itemsize, like.dtype)
    start = (-memory.ctypes.data) % CACHE_LINE // like.itemsize
    return memory[start : start + size]


def odd_lines(size: int, itemsize: int) -> int:
    """size rounded up to an odd number of cache lines. With an even one, which planes like to have, the numbers at one
    place of all planes compete for a few places in the cache."""
    per_line = CACHE_LINE // itemsize
    return (-(-size // per_line) | 1) * per_line


def contiguous(x: np.ndarray) -> np.ndarray:
    """x itself if it is contiguous and writable, as kernels need it; else a copy."""
    return x if x.flags.carray else copied(x)


def in_vectors(p: np.ndarray | None, rows: int, default: float, x: np.ndarray) -> np.ndarray:
    """Numbers for the channels of x, in `rows` rows: p (rows, C) or, for one row, (C,), or what None stands for; each
    row padded to whole vectors with zeros, and flat."""
    channels = x.shape[-1]
    if p is not None and channels % lanes(x) == 0:
        return contiguous(p).reshape(-1)
    padded = np.zeros((rows, whole_vectors(x, channels)), x.dtype)
    padded[:, :channels] = default if p is None else p
    return padded.reshape(-1)


def copied(x: np.ndarray) -> np.ndarray:
    """A contiguous copy of x."""
    if x.size >= LARGE:
        rows = rows_of(x)
        if rows is not None:
            y = np.empty(x.shape, x.dtype)
            copy_rows(rows, Rows(y.reshape(-1), 0, rows.length, rows.number, rows.length))
            return y
    if x.ndim > 1 and x.size and x.swapaxes(-1, -2).flags.carray:  # a weight as its gradient's rule hands it on
        y = np.empty(x.shape, x.dtype)
        _swap_axes(x.size, x.swapaxes(-1, -2).reshape(-1, x.shape[-1], x.shape[-2]), y.reshape(-1, *x.shape[-2:]))
        return y
    return np.array(x, order="C")  # also of a NumPy scalar, whose own copy would be one again


class Rows(NamedTuple):
    """Part of an array, as rows of neighbouring numbers that lie evenly in its memory."""

    memory: np.ndarray  # flat
    first: int  # where the first row begins in it
    step: int  # from the beginning of one row to that of the next
    number: int
    length: int


def rows_of(x: np.ndarray) -> Rows | None:
    """x as rows, if it is that: a slice of some neighbouring axis of a contiguous array, say."""
    whole = x
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not whole.flags.carray or whole.dtype != x.dtype:
        return None
    axes = [(n, stride // x.itemsize) for n, stride in zip(x.shape, x.strides) if n != 1]
    length = 1
    while axes and axes[-1][1] == length:
        length *= axes.pop()[0]
    count, step = axes.pop() if axes else (1, length)
    while axes and axes[-1][1] == count * step:
        count *= axes.pop()[0]
    if axes or step < length or length < lanes(x):
        return None
    return Rows(whole.reshape(-1), (x.ctypes.data - whole.ctypes.data) // x.itemsize, step, count, length)


def copy_rows(x: Rows, y: Rows) -> None:
    """y = x, for as many and as long rows."""
    _copy_rows(x.number * x.length, *x, *y[:3])


@parallel_kernel
def _copy_rows(part, parts, x, x_first, x_step, count, length, y, y_first, y_step):
    for r in range(share(count, part, parts), share(count, part + 1, parts)):
        for at in range(0, length, lanes(x)):
            row = load_first(x, x_first + r * x_step + at, length - at)
            store_first(y, y_first + r * y_step + at, row, length - at)


@parallel_kernel
def _swap_axes(part, parts, x, y):
    """y[t] = x[t].T, square by square: each fits the first-level cache, where the order of access does not matter."""
    matrices, rows, columns = x.shape
    side = 32
    strips = (rows + side - 1) // side
    for task in range(share(matrices * strips, part, parts), share(matrices * strips, part + 1, parts)):
        t, first = task // strips, task % strips * side
        last = min(first + side, rows)
        for left in range(0, columns, side):
            for j in range(left, min(left + side, columns)):
                for i in range(first, last):
                    y[t, j, i] = x[t, i, j]
