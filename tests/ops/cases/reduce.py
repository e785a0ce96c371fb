"""Cases of `minigen/ops/reduce.py`."""

import functools
import math
import operator

import numpy as np

import minigen

from .drawing import case


def draw_reduction(d, nonempty):
    """A shape, which axes to reduce, and keepdims; with `nonempty` there is something along those axes."""
    shape = d.shape()
    axis = d.axes(len(shape))
    if nonempty:
        chosen = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        reduced = {a % len(shape) for a in chosen}
        shape = tuple(1 if i in reduced and n == 0 else n for i, n in enumerate(shape))
    return shape, axis, d.flag()


def over(x, axis, keepdims, function):
    """`function` of each list of the elements that go into one output."""
    axes = sorted(
        range(x.ndim) if axis is None else {a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    )
    kept = [i for i in range(x.ndim) if i not in axes]
    each = math.prod(x.shape[i] for i in axes)
    rows = x.transpose((*kept, *axes)).reshape((*(x.shape[i] for i in kept), each))
    y = np.empty(rows.shape[:-1])
    for place in np.ndindex(y.shape):
        y[place] = function(list(rows[place]))
    return np.expand_dims(y, tuple(axes)) if keepdims else y


def reduction(name, function, values=lambda d, shape: d.normal(shape), nonempty=True):
    operate = getattr(minigen, name)

    @case(name)
    def _(d):
        shape, axis, keepdims = draw_reduction(d, nonempty)
        return (
            lambda x: operate(x, axis, keepdims),
            [values(d, shape)],
            lambda x: over(x, axis, keepdims, function),
        )


def average(xs):
    return sum(xs) / len(xs)


def values_with_zeros(d, shape):
    x = d.normal(shape)
    return np.where(d.integers(0, 3, shape) == 0, 0.0, x)


reduction("sum", sum, nonempty=False)
reduction("mean", average)
reduction("var", lambda xs: average([(x - average(xs)) ** 2 for x in xs]))
reduction("max", max, values=lambda d, shape: d.spaced(shape))
reduction("min", min, values=lambda d, shape: d.spaced(shape))
reduction("prod", lambda xs: functools.reduce(operator.mul, xs, 1.0), values=values_with_zeros, nonempty=False)
reduction("logsumexp", lambda xs: np.log(sum(np.exp(xs))))


@case("cumsum")
def _(d):
    shape = d.shape(min_axes=1)
    axis = d.choice(None, d.axis(len(shape)))
    x = d.normal(shape)

    def formula(x):
        x = x.reshape(-1) if axis is None else x
        lower = np.tri(x.shape[axis or 0])
        return np.moveaxis(np.tensordot(lower, x, axes=(1, axis or 0)), 0, axis or 0)

    return lambda x: minigen.cumsum(x, axis), [x], formula


def place_of(name, better):
    operate = getattr(minigen, name)

    @case(name, differentiable=False)
    def _(d):
        """Whole numbers, many of them equal: the first one counts."""
        shape = d.shape(min_axes=1, empty=False)
        axis = d.choice(None, d.axis(len(shape)))

        def first(xs):
            best = 0
            for i, x in enumerate(xs):
                best = i if better(x, xs[best]) else best
            return best

        def formula(x):
            return over(x, axis, False, first).astype(np.int64)

        return lambda x: operate(x, axis), [d.integers(-2, 2, shape) / 2.0], formula


place_of("argmax", operator.gt)
place_of("argmin", operator.lt)
