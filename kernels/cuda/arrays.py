"""New arrays on the device of another, and arrays as kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Array = Any  # cupy.ndarray


def on_gpu(value: Any) -> bool:
    """Whether it is a CuPy array."""
    return hasattr(type(value), "__cuda_array_interface__")


def empty(shape: Sequence[int], like: Array, dtype: Any = None) -> Array:
    """An array with no values yet on the device of `like`, and of its dtype unless another is given."""
    import cupy

    with like.device:
        return cupy.empty(tuple(shape), like.dtype if dtype is None else dtype)


def zeros(shape: Sequence[int], like: Array, dtype: Any = None) -> Array:
    """The same, full of zeros."""
    import cupy

    with like.device:
        return cupy.zeros(tuple(shape), like.dtype if dtype is None else dtype)


def contiguous(x: Array) -> Array:
    """x itself if its numbers lie in order, else a copy in which they do; on the device of x."""
    import cupy

    if x.flags.c_contiguous:
        return x
    with x.device:
        return cupy.ascontiguousarray(x)


def in_order(*arrays: Array | None) -> tuple[Any, ...]:
    """`contiguous` for each of them; None stays None."""
    return tuple([None if a is None else contiguous(a) for a in arrays])


def with_strides(x: Array) -> tuple[Array, tuple[int, ...]]:
    """For kernels that are told how an array lies: contiguous memory with its numbers, others between them perhaps, and
    how many numbers further the next one along each axis is, 0 if there is only one. No copy, unless an axis runs
    backwards.
    """
    import cupy

    x = x if min(x.strides, default=0) >= 0 else contiguous(x)
    strides = tuple(stride // x.dtype.itemsize if size > 1 else 0 for size, stride in zip(x.shape, x.strides))
    if x.flags.c_contiguous:
        return x, strides
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, strides))
    with x.device:
        return cupy.ndarray((span,), x.dtype, x.data), strides
