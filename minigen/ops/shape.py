"""Operations that move elements without changing them: reshape, transpose, slicing, joining, padding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ..autograd import Part, is_grad_enabled, primitive
from ..backend import Array, array_module, kernels_for, on_device_of, on_gpu, pays, to_device
from ..tensor import Tensor, array_of, tensor
from .elementwise import operands

LARGE_COPY = 2**16  # numbers from which on a kernel copies faster than NumPy


def _as_tuple(arguments: tuple) -> tuple[int, ...]:
    """f(x, 2, 3) and f(x, (2, 3)) mean the same."""
    first = arguments[0] if len(arguments) == 1 else arguments
    return tuple(int(n) for n in first) if isinstance(first, Iterable) else (int(first),)


@primitive
def _reshape(x, *, shape):
    return x.reshape(shape)


@_reshape.vjp
def _(g, _y, _x, *, shape):
    return _reshape(g, shape=_x.shape)


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same elements, in the same order, in another shape; one length may be -1."""
    return _reshape(x, shape=_as_tuple(shape))


@primitive
def _transpose(x, *, axes):
    return x.transpose(axes)


@_transpose.vjp
def _(g, _y, _x, *, axes):
    return _transpose(g, axes=tuple(int(i) for i in np.argsort(axes)))


@primitive
def _to(x, *, device, home):
    return to_device(x, device)


@_to.vjp
def _(g, _y, _x, *, device, home):
    return to(g, home)


def to(x: Tensor, device: str) -> Tensor:
    """x on another device; its gradient comes back. See `Tensor.to`."""
    return _to(x, device=device, home=x.device)


def transpose(x: Any, *axes: Any) -> Tensor:
    """The axes in another order; reversed if none is given."""
    ndim = np.ndim(array_of(x))
    order = _as_tuple(axes) if axes and axes != (None,) and ndim else tuple(range(ndim))[::-1]
    if sorted(a % ndim if -ndim <= a < ndim else a for a in order) != list(range(ndim)):
        raise ValueError(f"transpose: axes {order} are not an order of the {ndim} axes of shape {x.shape}")
    return _transpose(x, axes=tuple(a % ndim for a in order))


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    order = list(range(x.ndim))
    a, b = (normalize_axis_index(axis, x.ndim) for axis in (axis1, axis2))
    order[a], order[b] = b, a
    return _transpose(x, axes=tuple(order))


def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the axes of length 1 (or only without those in `axis`)."""
    return reshape(x, np.squeeze(np.broadcast_to(np.zeros(()), x.shape), axis=axis).shape)


def expand_dims(x: Any, axis: Any) -> Tensor:
    """With a new axis of length 1 at position `axis` of the result."""
    return reshape(x, np.expand_dims(np.broadcast_to(np.zeros(()), x.shape), axis).shape)


@primitive
def _broadcast_to(x, *, shape):
    return np.broadcast_to(x, shape)


@_broadcast_to.vjp
def _(g, _y, _x, *, shape):
    return g  # the engine sums it


def broadcast_to(x: Any, *shape: Any) -> Tensor:
    """Repeats axes of length 1, and new leading axes, to fill `shape`."""
    return _broadcast_to(x, shape=_as_tuple(shape))


@primitive
def _getitem(x, *, index):
    return x[index]


@_getitem.vjp
def _(g, _y, _x, *, index):
    return Part(lambda: _scatter(g, index=index, shape=_x.shape), lambda total: _add_at(total, index, g.data))


@primitive
def _scatter(g, *, index, shape):
    if _has_arrays(index):
        return _sum_at(g, index, shape)
    y = np.zeros_like(g, shape=shape)
    _add_at(y, index, g)
    return y


@_scatter.vjp
def _(h, _y, _g, *, index, shape):
    return _getitem(h, index=index)


def _add_at(y: Array, index: Any, g: Array) -> None:
    """The same, added to y in place."""
    if _has_arrays(index):
        y += _sum_at(g, index, y.shape)
    elif on_gpu(y):
        part = y[index]  # a view, even of a single element
        part += g
    elif pays(LARGE_COPY, g):
        kernels_for(y).add_([y[index]], [g])
    else:
        y[index] += g


def _sum_at(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """The same for an index with arrays, where elements that are named twice get both. Axes after the last that the
    index is about move as one row."""
    named = len(shape) if any(i is Ellipsis for i in _parts(index)) else sum(_axes_of(i) for i in _parts(index))
    rows = array_module(g).arange(math.prod(shape[:named])).reshape(shape[:named])
    return sum_rows(g, rows[index], shape, named)


def sum_rows(g: Array, rows: Array, shape: tuple[int, ...], axes: int) -> Array:
    """Zeros of `shape` with the rows of g added to the rows of these numbers, one by one, in order, on any device: the
    first `axes` axes of `shape` count the rows, the others make up one."""
    count, columns = math.prod(shape[:axes]), math.prod(shape[axes:])
    wide = g.reshape(rows.size, columns).astype(np.promote_types(g.dtype, np.float32), copy=False)
    y = kernels_for(g).index_add((count, columns), rows.ravel(), wide)
    return y.astype(g.dtype, copy=False).reshape(shape)


def _parts(index: Any) -> tuple:
    return index if isinstance(index, tuple) else (index,)


def _has_arrays(index: Any) -> bool:
    """Whether x[index] is a copy; without arrays (True counts as one) it is a view."""
    return any(isinstance(i, (bool, np.bool_, np.ndarray)) or on_gpu(i) for i in _parts(index))


def _axes_of(part: Any) -> int:
    """How many axes one part of an index is about."""
    if part is None or isinstance(part, (bool, np.bool_)):
        return 0
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def _as_array(index: Any, device: str) -> Array:
    """A copy on the device: the backward pass needs what is in it now."""
    if isinstance(index, Sequence):
        index = np.array(index)
        index = index.astype(int) if index.shape == (0,) else index  # [] has no dtype
    array = index.data if isinstance(index, Tensor) else index
    moved = to_device(array, device)
    with on_device_of(moved):
        return moved.astype(np.int64 if moved.dtype.kind in "iu" else moved.dtype, copy=moved is array)


def getitem(x: Any, index: Any) -> Tensor:
    """`x[index]`: slices, None, Ellipsis, ints, and integer or bool arrays (on any device), as in NumPy."""
    x = x if isinstance(x, Tensor) else tensor(x)
    arrays = (Tensor, Sequence, np.ndarray)
    plain = tuple(_as_array(i, x.device) if isinstance(i, arrays) or on_gpu(i) else i for i in _parts(index))
    return _getitem(x, index=plain if isinstance(index, tuple) else plain[0])


@primitive
def _concatenate(*xs, axis):
    xs = operands(*xs)
    if axis % xs[0].ndim == xs[0].ndim - 1 and pays(LARGE_COPY, *xs):
        return kernels_for(xs[0]).join(xs)
    return np.concatenate(xs, axis=axis)


@_concatenate.vjp
def _(g, _y, *_xs, axis):
    ends = np.cumsum([x.shape[axis] for x in _xs])[:-1]
    return tuple([_in_order(part, g) for part in split(g, [int(e) for e in ends], axis)])


def _in_order(part: Tensor, whole: Tensor) -> Any:
    """A part of a large tensor as an array of its own, made when it is needed: what comes next is then faster."""
    if is_grad_enabled() or not pays(LARGE_COPY, whole.data):
        return part
    return lambda: Tensor(kernels_for(part.data).copy(part.data))


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Joins tensors along an existing axis; the other axes must agree."""
    if not tensors:
        raise ValueError("concatenate: needs at least one tensor")
    shapes = [np.shape(array_of(t)) for t in tensors]
    ndim = len(shapes[0])
    if not -ndim <= axis < ndim:
        raise ValueError(f"concatenate: axis {axis} is out of range for shape {shapes[0]}")
    rest = [s[: axis % ndim] + s[axis % ndim + 1 :] for s in shapes]
    if any(len(s) != ndim for s in shapes) or any(r != rest[0] for r in rest):
        raise ValueError(f"concatenate: shapes {shapes} differ in an axis other than {axis}")
    return _concatenate(*tensors, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Joins tensors of one shape along a new axis."""
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


def split(x: Any, indices: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts of `x` along `axis`: an int gives that many equal parts, a list the positions of the cuts."""
    n = x.shape[axis]
    if isinstance(indices, (int, np.integer)):
        if indices < 1 or n % indices:
            raise ValueError(f"split: axis {axis} of shape {x.shape} cannot be cut into {indices} equal parts")
        indices = list(range(n // indices, n, n // indices)) if n else [0] * (indices - 1)
    before = (slice(None),) * (axis % x.ndim)
    cuts = [None, *indices, None]
    return [getitem(x, (*before, slice(a, b))) for a, b in itertools.pairwise(cuts)]


@primitive
def _zero_pad(x, *, pad_width):
    return np.pad(x, pad_width)


@_zero_pad.vjp
def _(g, _y, _x, *, pad_width):
    return getitem(g, tuple(slice(b, b + n) for (b, _), n in zip(pad_width, _x.shape, strict=True)))


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """NumPy's pad: (before, after) elements for each axis; mode 'constant', 'reflect' or 'edge'."""
    if mode not in ("constant", "reflect", "edge"):
        raise ValueError(f"pad: mode {mode!r} is unknown: choose 'constant', 'reflect' or 'edge'")
    widths = tuple((int(b), int(a)) for b, a in np.broadcast_to(pad_width, (x.ndim, 2)))
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(f"pad: widths {widths} must not be negative")
    if mode == "constant":
        y = _zero_pad(x, pad_width=widths)
        if constant_values == 0:
            return y
        with on_device_of(y.data):
            return y + np.pad(np.zeros_like(array_of(x)), widths, constant_values=constant_values)
    for axis, width in enumerate(widths):
        if any(width):
            positions = np.pad(np.arange(x.shape[axis]), width, mode=mode)  # type: ignore[call-overload]
            x = take(x, positions, axis)
    return x if isinstance(x, Tensor) else Tensor(x)


def take(x: Any, indices: Any, axis: int) -> Tensor:
    """The slices of `x` at `indices` along `axis`."""
    return getitem(x, (slice(None),) * normalize_axis_index(axis, x.ndim) + (indices,))


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element `repeats` times (a number, or one for each position along `axis`); flat if axis is None."""
    if axis is None:
        return repeat(reshape(x, -1), repeats, 0)
    if not isinstance(repeats, (int, np.integer)):
        return take(x, np.repeat(np.arange(x.shape[axis]), to_device(array_of(repeats), "cpu")), axis)
    a, n = axis % x.ndim, x.shape[axis]
    before, after = x.shape[:a], x.shape[a + 1 :]
    copies = broadcast_to(reshape(x, (*before, n, 1, *after)), (*before, n, int(repeats), *after))
    return reshape(copies, (*before, n * int(repeats), *after))


def tile(x: Any, reps: Any) -> Tensor:
    """The whole tensor repeated `reps` times along each axis, as NumPy's tile."""
    reps = _as_tuple((reps,))
    ndim = max(x.ndim, len(reps))
    shape = (1,) * (ndim - x.ndim) + x.shape
    reps = (1,) * (ndim - len(reps)) + reps
    paired = [n for r, s in zip(reps, shape, strict=True) for n in (r, s)]
    copies = broadcast_to(reshape(x, [n for s in shape for n in (1, s)]), paired)
    return reshape(copies, [r * s for r, s in zip(reps, shape, strict=True)])


def flip(x: Any, axis: Any = None) -> Tensor:
    """The elements in reverse order along `axis` (an int, a tuple, or None for all)."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    backwards = {normalize_axis_index(a, x.ndim) for a in axes}
    return getitem(x, tuple(slice(None, None, -1 if i in backwards else 1) for i in range(x.ndim)))
