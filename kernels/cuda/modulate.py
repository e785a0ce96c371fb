"""What a modulated layer does besides its convolution, in one pass: see modulate.cu."""

from __future__ import annotations

import math
from typing import Any

from kernels import checks
from kernels.cuda.arrays import empty, in_order
from kernels.cuda.columns import THREADS, Tiling, tiling
from kernels.cuda.launch import Source, ctype, vector_width
from kernels.cuda.sums import column_sums

Array = Any  # cupy.ndarray

_source = Source("modulate.cu")

EACH = 8  # positions of a thread


def modulate(
    x: Array,
    scale: Array | None = None,
    noise: Array | None = None,
    bias: Array | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> Array:
    """y = gain leaky_relu(scale x + noise + bias) for x (N,*S,C), scale (N,C), noise (N,*S,1), bias (C,)."""
    checks.modulate(x, scale, noise, bias, slope)
    x, scale, noise, bias = in_order(x, scale, noise, bias)
    y = empty(x.shape, x)
    width = vector_width(x.shape[-1], x, scale, bias, y)
    _launch("modulate", (x, scale, noise, bias, y), x, width, _tiles(x, width), slope, gain)
    return y


def modulate_backward(
    g: Array,
    x: Array,
    scale: Array | None = None,
    noise: Array | None = None,
    bias: Array | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """(dx, dscale, dnoise, dbias) for the gradient g of y. `kernels.reference.modulate_backward` derives it."""
    checks.modulate_backward(g, x, scale, noise, bias, slope)
    g, x, scale, noise, bias = in_order(g, x, scale, noise, bias)
    samples, channels = len(x), x.shape[-1]
    dx = empty(x.shape, x)
    width = vector_width(channels, x, g, scale, bias, dx)
    tiles = _tiles(x, width)
    sums = empty((2, samples * tiles.units, channels), x)
    across = -(-tiles.vectors // max(1, tiles.columns))  # tiles next to each other
    dnoise = None if noise is None else empty((1, across, noise.size), x)
    _launch("modulate_backward", (g, x, scale, noise, bias, dx, dnoise, sums), x, width, tiles, slope, gain)
    dscale = None if scale is None else column_sums(sums[1].reshape(samples, tiles.units, channels), x.dtype)
    dbias = None if bias is None else column_sums(sums[:1], x.dtype).reshape(channels)
    if dnoise is not None:
        dnoise = (dnoise if across == 1 else column_sums(dnoise, x.dtype)).reshape(noise.shape)
    return dx, dscale, dnoise, dbias


def _tiles(x: Array, width: int) -> Tiling:
    tiles = tiling(0, x.shape[-1] // width, EACH)
    return tiles._replace(units=max(1, -(-math.prod(x.shape[1:-1]) // tiles.unit)))


def _launch(kernel: str, arrays: tuple, x: Array, width: int, tiles: Tiling, slope: float, gain: float) -> None:
    sizes = math.prod(x.shape[1:-1]), x.shape[-1], tiles.columns, tiles.unit, tiles.units
    over, tile = (len(x) * tiles.units, tiles.vectors), (1, max(1, tiles.columns))
    args = (*arrays, *sizes, float(slope), float(gain))
    _source.launch(f"{kernel}<{ctype(x.dtype)}, {width}>", args, over, tile, THREADS)
