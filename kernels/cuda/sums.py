"""Sums over positions."""

from __future__ import annotations

from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.columns import THREADS, tiling
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

_source = Source("sums.cu")


def sum_positions(x: Array) -> Array:
    """(N,M,C) -> (N,C), the sum over M; taken in float64."""
    checks.sum_positions(x)
    return column_sums(contiguous(x), x.dtype)


def column_sums(x: Array, dtype: Any) -> Array:
    """The same of a contiguous array, in any dtype."""
    samples, positions, channels = x.shape
    width = vector_width(channels, x)
    tiles = tiling(positions, channels // width, each=16)
    y = empty((samples, tiles.units, channels), x, dtype if tiles.units == 1 else "float64")
    kernel = f"sum_columns<{ctype(x.dtype)}, {ctype(y.dtype)}, {width}>"
    args = (x, y, positions, channels, tiles.columns, tiles.unit, tiles.units)
    _source.launch(kernel, args, (samples * tiles.units, tiles.vectors), (1, max(1, tiles.columns)), THREADS)
    return y.reshape(samples, channels) if tiles.units == 1 else column_sums(y, dtype)
