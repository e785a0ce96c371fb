"""3x3 convolution with 4 times fewer multiplications: Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308).

An output tile of 4x4 pixels depends on 6x6 input pixels d and the 3x3 taps w. With three constant matrices,

    y = A^T [ (G w G^T) * (B^T d B) ] A          (* element by element: 36 products instead of 4 4 3 3 = 144)

For channels, each of the 36 products becomes a matrix product, (tiles, C) @ (C, O). A thread takes a block of tiles
from the input to the output while everything stays in its cache:

    x --B--> v (36, tiles, C) --@ u (36, C, O)--> m (36, tiles, O) --A--> y

A kernel that is Kd planes deep is a sum of Kd of these, which is one over Kd C channels: v holds, side by side, what
the planes that an output tile sees become.

y is linear in w, so the gradient of w takes the transposes of the same matrices, in the opposite order, with the
tiles as what is summed over: for the 4x4 pixels g of the gradient of y,

    dw = G^T [ sum over tiles of (B^T d B) * (A g A^T) ] G            (36, C, tiles) @ (36, tiles, O)

The matrices come from multiplying polynomials by their values at some points. The paper's points 0, +-1, +-2 and
infinity bring weights up to 8 and a float32 error of 1e-5 of the largest output. With 0, +-sqrt(1/2), +-sqrt(2) and
infinity no weight is larger than 2.9, and the error 2e-6 (7e-6 for the gradient of w over 32,000 pixels); direct
convolution has 1e-6.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from kernels.cpu.gemm import sum_products
from kernels.cpu.jit import get_num_threads, kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned, aligned_empty, contiguous, odd_lines
from kernels.cpu.tile import ROWS, add_product, tile_columns, tile_load_even, tile_store_even, tile_width, tile_zeros
from kernels.cpu.vector import choose, lanes, load, load_first, prefetch, store, store_first, whole, whole_vectors

BLOCK = 2 * ROWS  # tiles that a thread takes through all stages together
TASKS = 4  # for each thread at least: with fewer, one waits for another
SUM_BYTES = 6 * 2**20  # of transformed tiles that wait for their products, for the gradient of w
SUM_BLOCK = 128  # of them, that go through a register tile at a time


# ---- forwards ------------------------------------------------------------------------------------------


def winograd(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: tuple[int, ...], y: np.ndarray, slope: float = 1.0,
    turned: bool = False,
) -> None:  # fmt: skip
    """Writes the convolution of x (N,D,H,W,C) with weight (Kd,3,3,C,O), plus bias (O,), to y (N,D',H',W',O); times
    slope where negative.

    x, bias and y contiguous. `turned`: with weight[::-1, ::-1, ::-1], as the gradient of a convolution's input needs
    it.
    """
    deep, columns = len(weight), weight.shape[-1]
    planes = deep, padding[0], x.shape[1], y.shape[1]
    side_by_side = contiguous((weight[::-1] if turned else weight).transpose(1, 2, 0, 3, 4))  # (3,3,Kd,C,O)
    channels, width = deep * x.shape[-1], tile_width(x.dtype)
    panels = -(-columns // width)
    u = aligned((36, odd_lines(panels * channels * width, x.itemsize)), x.dtype)
    _transform_weight(4 * u.size, side_by_side.reshape(-1), channels, columns, turned, u)
    x, y = as_images(x), as_images(y)
    tiles = len(y) * -(-y.shape[1] // 4) * -(-y.shape[2] // 4)
    blocks = -(-tiles // BLOCK)
    # A part is a block of tiles and a group of panels: more than one group if there are few blocks.
    groups = min(panels, -(-TASKS * get_num_threads() // max(blocks, 1)))
    work, corner = y.size * channels // 8, padding[1:]
    _winograd(work, x, planes, u, bias, *corner, groups, x.dtype.type(slope), y, parts=blocks * groups)


def as_images(x: np.ndarray) -> np.ndarray:
    """(N,D,H,W,C) -> (N D,H,W,C)"""
    return x.reshape(-1, *x.shape[2:])


@parallel_kernel
def _transform_weight(part, parts, weight, channels, columns, turned, u):
    """u = G w G^T: (3,3,C,O), flat -> (36, panels C width)."""
    flat, n, plane, width = u.reshape(-1), lanes(u), u.shape[1], tile_columns(u)
    half = aligned_empty(18 * n, u)
    rows = (columns + width - 1) // width * channels
    for row in range(share(rows, part, parts), share(rows, part + 1, parts)):
        first, c = row // channels * width, row % channels
        for o in range(0, width, n):
            left = columns - first - o
            for j in range(3):
                # the taps (0, j), (1, j), (2, j), or when turned (2, 2 - j), (1, 2 - j), (0, 2 - j)
                at = ((8 - j if turned else j) * channels + c) * columns + first + o
                step = (-3 if turned else 3) * channels * columns
                w0, w1 = load_first(weight, at, left), load_first(weight, at + step, left)
                store_six(half, j * n, 3 * n, times_g(w0, w1, load_first(weight, at + 2 * step, left)))
            for a in range(6):
                at = 3 * a * n
                g = times_g(load(half, at), load(half, at + n), load(half, at + 2 * n))
                store_six(flat, 6 * a * plane + row * width + o, plane, g)


@parallel_kernel
def _winograd(part, parts, x, planes, u, bias, top, left, groups, slope, y):
    samples, height, width, columns = y.shape
    channels, panel_width, u_plane = planes[0] * x.shape[3], tile_columns(x), u.shape[1]
    panels = (columns + panel_width - 1) // panel_width
    down, across = (height + 3) // 4, (width + 3) // 4
    first, group = part // groups * BLOCK, part % groups
    count = min(BLOCK, samples * down * across - first)
    first_panel, last_panel = share(panels, group, groups), share(panels, group + 1, groups)
    v_row, m_row = length_of_planes(x, planes), (last_panel - first_panel) * panel_width
    v_plane, m_plane = whole_vectors(x, BLOCK * v_row) + lanes(x), whole_vectors(x, BLOCK * m_row) + lanes(x)
    v, m, weights = aligned_empty(36 * v_plane, x), aligned_empty(36 * m_plane, x), u.reshape(-1)
    patch, half = aligned_empty(36 * max(v_row, panel_width), x), aligned_empty(36 * lanes(x), x)
    for t in range(count):
        i, h, w = place(first + t, down, across)
        transform_planes(x, planes, i, h - top, w - left, patch, half, v, t * v_row, v_plane)
    for k in range(36):
        for p in range(first_panel, last_panel):
            for row in range(0, count, ROWS):
                at, to = k * u_plane + p * channels * panel_width, k * m_plane + (p - first_panel) * panel_width
                tile = sum_products(tile_zeros(x), v, k * v_plane + row * v_row, v_row, weights, at, channels)
                tile_store_even(tile, m, to + row * m_row, m_row)
    for t in range(count):
        i, h, w = place(first + t, down, across)
        for p in range(first_panel, last_panel):
            at = t * m_row + (p - first_panel) * panel_width
            transform_output(m, at, m_plane, half, bias, slope, p * panel_width, panel_width, patch, y, i, h, w)


@kernel_part()
def leaky(v, slope):
    return choose(v < 0, v * slope, v)


@kernel_part()
def place(tile, down, across):
    """The sample, row and column at which an output tile starts."""
    i, rest = tile // (down * across), tile % (down * across)
    return i, rest // across * 4, rest % across * 4


@register_jitable
def length_of_planes(x, planes):
    """Of a row of v: Kd C numbers, to which the last C are written as whole vectors."""
    return whole_vectors(x, (planes[0] - 1) * x.shape[3] + whole_vectors(x, x.shape[3]))


@kernel_part()
def transform_planes(x, planes, i, top, left, patch, half, v, at, step):
    """For an output image i, all the planes that it sees, one after the other: the zeros that fill up the vectors of
    one are overwritten by the next one. planes = (Kd, padding, D, D')."""
    deep, padding, depth, out_depth = planes
    for k in range(deep):
        d = i % out_depth - padding + k
        row = top if 0 <= d < depth else -6  # beyond the edges
        transform_input(x, i // out_depth * depth + d, row, left, patch, half, v, at + k * x.shape[3], step)


@kernel_part()
def transform_input(x, i, top, left, patch, half, v, at, step):
    """v[at + k step :] = B^T d B for the 36 values of k; d = x[i, top : top + 6, left : left + 6], zeros beyond the
    edges. All channels, and zeros up to whole vectors."""
    _, height, width, channels = x.shape
    n, rows = lanes(x), whole_vectors(x, channels)
    if 0 <= top <= height - 6 and 0 <= left <= width - 6 and rows == channels:
        pixels, start, down, across = (
            x.reshape(-1),
            ((i * height + top) * width + left) * channels,
            width * channels,
            channels,
        )
    else:
        copy_patch(x, i, top, left, 6, rows, patch)
        pixels, start, down, across = patch, 0, 6 * rows, rows
    for c in range(0, rows, n):
        for b in range(6):
            here = start + b * across + c
            prefetch_six(pixels, here + 4 * across, down)  # of the next tile
            store_six(half, b * n, 6 * n, times_b(*load_six(pixels, here, down)))
        for a in range(6):
            store_six(v, at + 6 * a * step + c, step, times_b(*load_six(half, 6 * a * n, n)))


@kernel_part()
def copy_patch(x, i, top, left, size, count, patch):
    """patch (size, size, count), flat, = x[i, top : top + size, left : left + size], with zeros beyond the edges
    and the channels; count is a number of whole vectors."""
    _, height, width, channels = x.shape
    flat, n = x.reshape(-1), lanes(x)
    for a in range(size):
        for b in range(size):
            inside = 0 <= top + a < height and 0 <= left + b < width
            here = ((i * height + top + a) * width + left + b) * channels
            for c in range(0, count, n):
                store(patch, (a * size + b) * count + c, load_first(flat, here + c, channels - c if inside else 0))


@kernel_part()
def transform_output(m, at, step, half, bias, slope, first, panel_width, patch, y, i, h, w):
    """y[i, h : h + 4, w : w + 4, first : first + panel_width] = leaky(A^T m A + bias), as far as y reaches."""
    _, height, width, columns = y.shape
    flat, n = y.reshape(-1), lanes(y)
    whole = h + 4 <= height and w + 4 <= width and first + panel_width <= columns
    if whole:
        pixels, start, down, across = flat, ((i * height + h) * width + w) * columns + first, width * columns, columns
    else:
        pixels, start, down, across = patch, 0, 4 * panel_width, panel_width
    for o in range(0, panel_width, n):
        for b in range(6):
            store_four(half, b * n, 6 * n, times_a(*load_six(m, at + b * step + o, 6 * step)))
        shift = load_first(bias, first + o, columns - first - o)
        for a in range(4):
            here = start + a * down + o
            prefetch_four(pixels, here + 4 * across, across)  # of the next tile
            r = times_a(*load_six(half, 6 * a * n, n))
            s = (
                leaky(r[0] + shift, slope),
                leaky(r[1] + shift, slope),
                leaky(r[2] + shift, slope),
                leaky(r[3] + shift, slope),
            )
            store_four(pixels, here, across, s)
    if not whole:
        for a in range(min(4, height - h)):
            for b in range(min(4, width - w)):
                there = ((i * height + h + a) * width + w + b) * columns + first
                for o in range(0, panel_width, n):
                    store_first(flat, there + o, load(patch, (4 * a + b) * panel_width + o), columns - first - o)


# ---- the gradient of the weight ------------------------------------------------------------------------


def winograd_weight_grad(x: np.ndarray, g: np.ndarray, deep: int, padding: tuple[int, ...]) -> np.ndarray:
    """dw (deep,3,3,C,O) of the convolution of x (N,D,H,W,C) whose output has the gradient g (N,D',H',W',O). All
    contiguous."""
    planes = deep, padding[0], x.shape[1], g.shape[1]
    channels, columns, width = deep * x.shape[-1], g.shape[-1], tile_width(x.dtype)
    x, g = as_images(x), as_images(g)
    panels = -(-columns // width)
    tiles = len(g) * -(-g.shape[1] // 4) * -(-g.shape[2] // 4)
    v_row, w_row = length_of_planes(x, planes) + ROWS, panels * width  # the last tile reads beyond v's row
    block = min(tiles, max(1, SUM_BYTES // (36 * (v_row + w_row) * x.itemsize)))
    v = aligned((36, odd_lines(block * v_row, x.itemsize)), x.dtype)
    w = aligned((36, odd_lines(block * w_row, x.itemsize)), x.dtype)
    m = aligned((36, panels, whole(channels, ROWS), width), x.dtype)
    for first in range(0, tiles, block):
        count = min(block, tiles - first)
        _transform_tiles(36 * count * (v_row + w_row), x, planes, g, *padding[1:], first, count, v, v_row, w, w_row)
        _add_tile_products(count * m.size // 16, v, v_row, w, w_row, count, m, first == 0, parts=36)
    dweight = np.empty((3, 3, channels, columns), x.dtype)
    _transform_sums(m.size, m, dweight.reshape(-1), channels, columns)
    return contiguous(dweight.reshape(3, 3, deep, -1, columns).transpose(2, 0, 1, 3, 4))


@parallel_kernel
def _transform_tiles(part, parts, x, planes, g, top, left, first, count, v, v_row, w, w_row):
    """v (36, tiles, C) = B^T d B and w (36, tiles, O) = A g A^T for `count` tiles from `first` on."""
    down, across = (g.shape[1] + 3) // 4, (g.shape[2] + 3) // 4
    patch, half = aligned_empty(36 * max(v_row, w_row), x), aligned_empty(36 * lanes(x), x)
    for t in range(share(count, part, parts), share(count, part + 1, parts)):
        i, h, w_ = place(first + t, down, across)
        transform_planes(x, planes, i, h - top, w_ - left, patch, half, v.reshape(-1), t * v_row, v.shape[1])
        transform_gradient(g, i, h, w_, w_row, patch, half, w.reshape(-1), t * w_row, w.shape[1])


@parallel_kernel
def _add_tile_products(part, parts, v, v_row, w, w_row, count, m, fresh):
    """m[k] += v[k]^T w[k], or = where `fresh`; part by part, tile by tile of m."""
    _, panels, rows, width = m.shape
    sums, left, right = m.reshape(-1), v.reshape(-1), w.reshape(-1)
    for k in range(share(36, part, parts), share(36, part + 1, parts)):
        for first in range(0, count, SUM_BLOCK):
            last = min(first + SUM_BLOCK, count)
            for p in range(panels):
                for row in range(0, rows, ROWS):
                    at = ((k * panels + p) * rows + row) * width
                    tile = tile_zeros(v) if fresh and first == 0 else tile_load_even(sums, at, width)
                    a, b = k * v.shape[1] + row, k * w.shape[1] + p * width
                    for t in range(first, last):
                        tile = add_product(tile, left, a + t * v_row, 1, right, b + t * w_row)
                    tile_store_even(tile, sums, at, width)


@kernel_part()
def transform_gradient(g, i, top, left, size, patch, half, w, at, step):
    """w[at + k step :] = A d A^T for d = g[i, top : top + 4, left : left + 4], zeros beyond."""
    _, height, width, columns = g.shape
    n = lanes(g)
    if top + 4 <= height and left + 4 <= width and size == columns:
        pixels, start, down, across = (
            g.reshape(-1),
            ((i * height + top) * width + left) * columns,
            width * columns,
            columns,
        )
    else:
        copy_patch(g, i, top, left, 4, size, patch)
        pixels, start, down, across = patch, 0, 4 * size, size
    for o in range(0, size, n):
        for b in range(4):
            store_six(half, b * n, 4 * n, times_a_transposed(*load_four(pixels, start + b * across + o, down)))
        for a in range(6):
            store_six(w, at + 6 * a * step + o, step, times_a_transposed(*load_four(half, 4 * a * n, n)))


@parallel_kernel
def _transform_sums(part, parts, m, dweight, channels, columns):
    """dw = G^T m G: (36, panels, rows, width) -> (3,3,C,O), flat."""
    _, panels, rows, width = m.shape
    flat, n = m.reshape(-1), lanes(m)
    half = aligned_empty(18 * n, m)
    plane = panels * rows * width
    for row in range(share(panels * channels, part, parts), share(panels * channels, part + 1, parts)):
        p, c = row // channels, row % channels
        for o in range(0, min(width, columns - p * width), n):
            for b in range(6):
                r = times_g_transposed(*load_six(flat, b * plane + (p * rows + c) * width + o, 6 * plane))
                for a in range(3):
                    store(half, (6 * a + b) * n, r[a])
            for a in range(3):
                r = times_g_transposed(*load_six(half, 6 * a * n, n))
                for b in range(3):
                    at = ((3 * a + b) * channels + c) * columns + p * width + o
                    store_first(dweight, at, r[b], columns - p * width - o)


# ---- vectors at equal distances ----------------------------------------------------------------------


@kernel_part()
def load_six(x, at, step):
    return (
        load(x, at),
        load(x, at + step),
        load(x, at + 2 * step),
        load(x, at + 3 * step),
        load(x, at + 4 * step),
        load(x, at + 5 * step),
    )


@kernel_part()
def store_six(x, at, step, six):
    store(x, at, six[0])
    store(x, at + step, six[1])
    store(x, at + 2 * step, six[2])
    store(x, at + 3 * step, six[3])
    store(x, at + 4 * step, six[4])
    store(x, at + 5 * step, six[5])


@kernel_part()
def prefetch_six(x, at, step):
    prefetch(x, at)
    prefetch(x, at + step)
    prefetch(x, at + 2 * step)
    prefetch(x, at + 3 * step)
    prefetch(x, at + 4 * step)
    prefetch(x, at + 5 * step)


@kernel_part()
def prefetch_four(x, at, step):
    prefetch(x, at)
    prefetch(x, at + step)
    prefetch(x, at + 2 * step)
    prefetch(x, at + 3 * step)


@kernel_part()
def load_four(x, at, step):
    return load(x, at), load(x, at + step), load(x, at + 2 * step), load(x, at + 3 * step)


@kernel_part()
def store_four(x, at, step, four):
    store(x, at, four[0])
    store(x, at + step, four[1])
    store(x, at + 2 * step, four[2])
    store(x, at + 3 * step, four[3])


# ---- the constant matrices -------------------------------------------------------------------------------

# a and b are the points +-a and +-b, with a b = 1.
_A, _B = math.sqrt(0.5), math.sqrt(2)
_A2, _B2, _A3, _B3 = 0.5, 2.0, math.sqrt(0.5) / 2, math.sqrt(2) * 2
_NA, _NB = -2 / 3, 1 / 6  # 1 / (2 a^2 (a^2 - b^2)), and the same with a and b exchanged


@kernel_part()
def times_g(w0, w1, w2):
    """G w, 3 -> 6."""
    p, q, r, s = _NA * w0 + (_NA * _A2) * w2, (_NA * _A) * w1, _NB * w0 + (_NB * _B2) * w2, (_NB * _B) * w1
    return w0, p + q, p - q, r + s, r - s, w2


@kernel_part()
def times_g_transposed(m0, m1, m2, m3, m4, m5):
    """G^T m, 6 -> 3."""
    p, q, r, s = _NA * (m1 + m2), (_NA * _A) * (m1 - m2), _NB * (m3 + m4), (_NB * _B) * (m3 - m4)
    return m0 + p + r, q + s, _A2 * p + _B2 * r + m5


@kernel_part()
def times_b(d0, d1, d2, d3, d4, d5):
    """B^T d, 6 -> 6."""
    p, q, r, s = d4 - _B2 * d2, _A * d3 - (_A * _B2) * d1, d4 - _A2 * d2, _B * d3 - (_B * _A2) * d1
    return d0 - (_A2 + _B2) * d2 + d4, p + q, p - q, r + s, r - s, d1 - (_A2 + _B2) * d3 + d5


@kernel_part()
def times_a(m0, m1, m2, m3, m4, m5):
    """A^T m, 6 -> 4."""
    p, q, r, s = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + p + r, _A * q + _B * s, _A2 * p + _B2 * r, _A3 * q + _B3 * s + m5


@kernel_part()
def times_a_transposed(g0, g1, g2, g3):
    """A g, 4 -> 6."""
    p, q, r, s = g0 + _A2 * g2, _A * g1 + _A3 * g3, g0 + _B2 * g2, _B * g1 + _B3 * g3
    return g0, p + q, p - q, r + s, r - s, g3
