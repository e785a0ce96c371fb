"""Convolution to a few channels, such as the three of a colour image.

A register tile is dozens of columns wide; a convolution to 3 channels fills a tenth of it. But all taps of the kernel
together have enough columns: first every pixel is multiplied by all of them, then the products are added up where
they belong.

    z[q, k, o] = sum_c x[q, c] weight[k, c, o]                     (positions, C) @ (C, taps O)
    y[stride q + dilation k - padding, o] += z[q, k, o]            that is conv_transpose, as it is defined
"""

from __future__ import annotations

import numpy as np

from kernels.checks import Window
from kernels.cpu.gemm import panels_of, product, start_of
from kernels.cpu.jit import parallel_kernel, share


def narrow_transpose(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, slope: float = 1.0
) -> np.ndarray:
    """The transposed convolution of x (N,D,H,W,C) with weight (Kd,Kh,Kw,C,O), both contiguous: (N,*out,O).
    Negative results are multiplied by slope."""
    *_, channels, columns = weight.shape
    taps = int(np.prod(window.kernel))
    matrix = weight.reshape(taps, channels, columns).transpose(1, 0, 2).reshape(channels, taps * columns)
    z = np.empty((*x.shape[:-1], taps * columns), x.dtype)
    product(x.reshape(-1, channels), panels_of(matrix), start_of(None, matrix), z.reshape(-1, taps * columns))
    y = np.empty((len(x), *window.out, columns), x.dtype)
    settings = np.array([window.kernel, window.stride, window.padding, window.dilation])
    _add_taps(y.size * taps, z, settings, start_of(bias, weight), y.dtype.type(slope), y)
    return y


@parallel_kernel
def _add_taps(part, parts, z, settings, start, slope, y):
    """y = start + sum over taps of z where the tap lands. A part is some rows of y."""
    samples, out_d, out_h, out_w, columns = y.shape
    _, depth, height, width, _ = z.shape
    taps_w, stride_w, padding_w, dilation_w = settings[:, 2]
    rows = samples * out_d * out_h
    for row in range(share(rows, part, parts), share(rows, part + 1, parts)):
        n, d, h = row // (out_d * out_h), row // out_h % out_d, row % out_h
        for w in range(out_w):
            for o in range(columns):
                y[n, d, h, w, o] = start[o]
        for i in range(settings[0, 0]):
            q_d = d + settings[2, 0] - i * settings[3, 0]
            for j in range(settings[0, 1]):
                q_h = h + settings[2, 1] - j * settings[3, 1]
                inside = 0 <= q_d < depth * settings[1, 0] and 0 <= q_h < height * settings[1, 1]
                if not inside or q_d % settings[1, 0] != 0 or q_h % settings[1, 1] != 0:
                    continue
                z_row, y_row = z[n, q_d // settings[1, 0], q_h // settings[1, 1]], y[n, d, h]
                for k in range(taps_w):
                    first = ((i * settings[0, 1] + j) * taps_w + k) * columns
                    shift = k * dilation_w - padding_w
                    q = max(0, -(shift // stride_w))  # the first that lands inside: stride q + shift >= 0
                    while q < width and q * stride_w + shift < out_w:
                        for o in range(columns):
                            y_row[q * stride_w + shift, o] += z_row[q, first + o]
                        q += 1
        for w in range(out_w):
            for o in range(columns):
                if y[n, d, h, w, o] < 0:
                    y[n, d, h, w, o] *= slope
