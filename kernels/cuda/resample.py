"""FIR resampling: upsampling, filtering and downsampling an image in one kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels import checks
from kernels.checks import IntOrInts, Resampling
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype, shared_memory, vector_width

Array = Any  # cupy.ndarray

AXIS = np.dtype([(field, np.int32) for field in ("size", "out", "up", "down", "before")])
COLUMNS = 64  # of a tile, each a vector of channels; see the .cu file
MOST_VECTORS = 8  # of a pixel in one tile: 128 bytes, a line of the cache
SPAN = 16  # rows of a tile, before every `down`-th is taken

_source = Source("resample.cu", structs={"Axis": AXIS})


def upfirdn2d(x: Array, taps: Array, up: IntOrInts = 1, down: IntOrInts = 1, padding: Sequence[Any] = (0, 0)) -> Array:
    """x (N,H,W,C) with zeros put between and around its pixels, filtered by taps (k,) along both axes, thinned out:
    (N,Ho,Wo,C) with Ho = (H up + before + after - k) // down + 1. Karras et al. 2020, arXiv:1912.04958."""
    rows, columns = checks.upfirdn2d(x, taps, up, down, padding)
    x, taps = contiguous(x), contiguous(taps)
    samples, height, width, channels = x.shape
    y = empty((samples, rows.out, columns.out, channels), x)
    step = vector_width(channels, x, y)
    vectors = channels // step
    chunk = min(max(vectors, 1), MOST_VECTORS)
    tile_rows = max(1, SPAN // rows.down)
    row_bytes = COLUMNS * step * x.dtype.itemsize  # of a row of x that a tile sees, in shared memory
    most = shared_memory(x) // row_bytes
    if height > most:
        if taps.size > most * rows.up:
            raise ValueError(
                f"upfirdn2d: {taps.size} taps are too many for x {x.shape}: {most * rows.up} fit the shared memory of "
                "this GPU"
            )
        tile_rows = min(tile_rows, (most * rows.up - taps.size) // rows.down + 1)
    seen = min(height, ((tile_rows - 1) * rows.down + taps.size - 1) // rows.up + 1)  # rows of x by a tile, at most
    args = (x, taps, y, _axis(height, rows), _axis(width, columns), taps.size, vectors, chunk, tile_rows)
    tiles = samples, -(-rows.out // tile_rows), -(-columns.out // (COLUMNS // chunk)), -(-vectors // chunk)
    _source.launch(
        f"upfirdn2d<{ctype(x.dtype)}, {step}>",
        args,
        over=(math.prod(tiles),),
        tile=(1,),
        threads=256,
        shared=seen * row_bytes,
    )
    return y


def _axis(size: int, along: Resampling) -> np.ndarray:
    return np.array((size, along.out, along.up, along.down, along.before), AXIS)
