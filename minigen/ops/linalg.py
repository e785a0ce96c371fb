"""Products of matrices: matmul, einsum; and the norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import kernels_for, on_device_of
from ..tensor import Tensor, array_of
from .elementwise import astype, operands, sqrt, where
from .reduce import sum
from .shape import getitem, reshape, swapaxes


@primitive
def _matmul(a, b):
    if a.ndim == b.ndim == 2 and a.dtype.kind == "f":
        return kernels_for(a).matmul(a, b)
    return a @ b


@_matmul.vjp
def _(g, _y, a, b):
    return lambda: _matmul(g, swapaxes(b, -1, -2)), lambda: _matmul(swapaxes(a, -1, -2), g)


def _tensors(*xs: Any) -> list[Tensor]:
    """Factors as Tensors, of one dtype as far as an integer meets a float."""
    given = [x if isinstance(x, Tensor) else Tensor(array_of(x)) for x in xs]
    with on_device_of(given[0].data):
        alike = operands(*[x.data for x in given])
    return [x if x.data is array else Tensor(array) for x, array in zip(given, alike, strict=True)]


def matmul(a: Any, b: Any) -> Tensor:
    """Matrix product of the last two axes, (..., n, k) @ (..., k, m) -> (..., n, m), broadcasting the others.

    A 1-D operand is a row on the left, a column on the right, and its axis is dropped from the result.
    """
    a, b = _tensors(a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: needs at least one axis on each side, got shapes {a.shape} and {b.shape}")
    if a.ndim == 1:
        y = matmul(reshape(a, 1, -1), b)
        return reshape(y, y.shape[:-2] + y.shape[-1:]) if b.ndim > 1 else reshape(y, y.shape[1:])
    if b.ndim == 1:
        y = matmul(a, reshape(b, -1, 1))
        return reshape(y, y.shape[:-1])
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul: {a.shape} @ {b.shape}: the last axis of the first has length {a.shape[-1]}, "
            f"the one before the last of the second {b.shape[-2]}"
        )
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of many small ones
        rows = math.prod(a.shape[:-1])
        return reshape(_matmul(reshape(a, rows, a.shape[-1]), b), *a.shape[:-1], b.shape[-1])
    return _matmul(a, b)


@primitive
def _einsum(*xs, inputs, output):
    return np.einsum(",".join(inputs) + "->" + output, *xs, optimize=len(xs) > 2)


@_einsum.vjp
def _(g, _y, *xs, inputs, output):
    """The gradient of one operand: swap its letters with the output's. Every letter of an operand also stands in
    the output or in another operand (`einsum` sees to that), so nothing is missing."""

    def gradient(i):
        others = [x for j, x in enumerate(xs) if j != i]
        letters = [s for j, s in enumerate(inputs) if j != i]
        return _einsum(g, *others, inputs=(output, *letters), output=inputs[i])

    return tuple((lambda i=i: gradient(i)) for i in range(len(xs)))


def einsum(subscripts: str, *xs: Any) -> Tensor:
    """NumPy's einsum, with explicit or implicit output, ellipsis, repeated and summed letters."""
    tensors = _tensors(*xs)
    inputs, output = _spell_out(subscripts, [x.ndim for x in tensors])
    _check_lengths(subscripts, inputs, tensors)
    plain = []
    for i, letters in enumerate(inputs):
        x, letters = _take_diagonals(tensors[i], letters)
        elsewhere = set(output).union(*(s for j, s in enumerate(inputs) if j != i))
        lonely = tuple(a for a, letter in enumerate(letters) if letter not in elsewhere)
        tensors[i] = sum(x, axis=lonely) if lonely else x
        plain.append("".join(letter for letter in letters if letter in elsewhere))
    return _einsum(*tensors, inputs=tuple(plain), output=output)


def _spell_out(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Subscripts without spaces, ellipsis or implicit output: one string of letters for each operand."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(inputs)} operands but {len(ndims)} were given")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]
    widths = [n - len(s.replace("...", "")) if "..." in s else 0 for s, n in zip(inputs, ndims, strict=True)]
    for s, n, width in zip(inputs, ndims, widths, strict=True):
        if width < 0 or ("..." not in s and len(s) != n):
            raise ValueError(f"einsum: {s!r} in {subscripts!r} does not fit an operand with {n} axes")
    widest = free[: max(widths)]  # an ellipsis stands for the last of these letters, as broadcasting aligns right
    inputs = [s.replace("...", "".join(widest[len(widest) - w :])) for s, w in zip(inputs, widths, strict=True)]
    if not arrow:
        letters = "".join(inputs)
        output = "".join(widest) + "".join(sorted(c for c in set(letters) - set(widest) if letters.count(c) == 1))
    return inputs, output.replace("...", "".join(widest))


def _check_lengths(subscripts: str, inputs: list[str], tensors: list[Tensor]) -> None:
    lengths: dict[str, int] = {}
    for letters, x in zip(inputs, tensors, strict=True):
        for letter, n in zip(letters, x.shape, strict=True):
            if letter in subscripts and lengths.setdefault(letter, n) != n:
                raise ValueError(f"einsum: letter {letter!r} of {subscripts!r} has lengths {lengths[letter]} and {n}")


def _take_diagonals(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """x without repeated letters: 'iij' becomes 'ij' on the diagonal of the first two axes."""
    for letter in letters:
        while letters.count(letter) > 1:
            first, second = letters.index(letter), letters.rindex(letter)
            order = [first, second, *(a for a in range(x.ndim) if a not in (first, second))]
            diagonal = np.arange(x.shape[first])
            x = getitem(x.transpose(*order), (diagonal, diagonal))
            letters = letter + "".join(c for a, c in enumerate(letters) if a not in (first, second))
    return x, letters


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over `axis`. Its derivative where it is 0 is taken to be 0 (it has none), not NaN."""
    x = x if x.dtype.kind == "f" else astype(x, np.float32)  # whose squares fit
    squares = sum(x * x, axis, keepdims)
    zero = squares == 0
    return where(zero, 0.0, sqrt(where(zero, 1.0, squares)))
