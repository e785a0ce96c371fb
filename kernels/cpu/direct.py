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
from kernels.cpu.gemm import BLOCK, K_BLOCK, copy, sum_products
from kernels.cpu.jit import get_num_threads, kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned_empty
from kernels.cpu.tile import ROWS, add_product, tile_columns, tile_leaky, tile_load, tile_of_row, tile_store, tile_width
from kernels.cpu.vector import lanes, load_first, prefetch, spread, store, store_first

POSITIONS = 192  # whose pixels and gradients go through a register tile at a time
ENOUGH_ROWS = 4 * ROWS  # of the weight's gradient, for a thread to sum at a time
SEGMENTS = 16  # of the positions at most, where the weight's gradient is small


def convolve(
    x: np.ndarray, panels: np.ndarray, start: np.ndarray, window: Window, y: np.ndarray, slope: float = 1.0
) -> None:
    """Writes the convolution of x (N,D,H,W,C), contiguous, plus start (O,) to y (N,*out,O): a view of any strides,
    whose last axis is contiguous, of a contiguous array. The panels are those of the kernel's taps, in their order.
    Negative results are multiplied by slope."""
    memory, first, steps = memory_of(y)
    tiles = -(-y.size // (len(start) * ROWS))
    block = max(1, min(BLOCK, tiles // (2 * get_num_threads())))
    blocks = -(-tiles // block)
    groups = min(len(panels), -(-4 * get_num_threads() // blocks))
    work, arrays = y.size * panels.shape[1] // 16, (x, geometry(window), panels, start, memory, first, steps)
    _convolve(work, *arrays, block * ROWS, groups, float(slope), parts=blocks * groups)


def weight_grad(x: np.ndarray, g: np.ndarray, window: Window) -> np.ndarray:
    """x (N,D,H,W,C) and g (N,*out,O), contiguous -> (Kd,Kh,Kw,C,O)."""
    channels, columns = x.shape[-1], g.shape[-1]
    shape = geometry(window)
    positions, runs = g.size // columns, int(shape[0].prod())
    run = int(shape[5, 2]) * channels
    some = min(max(ENOUGH_ROWS // run, 1), runs)  # runs whose rows of the result are summed together
    groups, panels = -(-runs // some), -(-columns // tile_width(x.dtype))
    # A part is a group of runs, a group of panels, and a segment of the positions. The number of segments does not
    # depend on that of the threads, for then the order of the sums would, and so the last digits of the result.
    segments = max(1, min(SEGMENTS // (groups * panels), positions // (4 * POSITIONS)))
    strips = min(panels, -(-2 * get_num_threads() // (groups * segments)))
    size = runs * run * columns
    sums = np.empty((segments, size + groups * columns), x.dtype)  # at the end, a row for what lies beyond each group's
    _weight_grad(
        size * positions // 16, x, shape, g.reshape(-1), columns, some, strips, sums, parts=groups * strips * segments
    )
    total = sums[0, :size] if segments == 1 else sums[:, :size].sum(0)
    return total.reshape(*window.kernel, channels, columns)


def geometry(window: Window) -> np.ndarray:
    """The window as a table of (D, H, W), int64: runs of taps, stride, padding, dilation, out, and taps in a run."""
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
def find_positions(first, count, shape, places):
    """places[i] = (n, d, h, w): the sample and the place of the output positions first, ..., first + count - 1."""
    out_d, out_h, out_w = shape[4, 0], shape[4, 1], shape[4, 2]
    rest, w = first // out_w, first % out_w
    rest, h = rest // out_h, rest % out_h
    n, d = rest // out_d, rest % out_d
    for i in range(count):
        places[i, 0], places[i, 1], places[i, 2], places[i, 3] = n, d, h, w
        w += 1
        if w == out_w:
            w, h = 0, h + 1
            if h == out_h:
                h, d = 0, d + 1
                if d == out_d:
                    d, n = 0, n + 1


@kernel_part()
def copy_run(x, shape, run, places, count, piece, to, row_step):
    """piece[to + i row_step :] = the pixels that run number `run` sees from place i, zeros beyond the edges."""
    _, depth, height, width, channels = x.shape
    numbers, taps, out_w, stride = x.reshape(-1), shape[5, 2], shape[4, 2], shape[1, 2]
    first_d = run // (shape[0, 1] * shape[0, 2]) * shape[3, 0] - shape[2, 0]
    first_h = run // shape[0, 2] % shape[0, 1] * shape[3, 1] - shape[2, 1]
    first_w = run % shape[0, 2] * shape[3, 2] - shape[2, 2]
    i = 0
    while i < count:
        d, h = places[i, 1] * shape[1, 0] + first_d, places[i, 2] * shape[1, 1] + first_h
        w = places[i, 3] * stride + first_w
        here = (((places[i, 0] * depth + d) * height + h) * width + w) * channels
        inside = 0 <= d < depth and 0 <= h < height
        if inside and 0 <= w <= width - taps:  # and so are the next ones along the row
            end = min(i + 1 + (width - taps - w) // stride, i + out_w - places[i, 3], count)
            while i < end:
                copy(numbers, here, piece, to + i * row_step, taps * channels)
                here += stride * channels
                i += 1
        else:
            before = min(max(-w, 0), taps)
            after = max(min(width - w, taps), before) if inside else before
            there = to + i * row_step
            fill(piece, there, before * channels)
            copy(numbers, here + before * channels, piece, there + before * channels, (after - before) * channels)
            fill(piece, there + after * channels, (taps - after) * channels)
            i += 1


@kernel_part()
def fill(y, to, count):
    """Zeros."""
    for i in range(0, count, lanes(y)):
        store_first(y, to + i, spread(y, 0), count - i)


# ---- the products ----------------------------------------------------------------------------------------


@parallel_kernel
def _convolve(part, parts, x, shape, panels, start, y, y_first, y_steps, block, groups, slope):
    """A part is a block of positions and a group of panels."""
    count, steps, width = panels.shape
    weights, columns = panels.reshape(-1), len(start)
    first, group = part // groups * block, part % groups
    positions = min(block, x.shape[0] * shape[4, 0] * shape[4, 1] * shape[4, 2] - first)
    places, y_rows = np.empty((block, 4), np.int64), np.empty(block, np.int64)
    find_positions(first, positions, shape, places)
    run = shape[5, 2] * x.shape[4]
    runs = shape[0, 0] * shape[0, 1] * shape[0, 2]
    some = min(max(K_BLOCK // run, 1), runs)  # runs in a piece
    row_step = some * run + lanes(x)
    piece = aligned_empty(block * row_step, x)
    for i in range(block):  # beyond the last position, the last one is computed again
        j = min(i, positions - 1)
        y_rows[i] = y_first + places[j, 0] * y_steps[0] + places[j, 1] * y_steps[1]
        y_rows[i] += places[j, 2] * y_steps[2] + places[j, 3] * y_steps[3]
    for r in range(0, runs, some):
        last = min(r + some, runs)
        for j in range(r, last):
            copy_run(x, shape, j, places, positions, piece, (j - r) * run, row_step)
        for i in range(positions, min(block, (positions + ROWS - 1) // ROWS * ROWS)):
            copy(piece, (positions - 1) * row_step, piece, i * row_step, (last - r) * run)
        for p in range(share(count, group, groups), share(count, group + 1, groups)):
            across, at = p * width, (p * steps + r * run) * width
            for i in range(0, positions, ROWS):
                if r == 0:
                    tile = tile_of_row(start, across, columns - across)
                    for j in range(i, i + ROWS):  # where the tile will be stored
                        prefetch(y, y_rows[j] + across)
                        prefetch(y, y_rows[j] + across + lanes(y))
                else:
                    tile = tile_load(y, y_rows, i, across, columns - across)
                tile = sum_products(tile, piece, i * row_step, row_step, weights, at, (last - r) * run)
                if slope != 1 and last == runs:
                    tile = tile_leaky(tile, slope)
                tile_store(tile, y, y_rows, i, across, columns - across)


@parallel_kernel
def _weight_grad(part, parts, x, shape, g, columns, some, strips, sums):
    """A part is some runs of taps, some panels, and a segment of the positions, which it goes through block by block:
    sums[segment, rows, panels] += piece^T @ g."""
    width, run = tile_columns(x), shape[5, 2] * x.shape[4]
    runs = shape[0, 0] * shape[0, 1] * shape[0, 2]
    panels, segments, size = (columns + width - 1) // width, sums.shape[0], sums.shape[1]
    groups = parts // segments // strips
    group, strip, segment = part // segments // strips, part // segments % strips, part % segments
    first_panel, last_panel = share(panels, strip, strips), share(panels, strip + 1, strips)
    first_run, last_run = group * some, min(group * some + some, runs)
    rows, first_row = (last_run - first_run) * run, segment * size + first_run * run * columns
    beyond = (segment + 1) * size - (groups - group) * columns
    row_step = (rows + ROWS + lanes(x)) // lanes(x) * lanes(x)  # the last tile reads beyond the rows
    piece, right = aligned_empty(POSITIONS * row_step, x), aligned_empty(POSITIONS * width, x)
    piece[:] = 0
    places, table = np.empty((POSITIONS, 4), np.int64), np.empty(ROWS, np.int64)
    total = sums.reshape(-1)
    positions = x.shape[0] * shape[4, 0] * shape[4, 1] * shape[4, 2]
    start, end = share(positions, segment, segments), share(positions, segment + 1, segments)
    for first in range(start, end, POSITIONS):
        count = min(POSITIONS, end - first)
        find_positions(first, count, shape, places)
        for j in range(first_run, last_run):
            copy_run(x, shape, j, places, count, piece, (j - first_run) * run, row_step)
        for p in range(first_panel, last_panel):
            across = p * width
            for i in range(count):
                for j in range(0, width, lanes(x)):
                    at = (first + i) * columns + across + j
                    store(right, i * width + j, load_first(g, at, columns - across - j))
            for row in range(0, rows, ROWS):
                for i in range(ROWS):
                    table[i] = first_row + (row + i) * columns if row + i < rows else beyond
                tile = tile_load(total, table, 0, across, columns - across if first > start else 0)
                for i in range(count):
                    tile = add_product(tile, piece, i * row_step + row, 1, right, i * width)
                tile_store(tile, total, table, 0, across, columns - across)
