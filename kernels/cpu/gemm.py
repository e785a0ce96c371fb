"""Matrix products on the register tile of `tile.py`.

    y (M,N) = a (M,K) @ b (K,N) + bias

b is first copied into panels, one tile wide, so that a step of k reads neighbouring numbers. A block of rows of a then
meets panel after panel, a piece of k at a time, small enough that both stay in the second-level cache, and what a tile
needs of them in the next few steps in the first:

                    panel p                  K_BLOCK steps of it
    block of a   [  tile of y  ]  \\
    BLOCK x      [  tile of y  ]   > BLOCK tiles use them in turn
    K_BLOCK      [     ...     ]  /

Each number of y is summed over k in the same order, whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.jit import get_num_threads, kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned, aligned_empty, contiguous
from kernels.cpu.tile import (
    ROWS,
    add_four_products,
    add_product,
    tile_columns,
    tile_leaky,
    tile_load,
    tile_of_row,
    tile_store,
    tile_width,
)
from kernels.cpu.vector import lanes, load, load_first, store, store_first

BLOCK = 8  # tiles of rows
K_BLOCK = 512


def product(a: np.ndarray, panels: np.ndarray, start: np.ndarray, y: np.ndarray, slope: float = 1.0) -> None:
    """y = start + a @ b, times slope where negative, for the contiguous y (M,N), the panels of b and start (N,)."""
    numbers, row_step, k_step = flat(a)
    tiles = -(-len(a) // ROWS)
    block = max(1, min(BLOCK, tiles // (2 * get_num_threads())))  # rather small than one for each thread
    blocks = -(-tiles // block)
    groups = min(len(panels), -(-4 * get_num_threads() // max(blocks, 1)))
    work = y.size * a.shape[1] // 16
    arrays = numbers, row_step, k_step, panels, start, y.reshape(-1), *y.shape
    _matmul(work, *arrays, block * ROWS, groups, float(slope), parts=blocks * groups)


def start_of(bias: np.ndarray | None, weight: np.ndarray) -> np.ndarray:
    """What sums over the weight's rows start from: the bias, or zeros."""
    return np.zeros(weight.shape[-1], weight.dtype) if bias is None else contiguous(bias)


def panels_of(b: np.ndarray) -> np.ndarray:
    """(K,N) -> (panels, K, width): the columns in groups of a tile's width, the last one filled up with zeros."""
    return panels_of_taps(b[None], np.zeros(1, np.int64))


def panels_of_taps(weight: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """The panels of some of the matrices weight (T,C,N), one below the other: (panels, len(taps) C, width)."""
    _, channels, columns = weight.shape
    width = tile_width(weight.dtype)
    panels = aligned((-(-columns // width), len(taps) * channels, width), weight.dtype)
    turned = weight.swapaxes(-1, -2)
    if turned.flags.carray and not weight.flags.carray:
        numbers, row_step, column_step = turned.reshape(-1), 1, channels
    else:
        numbers, row_step, column_step = contiguous(weight).reshape(-1), columns, 1
    _fill_panels(panels.size, numbers, taps, channels, row_step, column_step, columns, panels)
    return panels


def flat(a: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A matrix as (numbers, row step, column step): a[i,j] = numbers[i row_step + j column_step]."""
    for matrix, flipped in ((a, False), (a.T, True)):
        if matrix.flags.carray:
            steps = (matrix.shape[1], 1)
            return matrix.reshape(-1), *(steps[::-1] if flipped else steps)
    return a.copy(order="C").reshape(-1), a.shape[1], 1


@parallel_kernel
def _fill_panels(part, parts, weight, taps, channels, row_step, column_step, columns, panels):
    _, steps, width = panels.shape
    numbers = panels.reshape(-1)
    for row in range(share(len(panels) * steps, part, parts), share(len(panels) * steps, part + 1, parts)):
        first, k = row // steps * width, row % steps
        at = taps[k // channels] * channels * columns + k % channels * row_step
        if column_step == 1:
            for j in range(0, width, lanes(weight)):
                store(numbers, row * width + j, load_first(weight, at + first + j, columns - first - j))
        else:
            for j in range(width):
                numbers[row * width + j] = weight[at + (first + j) * column_step] if first + j < columns else 0


@parallel_kernel
def _matmul(part, parts, a, row_step, k_step, panels, start, y, rows, columns, block, groups, slope):
    """A part is a block of rows and a group of panels."""
    count, steps, width = panels.shape
    b = panels.reshape(-1)
    first_row, group = part // groups * block, part % groups
    last_row = min(first_row + block, rows)
    piece, piece_row = aligned_empty(block * (K_BLOCK + lanes(b)), b), K_BLOCK + lanes(b)
    y_rows = np.empty(block, np.int64)
    for i in range(block):
        y_rows[i] = min(first_row + i, rows - 1) * columns
    for k in range(0, max(steps, 1), K_BLOCK):
        some = min(K_BLOCK, steps - k)
        for i in range(block):
            copy_row(a, min(first_row + i, rows - 1) * row_step + k * k_step, k_step, some, piece, i * piece_row)
        for p in range(share(count, group, groups), share(count, group + 1, groups)):
            across, at = p * width, (p * steps + k) * width
            for row in range(first_row, last_row, ROWS):
                i = row - first_row
                if k == 0:
                    tile = tile_of_row(start, across, columns - across)
                else:
                    tile = tile_load(y, y_rows, i, across, columns - across)
                tile = sum_products(tile, piece, i * piece_row, piece_row, b, at, some)
                if slope != 1 and k + some >= steps:
                    tile = tile_leaky(tile, slope)
                tile_store(tile, y, y_rows, i, across, columns - across)


@kernel_part()
def copy(x, at, y, to, count):
    """y[to : to + count] = x[at : at + count]."""
    vectors = count // lanes(x) * lanes(x)
    for i in range(0, vectors, lanes(x)):
        store(y, to + i, load(x, at + i))
    if vectors < count:
        store_first(y, to + vectors, load_first(x, at + vectors, count - vectors), count - vectors)


@kernel_part()
def copy_row(a, at, step, count, piece, to):
    """piece[to : to + count] = a[at :: step]. Rows that lie a multiple of some kB apart compete for a few places in the
    cache; those of the copy do not."""
    if step == 1:
        copy(a, at, piece, to, count)
    else:
        for k in range(count):
            piece[to + k] = a[at + k * step]


@kernel_part(inline="always")
def sum_products(tile, a, a_at, stride, b, b_at, steps):
    """tile[i] += sum over k < steps of a[a_at + i stride + k] b[b_at + k width :]."""
    width = tile_columns(b)
    k = 0
    while k + 4 <= steps:
        tile = add_four_products(tile, a, a_at + k, stride, b, b_at + k * width)
        k += 4
    while k < steps:
        tile = add_product(tile, a, a_at + k, stride, b, b_at + k * width)
        k += 1
    return tile
