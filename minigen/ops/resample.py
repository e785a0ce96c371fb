"""Changing the resolution: interpolation, and pooling over windows. Channels last, any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..autograd import primitive
from ..backend import kernels_for, kernels_take, on_device_of, on_gpu, to_device
from ..tensor import Tensor, array_of
from .linalg import matmul
from .reduce import max, mean, sum
from .shape import flip, pad, reshape, take


def interpolate(x: Any, scale_factor: Any = 2, mode: str = "nearest") -> Tensor:
    """x (N, *S, C) -> (N, *floor(S scale_factor), C); one factor, or one for each spatial axis.

    'nearest' copies, 'bilinear' (two spatial axes) weighs the four nearest pixels, whose centres are at half
    pixels: output i lies at input (i + 1/2) / scale - 1/2.
    """
    axes = x.ndim - 2
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: mode {mode!r} is unknown: choose 'nearest' or 'bilinear'")
    if axes < 1 or (mode == "bilinear" and axes != 2):
        raise ValueError(
            f"interpolate: {mode} needs x (N, *S, C) with {'two' if mode == 'bilinear' else 'some'} "
            f"spatial axes, got shape {x.shape}"
        )
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
    if len(factors) != axes or not all(f > 0 for f in factors):
        raise ValueError(f"interpolate: scale_factor {scale_factor} must be positive, one for each of {axes} axes")
    if mode == "nearest" and all(float(f).is_integer() for f in factors):
        return _copy_pixels(x, factors=tuple(int(f) for f in factors))
    for axis, factor in enumerate(factors, start=1):
        n = x.shape[axis]
        at = np.arange(math.floor(n * factor))
        if mode == "nearest":
            x = take(x, np.minimum((at / factor).astype(int), n - 1), axis)
        else:
            x = _weigh_pixels(x, np.maximum((at + 0.5) / factor - 0.5, 0), axis)
    return x


@primitive
def _copy_pixels(x, *, factors):
    """Every pixel becomes a block of equal ones."""
    if kernels_take(x) and x.ndim <= 5:
        return kernels_for(x).upsample(x, factors)
    for axis, factor in enumerate(factors, start=1):
        x = np.repeat(x, factor, axis)
    return x


@_copy_pixels.vjp
def _(g, _y, _x, *, factors):
    return _sum_blocks(g, factors=factors)


@primitive
def _sum_blocks(x, *, factors):
    """The sum of every block of pixels."""
    if kernels_take(x) and x.ndim <= 5:
        return kernels_for(x).sum_blocks(x, factors)
    for axis, factor in enumerate(factors, start=1):
        x = x.reshape(*x.shape[:axis], x.shape[axis] // factor, factor, *x.shape[axis + 1 :]).sum(axis=axis + 1)
    return x


@_sum_blocks.vjp
def _(g, _y, _x, *, factors):
    return _copy_pixels(g, factors=factors)


def _weigh_pixels(x: Tensor, at: np.ndarray, axis: int) -> Tensor:
    """Linear interpolation at positions `at` along one axis, as a product with an (out, in) matrix."""
    n = x.shape[axis]
    below = np.minimum(at.astype(int), n - 1)
    above = np.minimum(below + 1, n - 1)
    matrix = np.zeros((len(at), n), x.dtype if x.dtype.kind == "f" else np.float32)
    rows = np.arange(len(at))
    matrix[rows, below] += 1 - (at - below)
    matrix[rows, above] += at - below
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    flat = reshape(x, math.prod(before), n, math.prod(after))
    matrix = to_device(matrix, flat.device)
    return reshape(matmul(matrix, flat), *before, len(at), *after)  # (out,n) @ (B,n,A) -> (B,out,A)


Pair = tuple[int, int]


def upfirdn2d(
    x: Any, taps: Any, up: int | Pair = 1, down: int | Pair = 1, padding: Pair | tuple[Pair, Pair] = (0, 0)
) -> Tensor:
    """Upsamples, filters and downsamples an image, as StyleGAN 2 does (Karras et al. 2020, arXiv:1912.04958).

    x (N, H, W, C), taps (k,) -> (N, H', W', C), H' = (H up + before + after - k) // down + 1: along each of H and W,
    up - 1 zeros are put after every pixel, padding (before, after) around them all (negative: cropped), the result is
    convolved with the taps, and every down-th pixel is kept. up, down and padding are for both axes, or one for each.
    taps, a Tensor or array of the dtype of x, are constants: no gradient flows to them.
    """
    return _upfirdn2d(x, taps, up=up, down=down, padding=padding)


@primitive
def _upfirdn2d(x, taps, *, up, down, padding):
    return kernels_for(x).upfirdn2d(x, taps, up, down, padding)


@_upfirdn2d.vjp
def _(g, _y, _x, taps, *, up, down, padding):
    """Output p sees sample i through tap  down p + k - 1 - before - up i.  Read from i to p it is the same operation:
    up and down change places and so do the ends of the taps, before becomes k - 1 - before, and after is what makes the
    result as large as x."""
    up, down = (value if isinstance(value, (tuple, list)) else (value, value) for value in (up, down))
    pads = padding if isinstance(padding[0], (tuple, list)) else (padding, padding)
    k, transposed = taps.shape[0], []
    for n, out, u, d, (before, _) in zip(_x.shape[1:3], g.shape[1:3], up, down, pads, strict=True):
        transposed.append((k - 1 - before, (n - 1) * u + 1 + before - d * out))
    return _upfirdn2d(g, flip(taps, 0), up=down, down=up, padding=tuple(transposed)), None


@primitive
def _windows(x, *, kernel, stride):
    """(N,*S,C) -> (N,*So,C,*kernel): what a sliding window sees at each place. On the CPU as a view; on a GPU as a
    copy, because a view that CuPy makes of windows does not say whose memory it shows."""
    if on_gpu(x):
        out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], kernel, stride, strict=True)]
        seen = [x[_place(tap, stride, out)] for tap in np.ndindex(kernel)]
        return np.stack(seen, axis=-1).reshape(*seen[0].shape, *kernel)
    axes = tuple(range(1, x.ndim - 1))
    return sliding_window_view(x, kernel, axes)[(slice(None), *(slice(None, None, s) for s in stride))]


def _place(tap: tuple[int, ...], stride: tuple[int, ...], out: Sequence[int]) -> tuple[slice, ...]:
    """The index of what one tap of a window meets as it slides over `out` places."""
    return slice(None), *(slice(t, t + s * (n - 1) + 1, s) for t, s, n in zip(tap, stride, out, strict=True))


@_windows.vjp
def _(g, _y, _x, *, kernel, stride):
    return _overlap_add(g, kernel=kernel, stride=stride, shape=_x.shape)


@primitive
def _overlap_add(g, *, kernel, stride, shape):
    """(N,*So,C,*kernel) -> (N,*S,C): the windows put back in place and summed, tap by tap."""
    x = np.zeros_like(g, shape=shape)
    for tap in np.ndindex(kernel):
        met = x[_place(tap, stride, g.shape[1 : 1 + len(kernel)])]
        met += g[(..., *tap)]
    return x


@_overlap_add.vjp
def _(h, _y, _g, *, kernel, stride, shape):
    return _windows(h, kernel=kernel, stride=stride)


def _pool(name: str, x: Any, kernel_size: Any, stride: Any, padding: Any, fill: float) -> Tensor:
    """The windows of x, padded with `fill`: (N,*So,C,*kernel)."""
    axes = int(name[-2])
    if x.ndim != axes + 2:
        raise ValueError(f"{name}: x must be (N, *S, C) with {axes} spatial axes, got shape {x.shape}")
    kernel, stride, padding = (
        tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
        for value in (kernel_size, kernel_size if stride is None else stride, padding)
    )
    if not len(kernel) == len(stride) == len(padding) == axes:
        raise ValueError(f"{name}: kernel_size {kernel}, stride {stride}, padding {padding}: needs {axes} of each")
    if min(kernel) < 1 or min(stride) < 1 or any(not 0 <= p <= k // 2 for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(
            f"{name}: kernel_size {kernel} and stride {stride} must be at least 1, "
            f"padding {padding} at most half the kernel"
        )
    if any(n + 2 * p < k for n, p, k in zip(x.shape[1:-1], padding, kernel, strict=True)):
        raise ValueError(f"{name}: kernel_size {kernel} is larger than x {x.shape} padded by {padding}")
    if any(padding):
        x = pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], constant_values=fill)
    return _windows(x, kernel=kernel, stride=stride)


def _avg_pool(name: str, x: Any, kernel_size: Any, stride: Any, padding: Any, count_include_pad: bool) -> Tensor:
    windows = _pool(name, x, kernel_size, stride, padding, 0.0)
    kernel = windows.shape[x.ndim :]
    tiled = all(n == out * k for n, out, k in zip(x.shape[1:-1], windows.shape[1:], kernel, strict=False))
    if stride in (None, kernel_size) and not np.any(padding) and tiled and x.dtype.kind == "f":
        return _sum_blocks(x, factors=kernel) / math.prod(kernel)
    taps = tuple(range(x.ndim, windows.ndim))
    if count_include_pad:
        return mean(windows, taps)
    with on_device_of(array_of(x)):
        ones = Tensor(np.ones_like(array_of(x)[:1, ..., :1]))
    return sum(windows, taps) / sum(_pool(name, ones, kernel_size, stride, padding, 0.0), taps)


def _max_pool(name: str, x: Any, kernel_size: Any, stride: Any, padding: Any) -> Tensor:
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    windows = _pool(name, x, kernel_size, stride, padding, lowest)
    return max(windows, tuple(range(x.ndim, windows.ndim)))


def avg_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
) -> Tensor:
    """x (N, L, C) -> (N, L', C): the mean of each window; L' = (L + 2 padding - kernel_size) // stride + 1."""
    return _avg_pool("avg_pool1d", x, kernel_size, stride, padding, count_include_pad)


def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
) -> Tensor:
    """x (N, H, W, C) -> (N, H', W', C); stride is kernel_size unless given."""
    return _avg_pool("avg_pool2d", x, kernel_size, stride, padding, count_include_pad)


def avg_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
) -> Tensor:
    """x (N, D, H, W, C) -> (N, D', H', W', C)."""
    return _avg_pool("avg_pool3d", x, kernel_size, stride, padding, count_include_pad)


def max_pool1d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """x (N, L, C) -> (N, L', C): the largest value of each window."""
    return _max_pool("max_pool1d", x, kernel_size, stride, padding)


def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """x (N, H, W, C) -> (N, H', W', C)."""
    return _max_pool("max_pool2d", x, kernel_size, stride, padding)


def max_pool3d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """x (N, D, H, W, C) -> (N, D', H', W', C)."""
    return _max_pool("max_pool3d", x, kernel_size, stride, padding)
