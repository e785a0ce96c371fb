"""Matrix products on the register tile of `tile.py`.

    y (M,N) = a (M,K) @ b (K,N)

b is first copied into panels, one tile wide, so that a step of k reads neighbouring numbers. Tiles of y are shared out
over the threads; each is summed over k in the same order, whatever the number of threads. For small matrices, and
next to other kernels, this beats a threaded BLAS, whose own threads fight with Numba's for the cores.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange
from kernels.cpu.jit import get_num_threads

from kernels import checks
from kernels.cpu.jit import kernel_part, old_launch, old_parallel_kernel
from kernels.cpu.tile import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    add_column_product,
    add_four_products,
    add_product,
    row_table,
    tile_load,
    tile_store,
    tile_width,
)

CACHE_LINE = 64  # bytes


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M,K) @ (K,N) -> (M,N), for matrices with any strides."""
    checks.matmul(a, b)
    y = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    add_matmul(a, panels_of(b), y)
    return y


def add_matmul(a: np.ndarray, panels: np.ndarray, y: np.ndarray) -> None:
    """y += a @ b for the contiguous y (M,N) and the panels of b."""
    if y.size and a.shape[1]:
        numbers, row_step, k_step = flat(a)
        rows = np.arange(len(a))
        a_rows, y_rows = row_table(rows * row_step), row_table(rows * y.shape[1])
        neighbours = row_step == 1
        out, columns = y.reshape(-1), y.shape[1]
        work = y.size * a.shape[1] // 16
        old_launch(_add_matmul, work, numbers, a_rows, len(a), neighbours, k_step, panels, out, y_rows, columns, chunks())


def chunks() -> int:
    """Into how many parts work is cut for the threads to take."""
    return 4 * get_num_threads()


def panels_of(b: np.ndarray) -> np.ndarray:
    """(K,N) -> (panels, K, width): the columns in groups of a tile's width, the last one filled up with zeros."""
    width = tile_width(b.dtype)
    panels = aligned((-(-b.shape[1] // width), b.shape[0], width), b.dtype)
    old_launch(_fill_panels, panels.size, b, panels, chunks())
    return panels


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that starts on a cache line, so that no vector of a panel straddles two."""
    size, itemsize = math.prod(shape), np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE // itemsize, dtype)
    start = -memory.ctypes.data % CACHE_LINE // itemsize
    return memory[start : start + size].reshape(shape)


def flat(a: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A matrix as (numbers, row step, column step): a[i,j] = numbers[i row_step + j column_step]."""
    for matrix, flipped in ((a, False), (a.T, True)):
        if matrix.flags.c_contiguous and matrix.flags.writeable:
            steps = (matrix.shape[1], 1)
            return matrix.reshape(-1), *(steps[::-1] if flipped else steps)
    return a.copy(order="C").reshape(-1), a.shape[1], 1


@old_parallel_kernel()
def _fill_panels(b, panels, chunks):
    count, steps, width = panels.shape
    for chunk in prange(chunks):
        for k in range(steps * chunk // chunks, steps * (chunk + 1) // chunks):
            for p in range(count):
                row = panels[p, k]
                last = min(width, b.shape[1] - p * width)
                for j in range(last):
                    row[j] = b[k, p * width + j]
                row[last:] = 0


@old_parallel_kernel()
def _add_matmul(a, a_rows, rows, neighbours, k_step, panels, y, y_rows, columns, chunks):
    """A task is one tile of y. Neighbouring tasks share rows of a. `neighbours`: a[i,k] and a[i+1,k] are."""
    count, steps, width = panels.shape
    tasks = len(a_rows) // ROWS * count
    b = panels.reshape(-1)
    for chunk in prange(chunks):
        for task in range(tasks * chunk // chunks, tasks * (chunk + 1) // chunks):
            first, p = task // count * ROWS, task % count
            across = p * width
            tile = tile_load(y, y_rows, first, across, columns - across)
            at = p * steps * width
            if neighbours and first + ROWS <= rows:
                for k in range(steps):
                    tile = add_column_product(tile, a, a_rows, first, first + k * k_step, b, at + k * width)
            else:
                tile = sum_products(tile, a, a_rows, first, 0, k_step, b, at, steps)
            tile_store(tile, y, y_rows, first, across, columns - across)


@kernel_part(inline="always")
def sum_products(tile, a, a_rows, first, shift, k_step, b, at, steps):
    """tile[i] += sum over k < steps of a[a_rows[first + i] + shift + k k_step] b[at + k width]."""
    width = VECTORS * VECTOR_BYTES // b.itemsize
    k = 0
    if k_step == 1:
        while k + 4 <= steps:
            tile = add_four_products(tile, a, a_rows, first, shift + k, b, at + k * width)
            k += 4
    while k < steps:
        tile = add_product(tile, a, a_rows, first, shift + k * k_step, b, at + k * width)
        k += 1
    return tile
