"""Group normalisation, with layer, instance and batch normalisation as special cases; see norm.cu."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kernels import checks
from kernels.cuda import layer_norm
from kernels.cuda.arrays import empty, in_order
from kernels.cuda.columns import THREADS, Tiling, tiling
from kernels.cuda.launch import Source, ctype, vector_width
from kernels.cuda.sums import column_sums

Array = Any  # cupy.ndarray

_source = Source("norm.cu")

EACH = 8  # positions of a thread, at least
MANY = 256  # sums of one group, which take a block to add up and not a warp


def group_norm(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    silu: bool = False,
) -> tuple[Array, Array, Array]:
    """(y, mean, rstd) with y = (x - mean) rstd weight + bias, then y sigmoid(y) if silu.

    x and y (N,*S,C), weight and bias (C,), all of one dtype; mean and rstd (N, num_groups), float32 if that is float16.
    Wu & He 2018, arXiv:1803.08494.
    """
    checks.group_norm(x, num_groups, weight, bias, eps, dtypes=checks.HALF_TOO)
    x, weight, bias = in_order(x, weight, bias)
    y = empty(x.shape, x)
    mean, rstd = [empty((len(x), num_groups), x, checks.statistics_dtype(x)) for _ in range(2)]
    forward = layer_norm.forward if layer_norm.fits(x, num_groups) else _forward
    forward(x, weight, bias, float(eps), bool(silu), y, mean, rstd)
    return y, mean, rstd


def group_norm_backward(
    g: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
    num_groups: int,
    silu: bool = False,
) -> tuple[Array, Array | None, Array | None]:
    """(dx, dweight, dbias) for the gradient g of y. `kernels.reference.group_norm_backward` derives it."""
    checks.group_norm_backward(g, x, weight, bias, mean, rstd, num_groups, dtypes=checks.HALF_TOO)
    g, x, weight, bias, mean, rstd = in_order(g, x, weight, bias, mean, rstd)
    dx = empty(x.shape, x)
    backward = layer_norm.backward if layer_norm.fits(x, num_groups) else _backward
    sums = backward(g, x, weight, bias, mean, rstd, bool(silu), dx)
    if weight is None and bias is None:
        return dx, None, None
    dbias_and_dweight = column_sums(sums.reshape(1, len(sums), 2 * x.shape[-1]), x.dtype).reshape(2, x.shape[-1])
    dweight = None if weight is None else dbias_and_dweight[1]
    return dx, dweight, None if bias is None else dbias_and_dweight[0]


class _Shape(NamedTuple):
    """How an array (N,*S,C) is cut for the kernels that move all of it."""

    samples: int
    positions: int
    channels: int
    width: int  # channels that are moved at once
    tiles: Tiling


def _shape(x: Array, *others: Array | None) -> _Shape:
    positions, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    width = vector_width(channels, x, *others)
    return _Shape(len(x), positions, channels, width, tiling(positions, channels // width, EACH))


def _over_units(kernel: str, args: tuple, shape: _Shape) -> None:
    tiles = shape.tiles
    _source.launch(kernel, args, (shape.samples * tiles.units, tiles.vectors), (1, tiles.columns), THREADS)


def _over_groups(kernel: str, args: tuple, mean: Array, shape: _Shape) -> None:
    """A warp or a block for each number of mean (N, groups)."""
    sums = shape.tiles.units * shape.channels // mean.shape[1]
    threads = THREADS if sums > MANY else 32
    _source.launch(f"{kernel}, {threads}>", args, (mean.size,), (1,), threads)


def _forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, silu: bool, y: Array, mean: Array, rstd: Array
) -> None:
    """Writes y, mean and rstd."""
    shape, groups = _shape(x, y, weight, bias), mean.shape[1]
    _, positions, channels, width, tiles = shape
    kinds, cut = f"{ctype(x.dtype)}, {ctype(mean.dtype)}", (tiles.unit, tiles.units)
    moments = empty((len(x) * tiles.units, 2, channels), x, "float64")

    _over_units(f"moments<{ctype(x.dtype)}, {width}>", (x, moments, positions, channels, tiles.columns, *cut), shape)
    statistics = f"statistics<{ctype(mean.dtype)}"
    _over_groups(statistics, (moments, mean, rstd, positions, channels, groups, *cut, eps), mean, shape)
    arrays, sizes = (x, weight, bias, mean, rstd, y), (positions, channels, groups, tiles.columns, *cut, silu)
    _over_units(f"normalise<{kinds}, {width}>", (*arrays, *sizes), shape)


def _backward(
    g: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array, silu: bool, dx: Array
) -> Array:
    """Writes dx; gives (samples units, 2, C), the sums of du and of du n over units of positions."""
    shape, groups = _shape(x, g, dx, weight, bias), mean.shape[1]
    _, positions, channels, width, tiles = shape
    kinds, sizes = f"{ctype(x.dtype)}, {ctype(mean.dtype)}", (positions, channels, groups)
    sums, averages = empty((len(x) * tiles.units, 2, channels), mean), empty((*mean.shape, 2), mean)
    arrays, cut = (g, x, weight, bias, mean, rstd), (tiles.columns, tiles.unit, tiles.units, silu)

    _over_units(f"gradient_sums<{kinds}, {width}>", (*arrays, sums, *sizes, *cut), shape)
    _over_groups(f"group_averages<{kinds}", (sums, weight, averages, *sizes, tiles.units), mean, shape)
    _over_units(f"input_gradient<{kinds}, {width}>", (*arrays, averages, dx, *sizes, *cut), shape)
    return sums
