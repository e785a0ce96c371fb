"""Cases of `minigen/ops/shape.py`."""

import itertools
import math

import numpy as np

import minigen

from .drawing import case


@case("reshape")
def _(d):
    shape = d.shape()
    other = [shape[i] for i in d.permutation(len(shape))]
    if len(other) > 1 and d.flag():
        other = [other[0] * other[1], *other[2:]]
    sizes = tuple(other)
    if other and 0 not in other and d.flag():
        other[d.int(0, len(other) - 1)] = -1
    new, apart = tuple(other), d.flag()

    def formula(x):  # element i of the flat order stays element i
        y = np.empty(sizes)
        for place, value in zip(np.ndindex(sizes), (x[p] for p in np.ndindex(x.shape)), strict=True):
            y[place] = value
        return y

    return lambda x: minigen.reshape(x, *new) if apart else minigen.reshape(x, new), [d.normal(shape)], formula


@case("transpose")
def _(d):
    shape = d.shape()
    axes = tuple(d.permutation(len(shape)))
    given = () if d.flag() else tuple(a - len(shape) if d.flag() else a for a in axes)
    order = axes if given else tuple(reversed(range(len(shape))))
    return lambda x: minigen.transpose(x, *given), [d.normal(shape)], lambda x: np.moveaxis(x, order, range(x.ndim))


@case("swapaxes")
def _(d):
    shape = d.shape(min_axes=1)
    a, b = d.axis(len(shape)), d.axis(len(shape))
    letters = list("abcd"[: len(shape)])
    swapped = list(letters)
    swapped[a], swapped[b] = swapped[b], swapped[a]
    spell = f"{''.join(letters)}->{''.join(swapped)}"
    return lambda x: minigen.swapaxes(x, a, b), [d.normal(shape)], lambda x: np.einsum(spell, x)


@case("squeeze")
def _(d):
    shape = d.shape()
    ones = [i - d.choice(0, len(shape)) for i, n in enumerate(shape) if n == 1]
    axis = d.choice(None, tuple(ones), *ones)
    return lambda x: minigen.squeeze(x, axis), [d.normal(shape)], lambda x: np.squeeze(x, axis)


@case("expand_dims")
def _(d):
    shape = d.shape(max_axes=3)
    axis = d.choice(d.axis(len(shape) + 1), (0, -1))
    return lambda x: minigen.expand_dims(x, axis), [d.normal(shape)], lambda x: np.expand_dims(x, axis)


@case("broadcast_to")
def _(d):
    full = d.shape()
    shape = tuple(1 if n and d.flag() else n for n in full[d.int(0, len(full)) :])
    return lambda x: minigen.broadcast_to(x, full), [d.normal(shape)], lambda x: x + np.zeros(full)


def draw_slice(d, n):
    ends = (None, None, *range(-n - 1, n + 2))
    return slice(d.choice(*ends), d.choice(*ends), d.choice(None, 1, 2, -1, -2))


@case("getitem")
def _(d):
    """Slices of either direction, numbers, Ellipsis and new axes."""
    shape = d.shape()
    index = [d.int(-n, n - 1) if n and d.int(0, 3) == 3 else draw_slice(d, n) for n in shape]
    if d.flag():
        index[d.int(0, len(index)) :] = [...]
    if d.flag():
        index.insert(d.int(0, len(index)), None)
    index = index[0] if len(index) == 1 else tuple(index)
    return lambda x: minigen.getitem(x, index), [d.normal(shape)], lambda x: x[index]


@case("getitem", "at integers")
def _(d):
    """Arrays, Tensors, lists and tuples of integers, repeated and negative ones among them, beside slices."""
    shape = d.shape(min_axes=1, empty=False)
    index = [draw_slice(d, n) for n in shape]
    places = d.choice(*itertools.combinations(range(len(shape)), 1), *itertools.combinations(range(len(shape)), 2))
    among = d.choice((), (4,), (2, 3))
    numbers = {p: d.integers(-shape[p], shape[p] - 1, among) for p in places}
    spelled, plain = list(index), list(index)
    for p, array in numbers.items():
        forms = {"array": array, "tensor": minigen.tensor(array), "list": array.tolist()}
        if array.ndim:
            forms["tuple"] = tuple(array.tolist())
        spelled[p], plain[p] = forms[d.choice(*forms)], array
    return lambda x: minigen.getitem(x, tuple(spelled)), [d.normal(shape)], lambda x: x[tuple(plain)]


@case("getitem", "where a mask holds")
def _(d):
    shape = d.shape(min_axes=1)
    mask = d.bools(shape[: d.int(1, len(shape))])
    index = d.choice(mask, minigen.tensor(mask), mask.tolist() if mask.size else mask)
    rows = [tuple(place) for place in np.argwhere(mask)]
    tail = shape[mask.ndim :]
    return (
        lambda x: minigen.getitem(x, index),
        [d.normal(shape)],
        lambda x: np.array([x[place] for place in rows]).reshape((len(rows), *tail)),
    )


@case("concatenate")
def _(d):
    shape = d.shape(min_axes=1)
    axis = d.axis(len(shape))
    shapes = [
        (*shape[: axis % len(shape)], d.choice(2, 1, 3, 0), *shape[axis % len(shape) + 1 :]) for _ in range(d.int(1, 3))
    ]

    def formula(*xs):
        lengths = [x.shape[axis] for x in xs]
        y = np.empty([sum(lengths) if i == axis % len(shape) else n for i, n in enumerate(shape)])
        rows = np.moveaxis(y, axis, 0)
        for x, end in zip(xs, itertools.accumulate(lengths), strict=True):
            rows[end - x.shape[axis] : end] = np.moveaxis(x, axis, 0)
        return y

    return lambda *xs: minigen.concatenate(xs, axis), [d.normal(s) for s in shapes], formula


@case("stack")
def _(d):
    shape = d.shape(max_axes=3)
    axis = d.axis(len(shape) + 1)

    def formula(*xs):
        return np.moveaxis(np.array(xs), 0, axis)

    return lambda *xs: minigen.stack(xs, axis), [d.normal(shape) for _ in range(d.int(1, 3))], formula


@case("split")
def _(d):
    """One part of several: into equal ones, or at positions."""
    shape = d.shape(min_axes=1)
    axis = d.axis(len(shape))
    n = shape[axis]
    equal = d.flag()
    if equal:
        cuts = d.choice(*[k for k in range(1, n + 1) if n % k == 0] or [2])
        ends = [n // cuts * k for k in range(cuts + 1)]
    else:
        cuts = d.choice(sorted(d.int(0, n) for _ in range(d.int(0, 3))), [0, n, n], np.array([n // 2]))
        ends = [0, *(int(c) for c in cuts), n]
    part = d.int(0, len(ends) - 2)
    rows = range(ends[part], ends[part + 1])

    def formula(x):
        return np.moveaxis(np.array([np.moveaxis(x, axis, 0)[r] for r in rows]).reshape(others), 0, axis)

    others = (len(rows), *np.delete(shape, axis))
    return lambda x: minigen.split(x, cuts, axis)[part], [d.normal(shape)], formula


@case("pad")
def _(d):
    """Wider than the axis, too: then reflection goes back and forth."""
    mode = d.choice("constant", "reflect", "edge")
    shape = d.shape(min_axes=1, max_axes=3, empty=mode == "constant")
    widths = [(d.int(0, 3), d.int(0, 3)) for _ in shape]
    constant = d.choice(0, 1.5)

    def source(i, n):
        """Which element stands at position i, counted from the first; None for the constant."""
        if mode == "constant":
            return i if 0 <= i < n else None
        if mode == "edge" or n == 1:
            return min(max(i, 0), n - 1)
        i %= 2 * (n - 1)
        return min(i, 2 * (n - 1) - i)

    def formula(x):
        y = np.empty([b + n + a for n, (b, a) in zip(x.shape, widths, strict=True)])
        for place in np.ndindex(y.shape):
            at = [source(i - b, n) for i, n, (b, _) in zip(place, x.shape, widths, strict=True)]
            y[place] = constant if None in at else x[tuple(at)]
        return y

    if mode == "constant":
        return lambda x: minigen.pad(x, widths, constant_values=constant), [d.normal(shape)], formula
    return lambda x: minigen.pad(x, widths, mode), [d.normal(shape)], formula


@case("take")
def _(d):
    shape = d.shape(min_axes=1, empty=False)
    axis = d.axis(len(shape))
    indices = d.integers(-shape[axis], shape[axis] - 1, d.choice((), (4,), (2, 3)))

    def formula(x):
        rows = np.array([np.moveaxis(x, axis, 0)[i] for i in indices.ravel()])
        rows = rows.reshape((*indices.shape, *np.delete(x.shape, axis)))
        first = axis % x.ndim
        return np.moveaxis(rows, range(indices.ndim), range(first, first + indices.ndim))

    return lambda x: minigen.take(x, indices, axis), [d.normal(shape)], formula


@case("repeat")
def _(d):
    shape = d.shape()
    axis = d.choice(None, *([d.axis(len(shape))] if shape else []))
    n = math.prod(shape) if axis is None else shape[axis]
    repeats = d.choice(0, 1, 3, d.integers(0, 3, (n,)))
    counts = np.broadcast_to(repeats, (n,))

    def formula(x):
        x = x.reshape(-1) if axis is None else np.moveaxis(x, axis, 0)
        rows = [row for row, count in zip(x, counts, strict=True) for _ in range(count)]
        return np.moveaxis(np.array(rows).reshape(len(rows), *x.shape[1:]), 0, axis or 0)

    return lambda x: minigen.repeat(x, repeats, axis), [d.normal(shape)], formula


@case("tile")
def _(d):
    shape = d.shape(max_axes=3)
    reps = d.choice(2, (0, 2), *[tuple(d.choice(2, 1) for _ in range(k)) for k in range(1, 5)])

    def formula(x):
        times = (reps,) if isinstance(reps, int) else reps
        x = x.reshape((1,) * (len(times) - x.ndim) + x.shape)
        times = (1,) * (x.ndim - len(times)) + times
        y = np.empty([n * r for n, r in zip(x.shape, times, strict=True)])
        for place in np.ndindex(y.shape):
            y[place] = x[tuple(i % n for i, n in zip(place, x.shape, strict=True))]
        return y

    return lambda x: minigen.tile(x, reps), [d.normal(shape)], formula


@case("flip")
def _(d):
    shape = d.shape()
    axis = d.axes(len(shape))

    def formula(x):
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        for a in axes:
            x = np.moveaxis(np.array(list(np.moveaxis(x, a, 0))[::-1]).reshape(np.moveaxis(x, a, 0).shape), 0, a)
        return x

    return lambda x: minigen.flip(x, axis), [d.normal(shape)], formula
