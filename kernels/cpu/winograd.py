"""3x3 convolution with 4 times fewer multiplications: Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308).

An output tile of 4x4 pixels depends on 6x6 input pixels d and the 3x3 taps w. With three constant matrices,

    y = A^T [ (G w G^T) * (B^T d B) ] A          (* element by element: 36 products instead of 4 4 3 3 = 144)

For channels, each of the 36 products becomes a matrix product, (tiles, C) @ (C, O). A thread takes a block of tiles
from the input to the output while everything stays in its cache:

    x --B--> v (36, tiles, C) --@ u (36, C, O)--> m (36, tiles, O) --A--> y

The constants are small whole numbers, but sums with weights up to 8 and differences of neighbours lose a digit: in
float32 the error is 1e-5 of the largest output, ten times that of direct convolution.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from kernels.cpu.gemm import aligned, chunks, sum_products
from kernels.cpu.jit import kernel_part, old_launch, old_parallel_kernel
from kernels.cpu.tile import ROWS, row_table, tile_load, tile_store, tile_width

BLOCK = 2 * ROWS  # tiles that a thread takes through all stages together


def winograd(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: tuple[int, ...], y: np.ndarray) -> None:
    """Writes the convolution of x (N,H,W,C) with weight (3,3,C,O), plus bias (O,), to y (N,H',W',O), contiguous."""
    channels, columns = weight.shape[2:]
    width = tile_width(x.dtype)
    u = aligned((-(-columns // width), 36, channels, width), x.dtype)
    old_launch(_transform_weight, 4 * u.size, weight, u)
    in_rows, out_rows = row_table(np.arange(BLOCK) * channels), row_table(np.arange(BLOCK) * width)
    old_launch(_winograd, y.size * channels // 8, x, u, bias, padding, in_rows, out_rows, y, chunks())


@old_parallel_kernel()
def _transform_weight(weight, u):
    """u = G w G^T, (3,3,C,O) -> (panels, 36, C, width)."""
    panels, _, channels, width = u.shape
    columns, real = weight.shape[3], u.dtype.type
    for task in prange(panels * channels):
        p, c = task // channels, task % channels
        last = min(width, columns - p * width)
        w, half = np.zeros((3, 3, width), u.dtype), np.empty((6, 3, width), u.dtype)
        for i in range(3):
            for j in range(3):
                w[i, j, :last] = weight[i, j, c, p * width : p * width + last]
        for j in range(3):
            for o in range(width):
                g = times_g(real, w[0, j, o], w[1, j, o], w[2, j, o])
                for a in range(6):
                    half[a, j, o] = g[a]
        for a in range(6):
            for o in range(width):
                g = times_g(real, half[a, 0, o], half[a, 1, o], half[a, 2, o])
                for b in range(6):
                    u[p, 6 * a + b, c, o] = g[b]


@old_parallel_kernel()
def _winograd(x, u, bias, padding, in_rows, out_rows, y, chunks):
    n, out_height, out_width, columns = y.shape
    panels, _, channels, width = u.shape
    down, across = (out_height + 3) // 4, (out_width + 3) // 4
    tiles = n * down * across
    blocks = (tiles + BLOCK - 1) // BLOCK
    weights = u.reshape(-1)
    for chunk in prange(chunks):
        v, m = np.zeros((36, BLOCK, channels), x.dtype), np.empty((36, BLOCK, width), x.dtype)
        d, half = np.empty((6, 6, channels), x.dtype), np.empty((6, 6, channels), x.dtype)
        z = np.empty((4, 6, width), x.dtype)
        flat_v, flat_m = v.reshape(-1), m.reshape(-1)
        for block in range(blocks * chunk // chunks, blocks * (chunk + 1) // chunks):
            count = min(BLOCK, tiles - block * BLOCK)
            for t in range(count):
                i, h, w = place(block * BLOCK + t, down, across)
                take_patch(x, i, h - padding[0], w - padding[1], d)
                transform_input(d, half, v, t)
            for p in range(panels):
                first, last = p * width, min(columns, p * width + width)
                for k in range(36):
                    for row in range(0, count, ROWS):
                        tile = tile_load(flat_m, out_rows, row, k * BLOCK * width, 0)
                        at = (p * 36 + k) * channels * width
                        tile = sum_products(tile, flat_v, in_rows, row, k * BLOCK * channels, 1, weights, at, channels)
                        tile_store(tile, flat_m, out_rows, row, k * BLOCK * width, width)
                for t in range(count):
                    i, h, w = place(block * BLOCK + t, down, across)
                    transform_output(m, t, z, bias[first:last], y[i, :, :, first:last], h, w)


@kernel_part()
def place(tile, down, across):
    """The sample, row and column at which an output tile starts."""
    i, rest = tile // (down * across), tile % (down * across)
    return i, rest // across * 4, rest % across * 4


@kernel_part()
def take_patch(x, i, top, left, d):
    """d = x[i, top : top + 6, left : left + 6], zeros beyond the edges."""
    for a in range(6):
        for b in range(6):
            h, w = top + a, left + b
            if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                d[a, b] = x[i, h, w]
            else:
                d[a, b] = 0


@kernel_part()
def transform_input(d, half, v, t):
    """v[:, t] = B^T d B for every channel."""
    real = d.dtype.type
    for b in range(6):
        for c in range(d.shape[2]):
            r = times_b(real, d[0, b, c], d[1, b, c], d[2, b, c], d[3, b, c], d[4, b, c], d[5, b, c])
            half[0, b, c], half[1, b, c], half[2, b, c], half[3, b, c], half[4, b, c], half[5, b, c] = r
    for a in range(6):
        for c in range(d.shape[2]):
            r = times_b(real, half[a, 0, c], half[a, 1, c], half[a, 2, c], half[a, 3, c], half[a, 4, c], half[a, 5, c])
            v[6 * a, t, c], v[6 * a + 1, t, c], v[6 * a + 2, t, c] = r[0], r[1], r[2]
            v[6 * a + 3, t, c], v[6 * a + 4, t, c], v[6 * a + 5, t, c] = r[3], r[4], r[5]


@kernel_part()
def transform_output(m, t, z, bias, y, h, w):
    """y[h : h + 4, w : w + 4] = A^T m[:, t] A + bias, as far as y reaches."""
    columns, real = len(bias), m.dtype.type
    for b in range(6):
        for o in range(columns):
            r = times_a(
                real, m[b, t, o], m[6 + b, t, o], m[12 + b, t, o], m[18 + b, t, o], m[24 + b, t, o], m[30 + b, t, o]
            )
            z[0, b, o], z[1, b, o], z[2, b, o], z[3, b, o] = r
    wide = min(4, y.shape[1] - w)
    for a in range(min(4, y.shape[0] - h)):
        if wide == 4:
            for o in range(columns):
                r = times_a(real, z[a, 0, o], z[a, 1, o], z[a, 2, o], z[a, 3, o], z[a, 4, o], z[a, 5, o])
                y[h + a, w, o], y[h + a, w + 1, o] = r[0] + bias[o], r[1] + bias[o]
                y[h + a, w + 2, o], y[h + a, w + 3, o] = r[2] + bias[o], r[3] + bias[o]
        else:
            for o in range(columns):
                r = times_a(real, z[a, 0, o], z[a, 1, o], z[a, 2, o], z[a, 3, o], z[a, 4, o], z[a, 5, o])
                for b in range(wide):
                    y[h + a, w + b, o] = r[b] + bias[o]


# The constants are converted to the dtype by `real`: Numba would compute 4 * x in float64.


@kernel_part(inline="always")
def times_g(real, w0, w1, w2):
    """G w, 3 -> 6."""
    even, odd = (w0 + w2) * real(1 / 6), w1 * real(1 / 6)
    even4, odd4 = w0 * real(1 / 24) + w2 * real(1 / 6), w1 * real(1 / 12)
    return w0 * real(1 / 4), -even - odd, odd - even, even4 + odd4, even4 - odd4, w2


@kernel_part(inline="always")
def times_b(real, d0, d1, d2, d3, d4, d5):
    """B^T d, 6 -> 6."""
    two, four, five = real(2), real(4), real(5)
    p, q = d4 - four * d2, d3 - four * d1
    r, s = d4 - d2, two * (d3 - d1)
    return four * d0 - five * d2 + d4, p + q, p - q, r + s, r - s, four * d1 - five * d3 + d5


@kernel_part(inline="always")
def times_a(real, m0, m1, m2, m3, m4, m5):
    """A^T m, 6 -> 4."""
    p, q, r, s = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + p + r, q + real(2) * s, p + real(4) * r, q + real(8) * s + m5
