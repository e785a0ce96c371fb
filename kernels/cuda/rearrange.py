"""Moving numbers: copies, joins, and pixels made larger or smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

_source = Source("rearrange.cu")


def upsample(x: Array, factors: Sequence[int]) -> Array:
    """(N,*S,C) -> (N,*(S factors),C): every pixel becomes a block of equal ones."""
    checks.upsample(x, factors)
    x = contiguous(x)
    samples, *sizes, channels = x.shape
    y = empty((samples, *(n * f for n, f in zip(sizes, factors)), channels), x)
    width = vector_width(channels, x, y)
    vectors, depth_first = y.size // width, (1,) * (3 - len(sizes))
    args = (x, y, vectors, *depth_first, *sizes, channels // width, *depth_first, *factors)
    _source.launch(f"upsample<{ctype(x.dtype)}, {width}>", args, (vectors,), (256,), 256)
    return y
