"""Group normalisation, with layer, instance and batch normalisation as special cases; see norm.cu."""

from __future__ import annotations

import math
from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.columns import Tiling, tiling
from kernels.cuda.launch import Source, ctype, vector_width
from kernels.cuda.sums import column_sums

Array = Any  # cupy.ndarray

_source = Source("norm.cu")


def group_norm(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    silu: bool = False,
) -> tuple[Array, Array, Array]:
    """(y, mean, rstd) with y = (x - mean) rstd weight + bias, then y sigmoid(y) if silu.

    x and y (N,*S,C), float16 too; mean and rstd (N, num_groups), then float32; weight and bias (C,). Wu & He 2018,
    arXiv:1803.08494.
    """
    checks.group_norm(x, num_groups, weight, bias, eps, dtypes=checks.HALF_TOO)
    x, weight, bias = _in_order(x, weight, bias)
    y = empty(x.shape, x)
    mean, rstd = [empty((len(x), num_groups), x, checks.statistics_dtype(x)) for _ in range(2)]
    positions, channels, width, tiles = _shape(x, x, y)
    partial = empty((len(x), tiles.units, 2, channels), mean)
    sizes, cut = (positions, channels), (tiles.unit, tiles.units)

    kinds = f"{ctype(x.dtype)}, {ctype(mean.dtype)}"
    _over_units(f"moments<{kinds}, {width}>", (x, partial, *sizes, tiles.columns, *cut), len(x), tiles)
    threads = _threads_of_group(partial, num_groups)
    args = (partial, mean, rstd, *sizes, num_groups, *cut, eps)
    _source.launch(f"statistics<{ctype(mean.dtype)}, {threads}>", args, (mean.size,), (1,), threads)
    args = (x, weight, bias, mean, rstd, y, *sizes, num_groups, tiles.columns, *cut, bool(silu))
    _over_units(f"normalise<{kinds}, {width}>", args, len(x), tiles)
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
    g, x, weight, bias, mean, rstd = _in_order(g, x, weight, bias, mean, rstd)
    dx = empty(x.shape, x)
    averages = empty((len(x), num_groups, 2), mean)
    positions, channels, width, tiles = _shape(x, g, x, dx)
    partial = empty((len(x), tiles.units, 2, channels), mean)
    sizes, grid = (positions, channels, num_groups), (tiles.columns, tiles.unit, tiles.units, bool(silu))

    kinds = f"{ctype(x.dtype)}, {ctype(mean.dtype)}"
    args = (g, x, weight, bias, mean, rstd, partial, *sizes, *grid)
    _over_units(f"gradient_sums<{kinds}, {width}>", args, len(x), tiles)
    threads = _threads_of_group(partial, num_groups)
    args = (partial, weight, averages, *sizes, tiles.units)
    _source.launch(f"group_averages<{kinds}, {threads}>", args, (mean.size,), (1,), threads)
    args = (g, x, weight, bias, mean, rstd, averages, dx, *sizes, *grid)
    _over_units(f"input_gradient<{kinds}, {width}>", args, len(x), tiles)
    if weight is None and bias is None:
        return dx, None, None
    sums = column_sums(partial.reshape(1, len(x) * tiles.units, 2 * channels), x.dtype).reshape(2, channels)
    return dx, None if weight is None else sums[1], None if bias is None else sums[0]


def _in_order(*arrays: Array | None) -> tuple[Any, ...]:
    return tuple([None if a is None else contiguous(a) for a in arrays])


def _shape(x: Array, *arrays: Array) -> tuple[int, int, int, Tiling]:
    """Positions and channels of a sample; how many channels are moved at once; and the blocks for it."""
    positions, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    width = vector_width(channels, *arrays)
    return positions, channels, width, tiling(positions, channels // width, each=8)


def _over_units(kernel: str, args: tuple, samples: int, tiles: Tiling) -> None:
    _source.launch(kernel, args, (samples * tiles.units, tiles.vectors), (1, tiles.columns), 256)


def _threads_of_group(partial: Array, groups: int) -> int:
    """For the sums over units and channels of one group: a warp, or a block where that has many to add up."""
    _, units, _, channels = partial.shape
    return 32 if units * (channels // groups) <= 1024 else 256
