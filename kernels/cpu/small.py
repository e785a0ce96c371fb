"""Small matrix products, y (M,N) = start + a (M,K) @ b (K,N), in one call: no panels of the whole b are made first.

    small_product     panels of a piece of b are made where they are used, in a thread's cache
    product_of_few    for few rows: no panels at all, which would take as long as the product

With few rows, a row of y is gone through once for every STEPS rows of b, which stay in the first-level cache:

    y[i] = a[i,k] b[k] + y[i],  then  y[i] = a[i,k+1] b[k+1] + y[i],  ...        in registers

Each number of y is summed in the order of k, with one rounding for each, whatever way it is gone: here, in `gemm.py`
and on the register tile. So a row of a product has the same bits, however many others there are.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.gemm import BLOCK, copy, copy_row, flat, sum_products
from kernels.cpu.jit import get_num_threads, kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned_empty
from kernels.cpu.tile import ROWS, tile_columns, tile_load, tile_of_row, tile_store, tile_width
from kernels.cpu.vector import (
    lanes,
    load,
    load_first,
    multiply_add,
    spread,
    store,
    store_first,
    store_transposed,
    whole,
    whole_vectors,
)

PIECE, PANELS = 256, 4  # rows of b, and panels of them, that are made and used at a time
STEPS = 8
STRIP = 2**11  # bytes of a row of y that are gone through at a time


def small_product(a: np.ndarray, b: np.ndarray, start: np.ndarray, y: np.ndarray) -> None:
    """y = start + a @ b for the contiguous y (M,N), and start (N,)."""
    rows, columns = y.shape
    block = min(BLOCK, -(-rows // ROWS)) * ROWS
    blocks, panels = -(-rows // block), -(-columns // tile_width(y.dtype))
    groups = max(1, min(panels, 2 * get_num_threads() // blocks))
    arrays = *flat(a), *flat(b), start, y.reshape(-1)
    _small_product(y.size * a.shape[1] // 16, *arrays, *a.shape, columns, block, groups, parts=blocks * groups)


def product_of_few(a: np.ndarray, b: np.ndarray, start: np.ndarray, y: np.ndarray) -> None:
    """The same, for contiguous b."""
    columns = y.shape[1]
    strips = max(1, -(-y.itemsize * columns // STRIP), min(columns // 64, get_num_threads()))
    arrays = *flat(a), b.reshape(-1), start, y.reshape(-1)
    _product_of_few(y.size * a.shape[1] // 16, *arrays, *a.shape, columns, strips, parts=strips)


# ---- with panels ---------------------------------------------------------------------------------------


@parallel_kernel
def _small_product(
    part, parts, a, row_step, k_step, b, b_step, column_step, start, y, rows, steps, columns, block, groups
):
    """A part is a block of rows and a group of panels."""
    width, depth = tile_columns(b), whole_vectors(b, min(PIECE, steps))
    first_row, group = part // groups * block, part % groups
    count = min(block, rows - first_row)
    all_panels = (columns + width - 1) // width
    first_panel, last_panel = share(all_panels, group, groups), share(all_panels, group + 1, groups)
    piece_row = depth + lanes(b)
    piece = aligned_empty(whole_vectors(b, block) * piece_row, b)
    panels = aligned_empty(min(PANELS, last_panel - first_panel) * depth * width, b)
    y_rows = np.empty(block, np.int64)
    for i in range(block):
        y_rows[i] = min(first_row + i, rows - 1) * columns
    for k in range(0, max(steps, 1), PIECE):
        some = min(PIECE, steps - k)
        copy_rows(a, first_row * row_step + k * k_step, row_step, k_step, count, some, piece, piece_row)
        for first in range(first_panel, last_panel, PANELS):
            last = min(first + PANELS, last_panel)
            at = k * b_step + first * width * column_step
            fill_panels(b, at, b_step, column_step, some, columns - first * width, panels, last - first, depth)
            for p in range(first, last):
                across = p * width
                for i in range(0, count, ROWS):
                    if k == 0:
                        tile = tile_of_row(start, across, columns - across)
                    else:
                        tile = tile_load(y, y_rows, i, across, columns - across)
                    of_panel = (p - first) * depth * width
                    tile = sum_products(tile, piece, i * piece_row, piece_row, panels, of_panel, some)
                    tile_store(tile, y, y_rows, i, across, columns - across)


@kernel_part()
def copy_rows(a, at, row_step, k_step, count, some, piece, piece_row):
    """piece[i piece_row + k] = a[at + i row_step + k k_step]; from i = count on, the last row, up to whole tiles."""
    n = lanes(a)
    if row_step == 1:
        for i in range(0, count, n):
            for k in range(0, some, n):
                here, to = at + i + k * k_step, i * piece_row + k
                store_transposed(a, here, k_step, some - k, count - i, 1, piece, to, piece_row)
    else:
        for i in range(count):
            copy_row(a, at + i * row_step, k_step, some, piece, i * piece_row)
    for i in range(count, whole(count, ROWS)):
        copy(piece, (count - 1) * piece_row, piece, i * piece_row, some)


@kernel_part()
def fill_panels(b, at, b_step, column_step, some, columns, panels, count, depth):
    """`count` panels, each of `depth` rows, of the matrix b[at + k b_step + j column_step] of `some` rows; zeros beyond
    its columns."""
    width, n = tile_columns(b), lanes(b)
    if column_step == 1:
        for k in range(some):
            for j in range(0, count * width, n):
                to = (j // width * depth + k) * width + j % width
                store(panels, to, load_first(b, at + k * b_step + j, columns - j))
    else:
        for j in range(0, count * width, n):
            for k in range(0, some, n):
                here, to = at + k * b_step + j * column_step, (j // width * depth + k) * width + j % width
                store_transposed(b, here, column_step, columns - j, some - k, 1, panels, to, width)


# ---- without -------------------------------------------------------------------------------------------


@parallel_kernel
def _product_of_few(part, parts, a, row_step, k_step, b, start, y, rows, steps, columns, strips):
    """A part is a strip of columns. `sums` are its rows of y, in whole vectors."""
    n = lanes(b)
    vectors = whole_vectors(b, columns) // n
    left, right = share(vectors, part, strips) * n, min(share(vectors, part + 1, strips) * n, columns)
    row = whole_vectors(b, right - left)
    sums = aligned_empty(rows * row, b)
    for i in range(rows):
        for c in range(0, row, n):
            store(sums, i * row + c, load_first(start, left + c, right - left - c))
    in_steps = steps // STEPS * STEPS
    for k in range(0, in_steps, STEPS):
        for i in range(rows):
            at, to = i * row_step + k * k_step, i * row
            add_rows(sums, to, right - left, a, at, k_step, b, k * columns + left, columns)
    for k in range(in_steps, steps):
        for i in range(rows):
            factor = spread(b, a[i * row_step + k * k_step])
            for c in range(0, row, n):
                addend = load_first(b, k * columns + left + c, right - left - c)
                store(sums, i * row + c, multiply_add(factor, addend, load(sums, i * row + c)))
    for i in range(rows):
        for c in range(0, row, n):
            store_first(y, i * columns + left + c, load(sums, i * row + c), right - left - c)


@kernel_part()
def add_rows(sums, to, count, a, at, k_step, b, b_at, b_step):
    """sums[to : to + count] += a[at + k k_step] b[b_at + k b_step :] for the STEPS values of k."""
    n = lanes(b)
    f0, f1, f2, f3 = a[at], a[at + k_step], a[at + 2 * k_step], a[at + 3 * k_step]
    f4, f5, f6, f7 = a[at + 4 * k_step], a[at + 5 * k_step], a[at + 6 * k_step], a[at + 7 * k_step]
    full = count // n * n
    for c in range(0, full, n):
        here = b_at + c
        v = multiply_add(f0, load(b, here), load(sums, to + c))
        v = multiply_add(f1, load(b, here + b_step), v)
        v = multiply_add(f2, load(b, here + 2 * b_step), v)
        v = multiply_add(f3, load(b, here + 3 * b_step), v)
        v = multiply_add(f4, load(b, here + 4 * b_step), v)
        v = multiply_add(f5, load(b, here + 5 * b_step), v)
        v = multiply_add(f6, load(b, here + 6 * b_step), v)
        store(sums, to + c, multiply_add(f7, load(b, here + 7 * b_step), v))
    if full < count:
        v = load(sums, to + full)
        for k in range(STEPS):
            row = load_first(b, b_at + k * b_step + full, count - full)
            v = multiply_add(spread(b, a[at + k * k_step]), row, v)
        store(sums, to + full, v)
