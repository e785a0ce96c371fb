"""Convolution as a matrix product: `patches` lays out what the kernel sees at each position, `gemm` multiplies.

    conv              y  = patches @ weight                  (positions, K C) @ (K C, O)
    conv_weight_grad  dw = patches^T @ g                     (K C, positions) @ (positions, O)
    conv_transpose    one conv for each phase of the stride, with the taps that meet that phase

The patches are made a block at a time, in parallel, and used while they are in cache. One, two and three
spatial axes are one case: an image is a volume of depth 1, a sequence one of depth and height 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from numba import prange

from kernels import checks
from kernels.checks import IntOrInts, Ints, Window
from kernels.cpu.gemm import add_matmul, panels_of
from kernels.cpu.jit import parallel_kernel, plain

BLOCK_BYTES = 4 * 2**20  # of patches at a time


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
    parts = zip(np.split(x, groups, -1), np.split(weight, groups, -1))
    y = joined([correlate(as_volume(x_j), as_volume_weight(w_j), over_volume(window)) for x_j, w_j in parts])
    return with_bias(y.reshape(len(x), *window.out, weight.shape[-1]), bias)


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
    parts = zip(np.split(x, groups, -1), np.split(weight, groups, -2))
    y = joined([by_phases(as_volume(x_j), as_volume_weight(w_j), over_volume(window)) for x_j, w_j in parts])
    return with_bias(y.reshape(len(x), *window.out, weight.shape[-1] * groups), bias)


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


def correlate(x: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """(N,D,H,W,C), (Kd,Kh,Kw,C,O) -> (N,*out,O)"""
    matrix = weight.reshape(-1, weight.shape[-1])
    y = np.zeros((len(x) * math.prod(window.out), matrix.shape[1]), x.dtype)
    panels = panels_of(matrix)
    for rows, columns in patches(x, window):
        add_matmul(columns, panels, y[rows])  # (rows, K C) @ (K C, O) -> (rows, O)
    return y.reshape(len(x), *window.out, matrix.shape[1])


def sum_of_products(x: np.ndarray, g: np.ndarray, window: Window) -> np.ndarray:
    """(N,D,H,W,C), (N,*out,O) -> (K C, O)"""
    g = plain(g).reshape(-1, g.shape[-1])
    dweight = np.zeros((math.prod(window.kernel) * x.shape[-1], g.shape[1]), x.dtype)
    for rows, columns in patches(x, window):
        add_matmul(columns.T, panels_of(g[rows]), dweight)  # (K C, rows) @ (rows, O) -> (K C, O)
    return dweight


def by_phases(x: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """The transposed convolution: (N,*Q,C), (Kd,Kh,Kw,C,O) -> (N,*out,O).

    Position h = phase + stride j of the output receives, along each axis, x[q] weight[k] from the taps with
    h = stride q + dilation k - padding. So only the taps with dilation k = phase + padding (mod stride) meet
    a phase, at q = j + (phase + padding - dilation k) / stride: taken from the last to the first, they are an
    ordinary convolution of stride 1 over x, and nothing is ever multiplied by the zeros between strides.
    """
    y = np.zeros((len(x), *window.out, weight.shape[-1]), x.dtype)
    for phase in product(*(range(min(s, out)) for s, out in zip(window.stride, window.out))):
        taps, padding, dilation = zip(*(taps_of_phase(*axis) for axis in zip(phase, *window[:4])))
        if not all(taps):
            continue
        met = plain(weight[np.ix_(*taps)])
        places = tuple(slice(first, None, s) for first, s in zip(phase, window.stride))
        out = y[:, *places].shape[1:-1]
        part = correlate(x, met, Window(tuple(map(len, taps)), (1, 1, 1), padding, dilation, out))
        if part.shape == y.shape:  # at stride 1 the only phase is all there is
            return part
        y[:, *places] = part
    return y


def taps_of_phase(
    phase: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[list[int], int, int]:
    """Along one axis: the taps that meet a phase, last first, and the padding and dilation they need."""
    taps = [k for k in reversed(range(kernel)) if (phase + padding - dilation * k) % stride == 0]
    first_q = (phase + padding - dilation * taps[0]) // stride if taps else 0
    return taps, -first_q, dilation // math.gcd(dilation, stride)


# ---- patches -------------------------------------------------------------------------------------------


def patches(x: np.ndarray, window: Window) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks (rows, K C) of what the kernel sees at the N * prod(out) output positions, with their rows.

    A block is overwritten by the next. A window of one tap that moves over all of x sees x itself.
    """
    positions, width = len(x) * math.prod(window.out), math.prod(window.kernel) * x.shape[-1]
    one_tap = window.kernel == window.stride == (1, 1, 1) and window.padding == (0, 0, 0)
    if one_tap and window.out == x.shape[1:-1]:
        yield slice(None), x.reshape(positions, width)
        return
    block = max(1, BLOCK_BYTES // max(1, width * x.itemsize))
    scratch = np.empty((min(block, positions), width), x.dtype)
    for first in range(0, positions, block):
        columns = scratch[: positions - first]
        _patches(x, first, window.kernel, window.stride, window.padding, window.dilation, window.out, columns)
        yield slice(first, first + len(columns)), columns


@parallel_kernel()
def _patches(x, first, kernel, stride, padding, dilation, out, columns):
    """columns[i, (kd,kh,kw,c)] = x[n, stride p + dilation k - padding, c] for the position p = first + i."""
    _, depth, height, width, channels = x.shape
    for i in prange(columns.shape[0]):
        position = first + i
        w_first = position % out[2] * stride[2] - padding[2]
        position //= out[2]
        h_first = position % out[1] * stride[1] - padding[1]
        position //= out[1]
        d_first = position % out[0] * stride[0] - padding[0]
        n, row, at = position // out[0], columns[i], 0
        for kd in range(kernel[0]):
            d = d_first + kd * dilation[0]
            for kh in range(kernel[1]):
                h = h_first + kh * dilation[1]
                for kw in range(kernel[2]):
                    w = w_first + kw * dilation[2]
                    seen = row[at : at + channels]
                    if 0 <= d < depth and 0 <= h < height and 0 <= w < width:
                        there = x[n, d, h, w]
                        for c in range(channels):
                            seen[c] = there[c]
                    else:
                        seen[:] = 0
                    at += channels


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


def with_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    if bias is not None:
        y += bias
    return y
