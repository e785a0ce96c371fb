"""Reductions: sum, mean, var, max, min, prod, logsumexp, cumsum; and argmax, argmin without gradient.

`axis` is None (all axes), an int or a tuple of ints; `keepdims` keeps the reduced axes with length 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import Array, array_module, kernels_for, kernels_take, on_device_of, pays
from ..tensor import Tensor, array_of
from .elementwise import constant, exp, floating, where
from .shape import broadcast_to, concatenate, flip, reshape


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Every form of `axis` as a tuple of non-negative ints."""
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"axis {a} is out of bounds for a tensor with {ndim} axes")
    return tuple(a % ndim for a in axes)


def _kept(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape with `keepdims=True`."""
    axes = _axes(axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements go into one."""
    return int(np.prod([shape[a] for a in _axes(axis, len(shape))], dtype=int))


LARGE = 2**15  # numbers from which on a kernel sums faster over the first axis than NumPy; any number on a GPU


@primitive
def _sum(x, *, axis, keepdims):
    if kernels_take(x):
        axes = sorted(_axes(axis, x.ndim))
        between = axes and axes == list(range(axes[0], x.ndim - 1))  # neighbours, and only the channels after them
        if between and (axes[0] > 0 or pays(LARGE, x)):
            before, positions = x.shape[: axes[0]], x.shape[axes[0] : -1]
            y = kernels_for(x).sum_positions(x.reshape(math.prod(before), math.prod(positions), x.shape[-1]))
            return y.reshape(_kept(x.shape, axis) if keepdims else (*before, x.shape[-1]))
    return x.sum(axis=axis, keepdims=keepdims)


@_sum.vjp
def _(g, _y, _x, *, axis, keepdims):
    return broadcast_to(reshape(g, _kept(_x.shape, axis)), _x.shape)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _sum(x, axis=axis, keepdims=keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over the number of elements; of integers, as float32."""
    return sum(x, axis, keepdims) / _count(np.shape(x), axis)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Population variance (ddof 0): the mean squared distance from the mean."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


@primitive
def _max(x, *, axis, keepdims):
    return x.max(axis=axis, keepdims=keepdims)


@primitive
def _min(x, *, axis, keepdims):
    return x.min(axis=axis, keepdims=keepdims)


@_max.vjp
@_min.vjp
def _(g, y, x, *, axis, keepdims):
    """The gradient goes to the extreme element; where several are equal, in equal parts to each."""
    kept = _kept(x.shape, axis)
    chosen = (x == reshape(y, kept)).astype(g.dtype)
    return reshape(g, kept) * (chosen / sum(chosen, axis, keepdims=True))


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _max(x, axis=axis, keepdims=keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _min(x, axis=axis, keepdims=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product, taken by pairs, then pairs of pairs: its derivative is right where elements are 0, as y / x
    would not be."""
    if x.dtype.kind != "f":
        with on_device_of(array_of(x)):
            return constant(array_of(x).prod(axis=axis, keepdims=keepdims))
    axes = _axes(axis, x.ndim)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    y = x.transpose(*others, *axes).reshape(*[x.shape[i] for i in others], _count(x.shape, axis))
    if y.shape[-1] == 0:
        with on_device_of(y.data):
            y = concatenate([y, array_module(y.data).ones((*y.shape[:-1], 1), x.dtype)], axis=-1)
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        y = concatenate([y[..., :half] * y[..., half : 2 * half], y[..., 2 * half :]], axis=-1)
    shape = _kept(x.shape, axis) if keepdims else tuple(x.shape[i] for i in others)
    return reshape(y, shape)


def largest(x: Array, axis: Any) -> Array:
    """The maximum along `axis`, which stays with length 1; -inf where there is nothing."""
    if _count(x.shape, axis) == 0:
        return np.full_like(x, -np.inf, shape=_kept(x.shape, axis))
    return x.max(axis=axis, keepdims=True)


@primitive
def _logsumexp(x, *, axis, keepdims):
    x = floating(x)
    top = largest(x, axis)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):  # a row of -inf has the logarithm of 0
        y = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return y if keepdims else y.squeeze(axis)


@_logsumexp.vjp
def _(g, y, x, *, axis, keepdims):
    kept = _kept(x.shape, axis)
    y = reshape(where(y == -np.inf, 0.0, y), kept)
    return reshape(g, kept) * exp(x - y)  # the softmax


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow."""
    return _logsumexp(x, axis=axis, keepdims=keepdims)


@primitive
def _cumsum(x, *, axis):
    return x.cumsum(axis=axis)


@_cumsum.vjp
def _(g, _y, _x, *, axis):
    return flip(_cumsum(flip(g, axis), axis=axis), axis)


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """Running sum along `axis`; of the flattened tensor if it is None."""
    return _cumsum(reshape(x, -1), axis=0) if axis is None else _cumsum(x, axis=axis)


def argmax(x: Any, axis: int | None = None) -> Tensor:
    """Index of the (first) largest element, int64, without gradient."""
    with on_device_of(array_of(x)):
        return constant(array_of(x).argmax(axis=axis))


def argmin(x: Any, axis: int | None = None) -> Tensor:
    """Index of the (first) smallest element, int64, without gradient."""
    with on_device_of(array_of(x)):
        return constant(array_of(x).argmin(axis=axis))
