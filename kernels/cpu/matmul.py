"""y = a @ b + bias, by the way that is fastest for the shape. All but one sum in the same order: see `matmul`."""

from __future__ import annotations

import numpy as np

from kernels import checks
from kernels.checks import Window
from kernels.cpu.direct import weight_grad
from kernels.cpu.gemm import panels_of, product, start_of
from kernels.cpu.small import product_of_few, small_product

SMALL = 2**18  # multiply-adds, up to which a weight's gradient is a product like others
FEW_ROWS = 32  # up to which panels of b take longer to make than the product does without them
MANY_ROWS, LARGE = 256, 2**26  # rows of a, or multiply-adds, beyond which panels of all of b pay


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """(M,K) @ (K,N) + bias (N,) -> (M,N), for matrices with any strides.

    A row of y does not depend on the others, nor on how many there are, to the bit; but for large a that lie column by
    column, as x^T does in a weight's gradient, and have more than 1500 of them: their sums are cut into several.
    """
    checks.matmul(a, b, bias)
    rows, size, in_place = len(a), a.size * b.shape[1], b.flags.carray
    if size > SMALL and in_place and bias is None and a.T.flags.carray and not a.flags.carray:
        return outer(a.T, b)
    y, start = np.empty((rows, b.shape[1]), a.dtype), start_of(bias, b)
    if y.size == 0:
        return y
    if rows <= FEW_ROWS and in_place:
        product_of_few(a, b, start, y)
    elif rows <= FEW_ROWS or (rows <= MANY_ROWS and size <= LARGE):
        small_product(a, b, start, y)
    else:
        product(a, panels_of(b), start, y)
    return y


def outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a^T b for contiguous a (K,M) and b (K,N): the weight gradient of a 1x1 convolution over K pixels."""
    ones, zeros = (1, 1, 1), (0, 0, 0)
    window = Window(kernel=ones, stride=ones, padding=zeros, dilation=ones, out=(1, 1, len(a)))
    return weight_grad(a[None, None, None], b[None, None, None], window)[0, 0, 0]
