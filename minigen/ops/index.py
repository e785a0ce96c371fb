"""Looking elements up by integer indices: gather and embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import Array, array_module, device_of, on_device_of, to_device
from ..tensor import Tensor, array_of
from .shape import getitem, sum_rows


def integers(name: str, indices: Any, x: Any, axis: int, lowest: int = 0) -> Array:
    """Indices along an axis of x as an array on its device, checked: integers from `lowest` to the last place.

    A CPU raises IndexError for those out of range anyway; a GPU would read some other element without a word.
    """
    array, size = array_of(indices), x.shape[axis]
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices must be integers, got {array.dtype}")
    with on_device_of(array):
        if array.size and not (lowest <= array.min() and array.max() < size):
            raise IndexError(f"{name}: indices from {array.min()} to {array.max()} do not fit {lowest} to {size - 1}")
        array = array.astype(np.int64, copy=False)
    return to_device(array, device_of(x.data if isinstance(x, Tensor) else x))


@primitive
def _gather(x, *, indices, axis):
    return np.take_along_axis(x, indices, axis)


@_gather.vjp
def _(g, _y, _x, *, indices, axis):
    return _scatter_along(g, indices=indices, axis=axis, shape=_x.shape)


@primitive
def _scatter_along(g, *, indices, axis, shape):
    """Zeros of `shape` with every element of g added where gather took it from."""
    places = array_module(g).arange(math.prod(shape)).reshape(shape)
    return sum_rows(g, np.take_along_axis(places, indices, axis), shape, len(shape))


@_scatter_along.vjp
def _(h, _y, _g, *, indices, axis, shape):
    return _gather(h, indices=indices, axis=axis)


def gather(x: Any, indices: Any, axis: int) -> Tensor:
    """NumPy's take_along_axis: y[i, j] = x[indices[i, j], j] for axis 0, and so on; -1 is the last place."""
    return _gather(x, indices=integers("gather", indices, x, axis, lowest=-x.shape[axis]), axis=axis)


def embedding(indices: Any, weight: Any) -> Tensor:
    """Rows of a table. indices: integers of any shape, weight (number, C) -> (*indices.shape, C)."""
    return getitem(weight, integers("embedding", indices, weight, 0))
