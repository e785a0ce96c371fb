"""y = a @ b + bias, by the way that is fastest for the shape: see the three below."""

from __future__ import annotations

import numpy as np

from kernels import checks
from kernels.checks import Window
from kernels.cpu.direct import weight_grad
from kernels.cpu.gemm import panels_of, product, start_of

SMALL = 2**18  # multiply-adds, up to which NumPy's BLAS is faster, and stays on the calling thread


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """(M,K) @ (K,N) + bias (N,) -> (M,N), for matrices with any strides."""
    checks.matmul(a, b, bias)
    if a.size * b.shape[1] <= SMALL:
        y = a @ b
    elif a.T.flags.carray and b.flags.carray:  # as a linear layer's weight gradient: a sum over the rows of both
        y = outer(a.T, b)
    else:
        y = np.empty((a.shape[0], b.shape[1]), a.dtype)
        product(a, panels_of(b), start_of(bias, b), y)
        return y
    return y if bias is None else y + bias


def outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a^T b for contiguous a (K,M) and b (K,N): the weight gradient of a 1x1 convolution over K pixels."""
    ones, zeros = (1, 1, 1), (0, 0, 0)
    window = Window(kernel=ones, stride=ones, padding=zeros, dilation=ones, out=(1, 1, len(a)))
    return weight_grad(a[None, None, None], b[None, None, None], window)[0, 0, 0]
