"""Convolution and its two transposes, on tensor cores or exactly: see conv.cu and conv_weight_grad.cu.

One, two and three spatial axes are one case: an image is a volume of depth 1, a sequence one of depth and height 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from kernels import checks
from kernels.checks import HALF_TOO, IntOrInts, Ints
from kernels.cuda.arrays import contiguous, empty, zeros
from kernels.cuda.launch import (
    Source,
    attribute,
    compute_capability,
    ctype,
    on_tensor_cores,
    shared_memory,
    vector_width,
)

Array = Any  # cupy.ndarray

# The structs of window.cuh.
AXIS = np.dtype([(name, np.int32) for name in ("in", "out", "kernel", "stride", "padding", "dilation", "tap_step")])
NUMBERS = ("samples", "groups", "channels", "columns", "tap_pitch", "row_pitch", "group_pitch", "transposed")
WINDOW = np.dtype([("axis", AXIS, 3), *((name, np.int32) for name in NUMBERS)])

_source = Source("conv.cu", structs={"Window": WINDOW})
_weight_grad_source = Source("conv_weight_grad.cu", structs={"Window": WINDOW})


class Tile(NamedTuple):
    """What one block computes: rows x columns numbers, with 2 columns threads (product_tile.cuh)."""

    rows: int
    columns: int
    slowness: float  # of each multiply-add, for the numbers that it loads beside: an estimate

    @property
    def stages(self) -> int:
        """Bytes of shared memory for convolve's stages; weight_grad's take no more."""
        return STAGES * ((STEP_BYTES + 16) * self.rows + STEP_BYTES * (self.columns + 8))

    @property
    def places(self) -> int:
        """Bytes of shared memory for where convolve's rows lie, a Place and an int each; weight_grad's take less."""
        return (16 + 4) * self.rows


STAGES = 3
STEP_BYTES = 128  # of a row of the left factor, or of all columns of it, that a stage holds
TILES = (Tile(128, 128, 1.0), Tile(128, 64, 1.2), Tile(64, 64, 1.5))  # the first takes more than sm_86 to sm_120 have
SMALL = TILES[-1]  # the one whose stages fit GPUs before sm_80, and whose sums, in float64, a thread's registers
BLOCKS_OF_WEIGHT_GRAD = 512  # where the positions suffice: to keep any GPU busy, and the same on each
STEPS_OF_PART = 8  # at least: fewer are not worth writing and reading the sums


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
    y = empty((len(x), *over.out, out_channels), x)
    convolve(x, weight, bias, y, plan_of(over, x.shape, groups, channels, out_channels // groups), slope)
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
    y = empty((len(x), *over.out, columns * groups), x)
    convolve(x, weight, bias, y, plan_of(over, x.shape, groups, channels, columns, transposed=True))
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
    shape = (*over.kernel, channels, g.shape[-1])
    if x.size == 0 or g.size == 0:
        return zeros(shape, x)
    plan = plan_of(over, x.shape, groups, channels, columns)
    x, g, dweight = contiguous(x), contiguous(g), empty(shape, x)
    rows, steps = math.prod(over.kernel) * channels, ceil_div(plan.positions * x.dtype.itemsize, STEP_BYTES)
    tile = tile_for(x, rows, columns, BLOCKS_OF_WEIGHT_GRAD)
    blocks = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns)
    steps_of_part = max(STEPS_OF_PART, ceil_div(steps * blocks * groups, BLOCKS_OF_WEIGHT_GRAD))
    parts = empty((ceil_div(steps, steps_of_part), *shape), x, np.float32 if x.dtype == np.float16 else x.dtype)
    types = f"{ctype(x.dtype)}, {ctype(parts.dtype)}"
    widths = f"{vector_width(channels, x)}, {vector_width(columns, g)}"
    _weight_grad_source.launch(
        f"weight_grad<{types}, {exactly(x)}, {tile.rows}, {tile.columns}, {widths}>",
        (x, g, parts, plan.window, steps_of_part),
        over=(blocks, len(parts), groups),
        tile=(1, 1, 1),
        threads=2 * tile.columns,
        shared=STAGES * STEP_BYTES * (tile.rows + 8 + tile.columns + 8),
    )
    args = (parts, dweight, dweight.size, len(parts))
    _weight_grad_source.launch(f"sum_parts<{types}>", args, over=(dweight.size,), tile=(256,), threads=256)
    return dweight


def convolve(x: Array, weight: Array, bias: Array | None, y: Array, plan: Plan, slope: float = 1.0) -> None:
    """Fills y with the convolution of x with weight, or the transposed one, as planned."""
    x, weight, bias = contiguous(x), contiguous(weight), None if bias is None else contiguous(bias)
    tile = tile_for(x, plan.positions, plan.columns, plan.groups * plan.phases)
    widths = f"{vector_width(plan.channels, x)}, {vector_width(plan.columns, weight, y)}"
    _source.launch(
        f"convolve<{ctype(x.dtype)}, {exactly(x)}, {tile.rows}, {tile.columns}, {widths}>",
        (x, weight, bias, y, plan.window, slope),
        over=(
            ceil_div(plan.positions, tile.rows) * ceil_div(plan.columns, tile.columns),
            plan.groups * plan.phases,
        ),
        tile=(1, 1),
        threads=2 * tile.columns,
        shared=tile.stages,
    )


# ---- the window as the kernels take it -------------------------------------------------------------------


class Plan(NamedTuple):
    window: np.ndarray  # the struct Window
    groups: int
    channels: int  # of x, in one group
    columns: int  # channels of y, in one group
    phases: int  # of a transposed convolution's stride
    positions: int  # of the window, in all samples; those of the largest phase


@lru_cache(maxsize=4096)
def plan_of(
    over: checks.Window, x_shape: Ints, groups: int, channels: int, columns: int, transposed: bool = False
) -> Plan:
    """For a window over x (N,*S,C). A weight is (*K, channels, groups columns), or (*K, groups channels, columns) for
    a transposed convolution."""
    samples, *sizes, _ = x_shape
    _check_indices(over, x_shape, groups * max(channels, columns), math.prod(over.kernel) * channels * groups * columns)
    window = np.zeros((), WINDOW)
    axis, missing = window["axis"], 3 - len(sizes)
    for name, values in ("in", sizes), ("out", over.out), ("kernel", over.kernel), ("stride", over.stride):
        axis[name] = (1,) * missing + tuple(values)
    axis["padding"], axis["dilation"] = (0,) * missing + over.padding, (1,) * missing + over.dilation
    axis["tap_step"] = axis["stride"] // np.gcd(axis["stride"], axis["dilation"]) if transposed else 1
    window["samples"], window["groups"] = samples, groups
    window["channels"], window["columns"] = channels, columns
    window["tap_pitch"] = channels * groups * columns
    window["row_pitch"] = columns if transposed else groups * columns
    window["group_pitch"] = channels * columns if transposed else columns
    window["transposed"] = transposed
    phases = over.stride if transposed else (1,) * len(over.stride)
    positions = samples * math.prod(ceil_div(n, s) for n, s in zip(over.out, phases))
    return Plan(window, groups, channels, columns, math.prod(phases), positions)


def _check_indices(over: checks.Window, x_shape: Ints, channels: int, weights: int) -> None:
    """The kernels count pixels, and the numbers of a sample, in 32 bits, those beyond the edges too; and weights."""
    samples, *sizes, _ = x_shape
    axes = zip(sizes, over.padding, over.dilation, over.kernel)
    pixels = max(math.prod(n + 2 * p + d * (k - 1) for n, p, d, k in axes), math.prod(over.out))
    if max(samples, channels) * pixels >= 2**31 - 2**10:  # and one more tile
        raise ValueError(
            f"convolution: the samples of x {x_shape} have up to {pixels} pixels, edges included, which make "
            f"{samples * pixels} pixels and {channels * pixels} numbers in a sample; the CUDA kernels count to 2**31"
        )
    if weights >= 2**31:
        raise ValueError(f"convolution: the weight has {weights} numbers; the CUDA kernels count to 2**31")


# ---- which kernel ----------------------------------------------------------------------------------------


def tile_for(x: Array, rows: int, columns: int, times: int) -> Tile:
    """The tile for `times` products with this many rows and columns."""
    if x.dtype == np.float64 or compute_capability(x) < 80:
        return SMALL
    processors = attribute(x, "MultiProcessorCount")

    def cost(tile: Tile) -> float:  # each multiprocessor takes its share of the blocks
        blocks = times * ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns)
        return ceil_div(blocks, processors) * tile.rows * tile.columns * tile.slowness

    room = shared_memory(x)
    return min((tile for tile in TILES if tile.stages + tile.places <= room), key=cost)


def exactly(x: Array) -> str:
    """Whether products are taken in the array's own arithmetic, rather than on tensor cores: as C++ has it."""
    return "false" if on_tensor_cores(x) else "true"


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)
