"""Moving numbers: copies, joins, and pixels made larger or smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

_source = Source("rearrange.cu")


def copy(x: Array) -> Array:
    """A contiguous copy of x."""
    import cupy

    checks.copy(x)
    with x.device:
        return cupy.array(x, order="C")


def join(xs: Sequence[Array]) -> Array:
    """Arrays (..., C_i), whose other axes agree, joined along the last axis."""
    import cupy

    checks.join(xs)
    with xs[0].device:
        return contiguous(cupy.concatenate(xs, axis=-1))


def upsample(x: Array, factors: Sequence[int]) -> Array:
    """(N,*S,C) -> (N,*(S factors),C): every pixel becomes a block of equal ones."""
    checks.upsample(x, factors)
    x = contiguous(x)
    y = empty((x.shape[0], *(n * f for n, f in zip(x.shape[1:-1], factors)), x.shape[-1]), x)
    _launch("upsample", x, y, x.shape, factors)
    return y


def sum_blocks(x: Array, factors: Sequence[int]) -> Array:
    """(N,*(S factors),C) -> (N,*S,C): the sum of every block of pixels."""
    checks.sum_blocks(x, factors)
    x = contiguous(x)
    y = empty((x.shape[0], *(n // f for n, f in zip(x.shape[1:-1], factors)), x.shape[-1]), x)
    _launch("sum_blocks", x, y, y.shape, factors)
    return y


def _launch(kernel: str, x: Array, y: Array, smaller: Sequence[int], factors: Sequence[int]) -> None:
    """`smaller` is the shape of the smaller image. The axes that there are too few of are 1 long."""
    height, width = (1, *smaller[1:-1])[-2:]
    step = vector_width(smaller[-1], x, y)
    vectors = y.size // step
    args = (x, y, vectors, height, width, smaller[-1] // step, *(1,) * (3 - len(factors)), *factors)
    _source.launch(f"{kernel}<{ctype(x.dtype)}, {step}>", args, (vectors,), (256,), 256)
