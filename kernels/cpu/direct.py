"""Direct convolution over a volume (N,D,H,W,C), of any kernel, stride, padding and dilation: a matrix product.

    y (positions, O) = pixels (positions, taps C) @ weight (taps C, O)

Row p of `pixels` holds what the kernel sees at output position p. Written out, that matrix is as many times larger than
x as the kernel has taps (im2col). Here only a piece of it ever exists: the rows of a block of positions, for some of
the kernel's rows. It is copied together in a thread's cache, with zeros for what lies beyond the edges, and meets all
of the weight's panels there. Copying a number costs 1/16 of an instruction, and saves none of its products from running
at full speed.

    forwards           y[block] += piece @ weight[some rows]                        (_convolve)
    weight's gradient  dweight[some rows] += piece^T @ g[block]                     (_weight_grad)

The kernel's taps along W see neighbouring pixels unless dilated, so that they are copied together, as one *run*.
"""

from __future__ import annotations

import numpy as np

from kernels.checks import Window
from kernels.cpu.gemm import BLOCK, K_BLOCK, panels_of, start_of, sum_products
from kernels.cpu.jit import get_num_threads, kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned_empty
from kernels.cpu.tile import ROWS, VECTORS, add_column_product, tile_load, tile_store, tile_width
from kernels.cpu.vector import lanes, load_first, spread, store_first

POSITIONS = 128  # whose pixels and gradients go through a register tile at a time


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, y: np.ndarray) -> None:
    """Writes the convolution of x (N,D,H,W,C) with weight (Kd,Kh,Kw,C,O), contiguous both, plus bias (O,), to
    y (N,*out,O): a view of any strides, whose last axis is contiguous, of a contiguous array."""
    *_, channels, columns = weight.shape
    memory, first, steps = memory_of(y)
    panels = panels_of(weight.reshape(-1, columns))
    tiles = -(-len(x) * np.prod(window.out) // ROWS)
    block = int(max(1, min(BLOCK, tiles // (2 * get_num_threads()))))
    blocks = int(-(-tiles // block))
    groups = min(len(panels), -(-4 * get_num_threads() // blocks))
    _convolve(
        y.size * len(weight.reshape(-1, columns)) // 16, x, geometry(window), panels, start_of(bias, weight), memory,
        first, steps, columns, block * ROWS, groups, parts=blocks * groups,
    )  # fmt: skip


def weight_grad(x: np.ndarray, g: np.ndarray, window: Window) -> np.ndarray:
    """x (N,D,H,W,C) and g (N,*out,O), contiguous -> (Kd,Kh,Kw,C,O)."""
    channels, columns = x.shape[-1], g.shape[-1]
    rows = g.reshape(-1, columns)
    width = tile_width(x.dtype)
    if columns % width == 0:
        numbers, panel_step, step = rows.reshape(-1), width, columns
    else:
        panels = panels_of(rows)
        numbers, panel_step, step = panels.reshape(-1), panels.shape[1] * width, width
    shape = geometry(window)
    runs = int(shape[0, 0] * shape[0, 1] * shape[0, 2])
    groups = min(-(-columns // width), -(-3 * get_num_threads() // runs))
    size = int(np.prod(window.kernel)) * channels * columns
    sums = np.zeros(size + runs * groups * columns, x.dtype)  # behind the result, a row for each part to spoil
    _weight_grad(
        size * len(rows) // 16, x, shape, numbers, panel_step, step, sums, size, columns, groups, parts=runs * groups
    )
    return sums[:size].reshape(*window.kernel, channels, columns)


def geometry(window: Window) -> np.ndarray:
    """The window as a table of (D, H, W), int64: runs of taps, stride, padding, dilation, out, and taps in a run (in W)."""
    kernel, run = list(window.kernel), 1
    if window.dilation[2] == 1:
        kernel[2], run = 1, kernel[2]
    return np.array([kernel, window.stride, window.padding, window.dilation, window.out, (1, 1, run)])


def memory_of(y: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """The flat memory behind a view (N,D,H,W,O) of a contiguous array, where it starts there, and its four steps."""
    whole = y if y.base is None else y.base
    while whole.base is not None:
        whole = whole.base
    start = (y.ctypes.data - whole.ctypes.data) // y.itemsize
    return whole.reshape(-1), start, np.array(y.strides[:-1]) // y.itemsize


# ---- pieces of the matrix of pixels ----------------------------------------------------------------------


@kernel_part()
def find_positions(first, count, last, shape, origins):
    """origins[i] = (n, d, h, w): the sample, and where the kernel's first tap is, for the output positions first, ...,
    first + count - 1; those from `last` on repeat the one before it."""
    out_d, out_h, out_w = shape[4]
    for i in range(count):
        rest = min(first + i, last - 1)
        rest, w = rest // out_w, rest % out_w
        rest, h = rest // out_h, rest % out_h
        origins[i, 0], d = rest // out_d, rest % out_d
        origins[i, 1] = d * shape[1, 0] - shape[2, 0]
        origins[i, 2] = h * shape[1, 1] - shape[2, 1]
        origins[i, 3] = w * shape[1, 2] - shape[2, 2]


@kernel_part()
def copy_run(x, numbers, shape, n, d, h, w, run, piece, to):
    """piece[to :] = the pixels that run number `run` sees from the origin (n, d, h, w), zeros beyond the edges."""
    _, depth, height, width, channels = x.shape
    taps = shape[5, 2]
    d += run // (shape[0, 1] * shape[0, 2]) * shape[3, 0]
    h += run // shape[0, 2] % shape[0, 1] * shape[3, 1]
    w += run % shape[0, 2] * shape[3, 2]
    before = min(max(-w, 0), taps)
    after = max(min(width - w, taps), before) if 0 <= d < depth and 0 <= h < height else before
    fill(piece, to, before * channels)
    copy(numbers, (((n * depth + d) * height + h) * width + w + before) * channels, piece, to + before * channels, (after - before) * channels)
    fill(piece, to + after * channels, (taps - after) * channels)


@kernel_part()
def copy(x, at, y, to, count):
    for i in range(0, count, lanes(x)):
        store_first(y, to + i, load_first(x, at + i, count - i), count - i)


@kernel_part()
def fill(y, to, count):
    """Zeros."""
    for i in range(0, count, lanes(y)):
        store_first(y, to + i, spread(y, 0), count - i)


# ---- the products ----------------------------------------------------------------------------------------


@parallel_kernel
def _convolve(part, parts, x, shape, panels, start, y, y_first, y_steps, columns, block, groups):
    """A part is a block of positions and a group of panels."""
    count, steps, width = panels.shape
    weights, numbers, same = panels.reshape(-1), x.reshape(-1), np.zeros(ROWS, np.int64)
    out_d, out_h, out_w = shape[4]
    positions = x.shape[0] * out_d * out_h * out_w
    first, group = part // groups * block, part % groups
    origins, y_rows = np.empty((block, 4), np.int64), np.empty(block, np.int64)
    find_positions(first, block, positions, shape, origins)
    for i in range(block):
        d, h, w = (origins[i, 1:] + shape[2]) // shape[1]
        y_rows[i] = y_first + origins[i, 0] * y_steps[0] + d * y_steps[1] + h * y_steps[2] + w * y_steps[3]
    run = shape[5, 2] * x.shape[4]
    runs = shape[0, 0] * shape[0, 1] * shape[0, 2]
    some = max(K_BLOCK // run, 1)  # runs in a piece
    row_step = some * run + lanes(x)
    piece, rows = aligned_empty(block * row_step, x), np.arange(block) * row_step
    for r in range(0, runs, some):
        last = min(r + some, runs)
        for i in range(block):
            n, d, h, w = origins[i]
            for j in range(r, last):
                copy_run(x, numbers, shape, n, d, h, w, j, piece, rows[i] + (j - r) * run)
        for p in range(share(count, group, groups), share(count, group + 1, groups)):
            across, at = p * width, (p * steps + r * run) * width
            for i in range(0, min(block, positions - first), ROWS):
                if r == 0:
                    tile = tile_load(start, same, 0, across, columns - across)
                else:
                    tile = tile_load(y, y_rows, i, across, columns - across)
                tile = sum_products(tile, piece, rows, i, 0, 1, weights, at, (last - r) * run)
                tile_store(tile, y, y_rows, i, across, columns - across)


@parallel_kernel
def _weight_grad(part, parts, x, shape, g, panel_step, g_step, sums, size, columns, groups):
    """A part is a run of taps and a group of panels; it goes through all positions, block by block.

    Numbers of the panel p of g at position k start at g[p panel_step + k g_step].
    """
    numbers, width = x.reshape(-1), VECTORS * lanes(x)
    positions = x.shape[0] * shape[4, 0] * shape[4, 1] * shape[4, 2]
    run, group = part // groups, part % groups
    panels = (columns + width - 1) // width
    rows = shape[5, 2] * x.shape[4]
    row_step = (rows + ROWS + lanes(x)) // lanes(x) * lanes(x)  # the last tile reads beyond the run
    piece = aligned_empty(POSITIONS * row_step, x)
    piece[:] = 0
    origins, table, same = np.empty((POSITIONS, 4), np.int64), np.empty(ROWS, np.int64), np.zeros(ROWS, np.int64)
    for first in range(0, positions, POSITIONS):
        count = min(POSITIONS, positions - first)
        find_positions(first, count, positions, shape, origins)
        for i in range(count):
            n, d, h, w = origins[i]
            copy_run(x, numbers, shape, n, d, h, w, run, piece, i * row_step)
        for p in range(share(panels, group, groups), share(panels, group + 1, groups)):
            across = p * width
            for row in range(0, rows, ROWS):
                for i in range(ROWS):
                    table[i] = (run * rows + row + i) * columns if row + i < rows else size + part * columns
                tile = tile_load(sums, table, 0, across, columns - across)
                for i in range(count):
                    at = p * panel_step + (first + i) * g_step
                    tile = add_column_product(tile, piece, same, 0, i * row_step + row, g, at)
                tile_store(tile, sums, table, 0, across, columns - across)
