"""Convolution and its two transposes, on tensor cores or exactly: see conv.cu and conv_weight_grad.cu.

One, two and three spatial axes are one case: an image is a volume of depth 1, a sequence one of depth and height 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kernels import checks
from kernels.checks import HALF_TOO, IntOrInts, Ints
from kernels.cuda.arrays import contiguous, empty, zeros
from kernels.cuda.launch import Source, compute_capability, ctype, vector_width
from kernels.precision import tf32_allowed

Array = Any  # cupy.ndarray

# The structs of window.cuh.
AXIS = np.dtype([(name, np.int32) for name in ("in", "out", "kernel", "stride", "padding", "dilation", "tap_step")])
_NUMBERS = ("samples", "groups", "channels", "columns", "tap_pitch", "row_pitch", "group_pitch", "transposed")
WINDOW = np.dtype([("axis", AXIS, 3), *((name, np.int32) for name in _NUMBERS)])
LARGEST_INDEX = 2**31 - 2**10  # of pixels, and of numbers in a sample: the kernels count them in 32 bits

_source = Source("conv.cu", structs={"Window": WINDOW})
_weight_grad_source = Source("conv_weight_grad.cu", structs={"Window": WINDOW})


class Tile(NamedTuple):
    rows: int
    columns: int
    slowness: float  # for each of its numbers, as estimated from the loads that they take


TILES = (Tile(128, 128, 1.0), Tile(128, 64, 1.2), Tile(64, 64, 1.5))
SMALL = TILES[-1]  # the one whose stages fit GPUs before sm_80, and whose sums, in float64, a thread's registers
BLOCKS_OF_WEIGHT_GRAD = 512  # at least, where the positions suffice: to keep any GPU busy, and the same on each
STEPS_OF_PART = 8  # at least: fewer are not worth the writing and reading of the sums


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    slope: float = 1.0,
) -> Array:
    """y[n,p,o] = bias[o] + sum_k sum_c x[n, stride p + dilation k - padding, c] weight[k,c,o], times slope if negative.

    x (N,*S,C), weight (*K, C/groups, O), bias (O,) -> (N,*So,O).
    """
    over = checks.conv(x, weight, bias, stride, padding, dilation, groups, slope, dtypes=HALF_TOO)
    channels, out_channels = weight.shape[-2:]
    window = window_of(over, x.shape, groups, channels, out_channels // groups)
    window["tap_pitch"], window["row_pitch"] = channels * out_channels, out_channels
    window["group_pitch"] = out_channels // groups
    y = empty((len(x), *over.out, out_channels), x)
    convolve(x, weight, bias, y, window, rows=y.size // out_channels, phases=1, slope=slope)
    return y


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """y[n, stride q + dilation k - padding, o] += x[n,q,c] weight[k,c,o]; then y += bias.

    x (N,*Q,C), weight (*K, C, O/groups), bias (O,) -> (N,*S,O).
    """
    over = checks.conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups, dtypes=HALF_TOO)
    channels, columns = weight.shape[-2] // groups, weight.shape[-1]
    window = window_of(over, x.shape, groups, channels, columns)
    window["tap_pitch"], window["row_pitch"] = channels * groups * columns, columns
    window["group_pitch"] = channels * columns
    window["transposed"] = True
    window["axis"]["tap_step"] = window["axis"]["stride"] // np.gcd(
        window["axis"]["stride"], window["axis"]["dilation"]
    )
    y = empty((len(x), *over.out, columns * groups), x)
    rows = len(x) * math.prod(-(-n // s) for n, s in zip(over.out, over.stride))  # of the largest phase
    convolve(x, weight, bias, y, window, rows, phases=math.prod(over.stride), slope=1.0)
    return y


def conv_weight_grad(
    x: Array,
    g: Array,
    kernel_size: IntOrInts,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """dw[k,c,o] = sum_n sum_p x[n, stride p + dilation k - padding, c] g[n,p,o]: (*K, C/groups, O)."""
    over = checks.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups, dtypes=HALF_TOO)
    channels, columns = x.shape[-1] // groups, g.shape[-1] // groups
    window = window_of(over, x.shape, groups, channels, columns)
    shape = (*over.kernel, channels, g.shape[-1])
    if 0 in x.shape or g.size == 0:
        return zeros(shape, x)
    x, g, dweight = contiguous(x), contiguous(g), empty(shape, x)
    rows, steps = math.prod(over.kernel) * channels, -(-(g.size // g.shape[-1]) * x.dtype.itemsize // 128)
    tile = cheapest_tile(x, rows, columns, BLOCKS_OF_WEIGHT_GRAD)
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    wanted = max(1, min(BLOCKS_OF_WEIGHT_GRAD // (blocks * groups), steps // STEPS_OF_PART))
    steps_of_part = -(-steps // wanted)
    count = -(-steps // steps_of_part)
    parts = empty((count, *shape), x, np.float32 if x.dtype == np.float16 else x.dtype)
    widths = vector_width(channels, x), vector_width(columns, g)
    types = ctype(x.dtype), ctype(parts.dtype)
    _weight_grad_source.launch(
        f"weight_grad<{', '.join(types)}, {cpp(exactly(x))}, {tile.rows}, {tile.columns}, {widths[0]}, {widths[1]}>",
        (x, g, parts, window, steps_of_part),
        (blocks, count, groups),
        (1, 1, 1),
        2 * tile.columns,
        shared=3 * 128 * (tile.rows + 8 + tile.columns + 8),
        aligned=x.dtype.itemsize,
    )
    args = (parts, dweight, dweight.size, count)
    _weight_grad_source.launch(f"sum_parts<{', '.join(types)}>", args, (dweight.size,), (256,), 256)
    return dweight


def convolve(
    x: Array, weight: Array, bias: Array | None, y: Array, window: np.ndarray, rows: int, phases: int, slope: float
) -> None:
    """Fills y with the convolution of x with weight; rows are the positions of the largest phase."""
    x, weight, bias = contiguous(x), contiguous(weight), None if bias is None else contiguous(bias)
    channels, columns, groups = (int(window[name]) for name in ("channels", "columns", "groups"))
    tile = cheapest_tile(x, rows, columns, groups * phases)
    widths = vector_width(channels, x), vector_width(columns, weight, y)
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    _source.launch(
        f"convolve<{ctype(x.dtype)}, {cpp(exactly(x))}, {tile.rows}, {tile.columns}, {widths[0]}, {widths[1]}>",
        (x, weight, bias, y, window, slope),
        (blocks, groups * phases),
        (1, 1),
        2 * tile.columns,
        shared=3 * (144 * tile.rows + 128 * (tile.columns + 8)),
        aligned=x.dtype.itemsize,
    )


def window_of(over: checks.Window, x_shape: Ints, groups: int, channels: int, columns: int) -> np.ndarray:
    """The struct Window for a window over x (N,*S,C), with the weight's pitches still to be filled in."""
    pixels = x_shape[0] * max(math.prod(x_shape[1:-1]), math.prod(over.out))
    sample = max(math.prod(x_shape[1:]), math.prod(over.out) * columns * groups)
    if max(pixels, sample) > LARGEST_INDEX:
        raise ValueError(
            f"convolution: x {x_shape} and a result of {over.out} pixels have {pixels} pixels, and {sample} numbers "
            f"in a sample; the CUDA kernels count both up to {LARGEST_INDEX}"
        )
    window = np.zeros((), WINDOW)
    sizes = {"in": (1, x_shape[1:-1]), "out": (1, over.out), "kernel": (1, over.kernel), "stride": (1, over.stride)}
    sizes |= {"padding": (0, over.padding), "dilation": (1, over.dilation), "tap_step": (1, ())}
    for name, (fill, values) in sizes.items():
        window["axis"][name] = (fill,) * (3 - len(values)) + tuple(values)
    window["samples"], window["groups"] = x_shape[0], groups
    window["channels"], window["columns"] = channels, columns
    return window


def cheapest_tile(x: Array, rows: int, columns: int, times: int) -> Tile:
    """For `times` products of this many rows and columns: each multiprocessor does its share of the blocks in turn."""
    if x.dtype == np.float64 or compute_capability(x) < 80:
        return SMALL
    processors = x.device.attributes["MultiProcessorCount"]

    def cost(tile: Tile) -> float:
        blocks = times * -(-rows // tile.rows) * -(-columns // tile.columns)
        return -(-blocks // processors) * tile.rows * tile.columns * tile.slowness

    return min(TILES, key=cost)


def exactly(x: Array) -> bool:
    """Whether products are taken in the array's own arithmetic, rather than on tensor cores."""
    if x.dtype == np.float64 or compute_capability(x) < 80:
        return True
    return x.dtype == np.float32 and not tf32_allowed()


def cpp(value: bool) -> str:
    return "true" if value else "false"
