"""Convolution: each tile of the output is summed over the taps in registers (see `tile.py`).

3x3 convolutions between many channels take Winograd's form instead, see `winograd.py`. All others are direct.

A tile is ROWS output positions by as many channels as fit. One tap of the kernel contributes a small matrix product:
the pixels which that tap sees, (ROWS, C), by the weights of the tap, (C, O). The pixels lie apart in memory, at
positions that a table lists; a tap only shifts them all by the same distance, as x has been padded with zeros.

    conv              y  = sum over taps of  pixels(tap) @ weight[tap]
    conv_weight_grad  dw[tap] = pixels(tap)^T @ g
    conv_transpose    one conv for each phase of the stride, with the taps that meet that phase

One, two and three spatial axes are one case: an image is a volume of depth 1, a sequence one of depth and height 1.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numba import prange

from kernels import checks
from kernels.checks import IntOrInts, Ints, Window
from kernels.cpu.gemm import chunks, panels_of, sum_products
from kernels.cpu.jit import old_launch, old_parallel_kernel, plain
from kernels.cpu.tile import ROWS, add_column_product, add_product, row_table, tile_load, tile_store
from kernels.cpu.winograd import winograd

WINOGRAD_CHANNELS = 48  # from so many input and output channels on, Winograd's form of a 3x3 convolution is faster
PIXEL_BLOCK = 256  # positions whose pixels and gradients stay in cache while the weights' gradient is summed


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> np.ndarray:
    """y[n,p,o] = bias[o] + sum_k sum_c x[n, stride p + dilation k - padding, c] weight[k,c,o].

    x (N,*S,C), weight (*K, C/groups, O), bias (O,) -> (N,*So,O).
    """
    window = checks.conv(x, weight, bias, stride, padding, dilation, groups)
    over = over_volume(window)
    y = np.empty((len(x), *over.out, weight.shape[-1]), x.dtype)
    parts = zip(np.split(x, groups, -1), np.split(weight, groups, -1), split_bias(bias, groups))
    for j, (x_j, w_j, b_j) in enumerate(parts):
        channels = slice(j * w_j.shape[-1], (j + 1) * w_j.shape[-1])
        correlate(as_volume(x_j), as_volume_weight(w_j), b_j, over, y[..., channels])
    return y.reshape(len(x), *window.out, weight.shape[-1])


def conv_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> np.ndarray:
    """y[n, stride q + dilation k - padding, o] += x[n,q,c] weight[k,c,o]; then y += bias.

    x (N,*Q,C), weight (*K, C, O/groups), bias (O,) -> (N,*S,O).
    """
    window = checks.conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups)
    over = over_volume(window)
    channels = weight.shape[-1]
    y = np.empty((len(x), *over.out, channels * groups), x.dtype)
    parts = zip(np.split(x, groups, -1), np.split(weight, groups, -2), split_bias(bias, groups))
    for j, (x_j, w_j, b_j) in enumerate(parts):
        by_phases(as_volume(x_j), as_volume_weight(w_j), b_j, over, y[..., j * channels : (j + 1) * channels])
    return y.reshape(len(x), *window.out, channels * groups)


def conv_weight_grad(
    x: np.ndarray,
    g: np.ndarray,
    kernel_size: IntOrInts,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> np.ndarray:
    """dw[k,c,o] = sum_n sum_p x[n, stride p + dilation k - padding, c] g[n,p,o]: (*K, C/groups, O)."""
    window = checks.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups)
    parts = zip(np.split(x, groups, -1), np.split(g, groups, -1))
    dweight = joined([sum_of_products(as_volume(x_j), g_j, over_volume(window)) for x_j, g_j in parts])
    return dweight.reshape(*window.kernel, x.shape[-1] // groups, g.shape[-1])


# ---- the three products over a volume (N,D,H,W,C) -------------------------------------------------------


def correlate(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, y: np.ndarray) -> None:
    """Writes the convolution of x (N,D,H,W,C) with weight (Kd,Kh,Kw,C,O) to y (N,*out,O), a view of any strides whose
    last axis is contiguous."""
    if y.size == 0:
        return
    *_, channels, columns = weight.shape
    first = np.zeros(columns, x.dtype) if bias is None else plain(bias)
    if winograd_pays(window, channels, columns) and y.flags.c_contiguous:
        winograd(x[:, 0], weight[0], first, window.padding[1:], y[:, 0])
        return
    pixels, positions, taps = seen(x, window)
    panels = panels_of(weight.reshape(-1, columns))
    memory, places = memory_of(y)
    tables = row_table(positions), row_table(places)
    work = y.size * len(taps) * channels // 16
    old_launch(_correlate, work, pixels, tables[0], taps, channels, panels, first, memory, tables[1], chunks())


def winograd_pays(window: Window, channels: int, columns: int) -> bool:
    """Whether the 3x3 form applies, and saves more in products than it costs in transforms."""
    applies = window.kernel == (1, 3, 3) and window.stride == window.dilation == (1, 1, 1) and window.out[0] == 1
    return applies and window.padding[0] == 0 and min(channels, columns) >= WINOGRAD_CHANNELS


def sum_of_products(x: np.ndarray, g: np.ndarray, window: Window) -> np.ndarray:
    """(N,D,H,W,C), (N,*out,O) -> (K C, O)"""
    pixels, positions, taps = seen(x, window)
    run = x.shape[-1]  # rows of the result whose numbers are neighbours: a tap's channels,
    if window.dilation[2] == 1:  # or those of a whole row of taps
        run, taps = run * window.kernel[2], taps[:: window.kernel[2]]
    # Tiles of ROWS such rows; the last in a run starts so much earlier that it ends with the run.
    starts = np.minimum(np.arange(0, run, ROWS), max(run - ROWS, 0))
    rows = np.minimum(starts[:, None] + np.arange(ROWS), run - 1)  # (tiles of a run, ROWS)
    in_tiles = np.zeros((len(taps), *rows.shape, g.shape[-1]), x.dtype)
    if len(positions):
        old_launch(
            _sum_of_products,
            in_tiles.size * len(positions) // 16,
            pixels,
            (taps[:, None] + rows.reshape(-1)).reshape(-1),
            run >= ROWS,
            positions,
            panels_of(g.reshape(-1, g.shape[-1])),
            in_tiles.reshape(-1),
            np.arange(in_tiles.size // g.shape[-1]) * g.shape[-1],
            g.shape[-1],
            chunks(),
        )
    tile = np.minimum(np.arange(run) // ROWS, len(starts) - 1)
    return in_tiles[:, tile, np.arange(run) - starts[tile]].reshape(-1, g.shape[-1])


def by_phases(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, y: np.ndarray) -> None:
    """Writes the transposed convolution of x (N,*Q,C) with weight (Kd,Kh,Kw,C,O) to y (N,*out,O).

    Position h = phase + stride j of the output receives, along each axis, x[q] weight[k] from the taps with
    h = stride q + dilation k - padding. So only the taps with dilation k = phase + padding (mod stride) meet
    a phase, at q = j + (phase + padding - dilation k) / stride: taken from the last to the first, they are an
    ordinary convolution of stride 1 over x, and nothing is ever multiplied by the zeros between strides.
    """
    for phase in product(*(range(min(s, out)) for s, out in zip(window.stride, window.out))):
        places = tuple(slice(first, None, s) for first, s in zip(phase, window.stride))
        out = y[:, *places]
        taps, padding, dilation = zip(*(taps_of_phase(*axis) for axis in zip(phase, *window[:4])))
        if all(taps):
            met = plain(weight[np.ix_(*taps)])
            sizes = tuple(map(len, taps))
            correlate(x, met, bias, Window(sizes, (1, 1, 1), padding, dilation, out.shape[1:-1]), out)
        else:
            out[...] = 0 if bias is None else bias


def taps_of_phase(phase: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[list[int], int, int]:
    """Along one axis: the taps that meet a phase, last first, and the padding and dilation they need."""
    taps = [k for k in reversed(range(kernel)) if (phase + padding - dilation * k) % stride == 0]
    first_q = (phase + padding - dilation * taps[0]) // stride if taps else 0
    return taps, -first_q, dilation // math.gcd(dilation, stride)


# ---- where things lie in memory --------------------------------------------------------------------------


def seen(x: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(numbers, positions, taps): the pixel that tap k sees at output position p starts at
    numbers[positions[p] + taps[k]]. The numbers are those of x, padded with zeros as far as the window reaches."""
    n, *sizes, channels = x.shape
    _, stride, padding, dilation, out = window
    reach = [s * (o - 1) + d * (k - 1) + 1 for k, s, d, o in zip(window.kernel, stride, dilation, out)]
    before = [max(p, 0) for p in padding]
    after = [max(r - p - size, 0) for r, p, size in zip(reach, padding, sizes)]
    if any(before) or any(after):
        padded = np.empty((n, *(b + size + a for b, size, a in zip(before, sizes, after)), channels), x.dtype)
        old_launch(_pad, padded.size, x, tuple(before), padded, chunks())
        x, sizes = padded, list(padded.shape[1:-1])
    steps = (sizes[1] * sizes[2] * channels, sizes[2] * channels, channels)
    start = sum(max(-p, 0) * step for p, step in zip(padding, steps))
    moves = [s * step for s, step in zip(stride, steps)]
    taps = grid(window.kernel, [d * step for d, step in zip(dilation, steps)])
    return x.reshape(-1), start + grid((n, *out), [sizes[0] * steps[0], *moves]), taps


def grid(sizes: Ints, steps: Ints | list[int]) -> np.ndarray:
    """i steps[0] + j steps[1] + ... for all indices (i, j, ...) below `sizes`, in their order; flat, int64."""
    total = np.zeros(1, np.int64)
    for size, step in zip(sizes, steps):
        total = (total[:, None] + np.arange(size) * step).reshape(-1)
    return total


def memory_of(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flat memory behind a view (N,D,H,W,O) of a contiguous array, and where each of its positions starts in it."""
    whole = y if y.base is None else y.base
    while whole.base is not None:
        whole = whole.base
    start = (y.ctypes.data - whole.ctypes.data) // y.itemsize
    return whole.reshape(-1), start + grid(y.shape[:-1], [step // y.itemsize for step in y.strides[:-1]])


@old_parallel_kernel()
def _pad(x, before, padded, chunks):
    """padded = zeros, with x in it from `before` on."""
    n, depth, height, width, channels = x.shape
    _, padded_depth, padded_height, _, _ = padded.shape
    rows = n * padded_depth * padded_height
    for chunk in prange(chunks):
        for row in range(rows * chunk // chunks, rows * (chunk + 1) // chunks):
            i, rest = divmod(row, padded_depth * padded_height)
            d, h = divmod(rest, padded_height)
            there = padded[i, d, h].reshape(-1)
            d, h = d - before[0], h - before[1]
            if 0 <= d < depth and 0 <= h < height:
                first = before[2] * channels
                there[:first] = 0
                there[first : first + width * channels] = x[i, d, h].reshape(-1)
                there[first + width * channels :] = 0
            else:
                there[:] = 0


# ---- the loops -------------------------------------------------------------------------------------------


@old_parallel_kernel()
def _correlate(pixels, positions, taps, channels, panels, bias, y, places, chunks):
    """A task is one tile of y; neighbouring tasks share their pixels."""
    count, steps, width = panels.shape
    tasks = len(positions) // ROWS * count
    weights, columns = panels.reshape(-1), len(bias)
    same_row = np.zeros(ROWS, np.int64)
    for chunk in prange(chunks):
        for task in range(tasks * chunk // chunks, tasks * (chunk + 1) // chunks):
            first, p = task // count * ROWS, task % count
            across, at = p * width, p * steps * width
            tile = tile_load(bias, same_row, 0, across, columns - across)
            for t in range(len(taps)):
                tile = sum_products(tile, pixels, positions, first, taps[t], 1, weights, at, channels)
                at += channels * width
            tile_store(tile, y, places, first, across, columns - across)


@old_parallel_kernel()
def _sum_of_products(pixels, rows, neighbours, positions, panels, dweight, row_starts, columns, chunks):
    """dweight[row, o] += sum over positions of pixels[rows[row] + position] g[position, o].

    A task is one tile of dweight. Each thread goes through the positions block by block with all its tasks.
    """
    count, steps, width = panels.shape
    tasks = len(rows) // ROWS * count
    g = panels.reshape(-1)
    for chunk in prange(chunks):
        for block in range(0, steps, PIXEL_BLOCK):
            end = min(block + PIXEL_BLOCK, steps)
            for task in range(tasks * chunk // chunks, tasks * (chunk + 1) // chunks):
                first, p = task // count * ROWS, task % count
                across = p * width
                tile = tile_load(dweight, row_starts, first, across, columns - across)
                if neighbours:
                    for k in range(block, end):
                        at = (p * steps + k) * width
                        tile = add_column_product(tile, pixels, rows, first, rows[first] + positions[k], g, at)
                else:
                    for k in range(block, end):
                        tile = add_product(tile, pixels, rows, first, positions[k], g, (p * steps + k) * width)
                tile_store(tile, dweight, row_starts, first, across, columns - across)


# ---- one to three axes, as three -----------------------------------------------------------------------


def as_volume(x: np.ndarray) -> np.ndarray:
    """(N,*S,C) -> (N,D,H,W,C), with size 1 for the axes that x lacks"""
    return plain(x).reshape(len(x), *(1,) * (5 - x.ndim), *x.shape[1:])


def as_volume_weight(weight: np.ndarray) -> np.ndarray:
    return plain(weight).reshape(*(1,) * (5 - weight.ndim), *weight.shape)


def over_volume(window: Window) -> Window:
    def three(values: Ints, fill: int) -> Ints:
        return (fill,) * (3 - len(values)) + values

    return Window(
        kernel=three(window.kernel, 1),
        stride=three(window.stride, 1),
        padding=three(window.padding, 0),
        dilation=three(window.dilation, 1),
        out=three(window.out, 1),
    )


def joined(groups: list[np.ndarray]) -> np.ndarray:
    return groups[0] if len(groups) == 1 else np.concatenate(groups, -1)


def split_bias(bias: np.ndarray | None, groups: int) -> list:
    return [None] * groups if bias is None else np.split(bias, groups)
