"""The product of two matrices: a convolution whose window is one pixel, of images of one pixel each."""

from __future__ import annotations

from typing import Any

from kernels import checks
from kernels.checks import HALF_TOO, Window
from kernels.cuda.arrays import empty
from kernels.cuda.conv import convolve, plan_of

Array = Any  # cupy.ndarray

PIXEL = Window(kernel=(1,), stride=(1,), padding=(0,), dilation=(1,), out=(1,))


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """y[m,n] = sum_k a[m,k] b[k,n] + bias[n]."""
    checks.matmul(a, b, bias, dtypes=HALF_TOO)
    (rows, depth), columns = a.shape, b.shape[1]
    y = empty((rows, columns), a)
    convolve(a, b, bias, y, plan_of(PIXEL, (rows, 1, depth), 1, depth, columns))
    return y
