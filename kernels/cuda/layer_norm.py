"""Group normalisation of a single position and group: each row of a matrix by itself; see layer_norm.cu."""

from __future__ import annotations

from typing import Any

from kernels.cuda.arrays import empty
from kernels.cuda.launch import Source, ctype
from kernels.cuda.rows import THREADS, team

Array = Any  # cupy.ndarray

_source = Source("layer_norm.cu")

UNITS = 1024  # teams of the backward pass, unless there are so many rows that each would have more than
ROWS = 64  # of them


def fits(x: Array, num_groups: int) -> bool:
    """Whether these are rows, and short enough."""
    return num_groups == 1 and x.size == x.shape[0] * x.shape[-1] and team(x.shape[-1], x).vectors > 0


def forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, silu: bool, y: Array, mean: Array, rstd: Array
) -> None:
    """x (M,*S,C) with M rows, weight and bias (C,) -> y like x, mean and rstd (M,1); all contiguous."""
    kernel, rows = _kernel("layer_norm", mean, x, y, weight, bias)
    args = (x, weight, bias, y, mean, rstd, mean.size, x.shape[-1], eps, silu)
    _source.launch(kernel, args, (mean.size,), (rows,), THREADS)


def backward(
    g: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array, silu: bool, dx: Array
) -> Array:
    """Writes dx, like x (M,*S,C); gives (units, 2, C), the sums of du and of du n over shares of the rows."""
    channels, units = x.shape[-1], min(mean.size, max(UNITS, -(-mean.size // ROWS)))
    partial = empty((units, 2, channels), mean)
    kernel, rows = _kernel("layer_norm_backward", mean, x, g, dx, weight, bias)
    args = (g, x, weight, bias, mean, rstd, dx, partial, mean.size, channels, units, silu)
    _source.launch(kernel, args, (units,), (rows,), THREADS)
    return partial


def _kernel(name: str, mean: Array, x: Array, *others: Array | None) -> tuple[str, int]:
    """The kernel for these arrays, and how many rows its blocks have."""
    of = team(x.shape[-1], x, *others)
    kinds = f"{ctype(x.dtype)}, {ctype(mean.dtype)}"
    return f"{name}<{kinds}, {of.width}, {of.vectors}, {of.threads}>", of.rows
