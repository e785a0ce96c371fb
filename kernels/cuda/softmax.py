"""Softmax over the last axis, and its gradient; see softmax.cu."""

from __future__ import annotations

import math
from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype
from kernels.cuda.rows import THREADS, team

Array = Any  # cupy.ndarray

_source = Source("softmax.cu")


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis of x (*S,L)."""
    checks.softmax(x, dtypes=checks.HALF_TOO)
    return _of_rows("softmax", contiguous(x))


def softmax_backward(g: Array, y: Array) -> Array:
    """dx = y (g - sum(g y)) over the last axis, for the gradient g of y = softmax(x)."""
    checks.softmax_backward(g, y, dtypes=checks.HALF_TOO)
    return _of_rows("softmax_backward", contiguous(g), contiguous(y))


def _of_rows(name: str, *inputs: Array) -> Array:
    x = inputs[0]
    *others, length = x.shape
    rows, out = math.prod(others), empty(x.shape, x)
    of = team(length, *inputs, out)
    kinds = f"{ctype(x.dtype)}, {ctype(checks.statistics_dtype(x))}, {of.width}"
    if of.vectors:
        kernel, args = f"{name}<{kinds}, {of.vectors}, {of.threads}>", (*inputs, out, rows, length)
    else:
        kernel, args = f"long_{name}<{kinds}>", (*inputs, out, length)
    _source.launch(kernel, args, (rows, length), (of.rows, max(1, length)), THREADS)
    return out
