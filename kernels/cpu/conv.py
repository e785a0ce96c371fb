"""Convolution, its two transposes, and which algorithm each takes.

    conv              y[n, p, o] = sum over taps k, channels c: x[n, stride p + dilation k - padding, c] weight[k, c, o]
    conv_transpose    carries a gradient of y back to x
    conv_weight_grad  carries it back to the weight

Four algorithms compute them, all products on the register tile of `tile.py`:

    winograd.py   3x3, any number of planes deep, at stride 1: a quarter of the multiplications, for the price of
                  transforming x, weight and y
    direct.py     everything, as a matrix product with a piece of the kernel's view at a time
    narrow.py     to few channels: all taps' products first, then their sums
    gemm.py       1x1 at stride 1 is a matrix product as it stands

The choice is made by `cheapest`, in the time of a multiply-add at full speed: the products each algorithm takes, with
channels rounded up to whole tiles, and what it does besides, whose factors were measured. They round differently. So
that an image comes out the same in any batch, to the bit, `conv` and `conv_transpose` choose as for a batch of BATCH
images, whatever there are: for one or two that are small and have many channels another one may be faster.

One, two and three spatial axes are one case: an image is a volume of depth 1, a sequence one of depth and height 1.
"""

from __future__ import annotations

import math
from itertools import product as all_of

import numpy as np

from kernels import checks
from kernels.checks import IntOrInts, Ints, Window
from kernels.cpu.direct import convolve, weight_grad
from kernels.cpu.gemm import panels_of, panels_of_taps, product, start_of
from kernels.cpu.memory import contiguous
from kernels.cpu.narrow import narrow_transpose
from kernels.cpu.tile import VECTORS, tile_width
from kernels.cpu.vector import whole
from kernels.cpu.winograd import winograd, winograd_weight_grad

# What an algorithm costs besides its products, in multiply-adds for each number, as measured.
TILE_START = 6.0  # steps of a tile's sum, to begin and end it
WINOGRAD_PIXEL = 12.0  # to transform one of the 36 numbers of a tile and channel, into or out of the products
WINOGRAD_WEIGHT = 20.0  # to transform one of the 36 numbers of a weight
NARROW_SUM = 30.0  # to add one tap's product to its place
BATCH = 32  # samples for which the algorithm is chosen; that of the weight's gradient for those that there are


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    slope: float = 1.0,
) -> np.ndarray:
    """y[n,p,o] = bias[o] + sum_k sum_c x[n, stride p + dilation k - padding, c] weight[k,c,o], times slope if negative.

    x (N,*S,C), weight (*K, C/groups, O), bias (O,) -> (N,*So,O).
    """
    window = checks.conv(x, weight, bias, stride, padding, dilation, groups, slope)
    over = over_volume(window)
    if groups == 1:
        y = correlate(as_volume(x), as_volume_weight(weight), bias, over, slope)
    else:
        parts = zip(np.split(x, groups, -1), np.split(weight, groups, -1), split_bias(bias, groups))
        y = np.concatenate(
            [correlate(as_volume(x_j), as_volume_weight(w_j), b, over, slope) for x_j, w_j, b in parts], -1
        )
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
    if groups == 1:
        y = correlate_transposed(as_volume(x), as_volume_weight(weight), bias, over)
    else:
        parts = zip(np.split(x, groups, -1), np.split(weight, groups, -2), split_bias(bias, groups))
        y = np.concatenate(
            [correlate_transposed(as_volume(x_j), as_volume_weight(w_j), b, over) for x_j, w_j, b in parts], -1
        )
    return y.reshape(len(x), *window.out, weight.shape[-1] * groups)


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
    over = over_volume(window)
    if groups == 1:
        dweight = sum_products_over_positions(as_volume(x), as_volume(g), over)
    else:
        parts = zip(np.split(x, groups, -1), np.split(g, groups, -1))
        dweight = np.concatenate([sum_products_over_positions(as_volume(a), as_volume(b), over) for a, b in parts], -1)
    return dweight.reshape(*window.kernel, x.shape[-1] // groups, g.shape[-1])


# ---- which algorithm -------------------------------------------------------------------------------------


def cheapest(
    window: Window, turned: Window, samples: int, sizes: Ints, channels: int, columns: int, dtype: np.dtype
) -> str:
    """The algorithm for a convolution of `samples` volumes of `sizes` pixels, from `channels` to `columns` channels and
    `window.out` pixels; or for a transposed one, which Winograd's form and this one's take `turned`, if they apply."""
    width, vector = tile_width(dtype), tile_width(dtype) // VECTORS
    taps, inputs, outputs = math.prod(window.kernel), samples * math.prod(sizes), samples * math.prod(window.out)
    transposed = turned is not window
    costs = {
        "direct": outputs * taps * channels * whole(columns, width) / (math.prod(window.stride) if transposed else 1)
    }
    if transposed or window.stride == (1, 1, 1):
        costs["narrow"] = inputs * channels * whole(taps * columns, width) + NARROW_SUM * outputs * taps * columns
    unit = window.stride == window.dilation == (1, 1, 1)
    if unit and window.kernel[1:] == (3, 3):
        tiles = samples * window.out[0] * -(-window.out[1] // 4) * -(-window.out[2] // 4)
        channels *= window.kernel[0]
        numbers = whole(channels, vector) + whole(columns, width)
        products = tiles * (channels + TILE_START) * whole(columns, width)
        transforms = WINOGRAD_PIXEL * tiles * numbers + WINOGRAD_WEIGHT * channels * whole(columns, width)
        costs["winograd"] = 36 * (products + transforms)
    return min(costs, key=lambda algorithm: costs[algorithm])


# ---- the three products over a volume (N,D,H,W,C) ----------------------------------------------------------


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, slope: float = 1.0
) -> np.ndarray:
    """The convolution of x (N,D,H,W,C) with weight (Kd,Kh,Kw,C,O): (N,*out,O)."""
    *_, channels, columns = weight.shape
    y, start = np.empty((len(x), *window.out, columns), x.dtype), start_of(bias, weight)
    if y.size == 0:
        return y
    if is_pointwise(window):
        panels = panels_of(weight.reshape(channels, columns))
        product(x.reshape(-1, channels), panels, start, y.reshape(-1, columns), slope)
        return y
    algorithm = cheapest(window, window, BATCH, x.shape[1:-1], channels, columns, x.dtype)
    if algorithm == "winograd":
        winograd(x, weight, start, window.padding, y, slope)
    elif algorithm == "narrow":
        turned = contiguous(weight[::-1, ::-1, ::-1])
        return narrow_transpose(x, turned, bias, window._replace(padding=turned_padding(window)), slope)
    else:
        matrices = weight.reshape(-1, channels, columns)
        convolve(x, panels_of_taps(matrices, np.arange(len(matrices))), start, window, y, slope)
    return y


def correlate_transposed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window) -> np.ndarray:
    """The transposed convolution of x (N,*Q,C) with weight (Kd,Kh,Kw,C,O): (N,*out,O).

    Position h = phase + stride j of the output receives, along each axis, x[q] weight[k] from the taps with
    h = stride q + dilation k - padding. So only the taps with dilation k = phase + padding (mod stride) meet
    a phase, at q = j + (phase + padding - dilation k) / stride: taken from the last to the first, they are an
    ordinary convolution of stride 1 over x, and nothing is ever multiplied by the zeros between strides.
    """
    *_, channels, columns = weight.shape
    y = np.empty((len(x), *window.out, columns), x.dtype)
    if y.size == 0:
        return y
    if is_pointwise(window):
        return correlate(x, weight, bias, window)
    turned = window._replace(padding=turned_padding(window))
    algorithm = cheapest(window, turned, BATCH, x.shape[1:-1], channels, columns, x.dtype)
    if algorithm == "winograd":
        winograd(x, weight, start_of(bias, weight), turned.padding, y, turned=True)
        return y
    if algorithm == "narrow":
        return narrow_transpose(x, contiguous(weight), bias, window)
    numbers = np.arange(math.prod(window.kernel)).reshape(window.kernel)
    for phase in all_of(*(range(min(s, out)) for s, out in zip(window.stride, window.out))):
        places = tuple(slice(first, None, s) for first, s in zip(phase, window.stride))
        out = y[:, *places]
        taps, padding, dilation = zip(*(taps_of_phase(*axis) for axis in zip(phase, *window[:4])))
        if all(taps):
            panels = panels_of_taps(weight.reshape(-1, channels, columns), numbers[np.ix_(*taps)].reshape(-1))
            seen = Window(tuple(map(len, taps)), (1, 1, 1), padding, dilation, out.shape[1:-1])
            convolve(x, panels, start_of(bias, weight), seen, out)
        else:
            out[...] = 0 if bias is None else bias
    return y


def taps_of_phase(phase: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[list[int], int, int]:
    """Along one axis: the taps that meet a phase, last first, and the padding and dilation they need."""
    taps = [k for k in reversed(range(kernel)) if (phase + padding - dilation * k) % stride == 0]
    first_q = (phase + padding - dilation * taps[0]) // stride if taps else 0
    return taps, -first_q, dilation // math.gcd(dilation, stride)


def sum_products_over_positions(x: np.ndarray, g: np.ndarray, window: Window) -> np.ndarray:
    """x (N,D,H,W,C), g (N,*out,O) -> (Kd,Kh,Kw,C,O), the gradient of the weight."""
    channels, columns = x.shape[-1], g.shape[-1]
    if x.size == 0 or g.size == 0:
        return np.zeros((*window.kernel, channels, columns), x.dtype)
    if cheapest(window, window, len(x), x.shape[1:-1], channels, columns, x.dtype) == "winograd":
        return winograd_weight_grad(x, g, window.kernel[0], window.padding)
    backwards = window._replace(padding=turned_padding(window), out=x.shape[1:-1])
    if window.stride == (1, 1, 1) and min(backwards.padding) >= 0 and channels > columns < tile_width(x.dtype):
        # At stride 1, x and g may change places: sum_p x[p + d k - pad] g[p] = sum_q g[q - d k + pad] x[q].
        swapped = weight_grad(g, x, backwards)[::-1, ::-1, ::-1]
        return np.ascontiguousarray(swapped.swapaxes(-1, -2))
    return weight_grad(x, g, window)


def is_pointwise(window: Window) -> bool:
    """Whether each output pixel sees the one input pixel at its place."""
    return window.kernel == window.stride == (1, 1, 1) and window.padding == (0, 0, 0)


def turned_padding(window: Window) -> Ints:
    """The padding with which, at stride 1, the convolution with the taps in reverse order is the transposed one."""
    return tuple(d * (k - 1) - p for d, k, p in zip(window.dilation, window.kernel, window.padding))


# ---- one to three axes, as three -----------------------------------------------------------------------


def as_volume(x: np.ndarray) -> np.ndarray:
    """(N,*S,C) -> (N,D,H,W,C), with size 1 for the axes that x lacks"""
    return contiguous(x).reshape(len(x), *(1,) * (5 - x.ndim), *x.shape[1:])


def as_volume_weight(weight: np.ndarray) -> np.ndarray:
    """The same for a weight, whose matrices may be transposed views."""
    return weight.reshape(*(1,) * (5 - weight.ndim), *weight.shape)


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


def split_bias(bias: np.ndarray | None, groups: int) -> list:
    return [None] * groups if bias is None else np.split(bias, groups)
