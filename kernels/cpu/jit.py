"""How the CPU kernels are compiled: lazily per dtype, kept on disk, free of the interpreter lock."""

from __future__ import annotations

import os
from functools import partial

import numpy as np

# Idle OpenMP threads sleep. By default they spin, on the very cores where BLAS, with threads of its own, has
# to compute the next matrix product: convolutions then take many times longer. OpenMP reads it when loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from numba import njit

# Sums may be reordered and multiplications fused into additions, which vectorises them; nan and inf still
# propagate. A division by zero gives inf or nan, as in NumPy.
_options = dict(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})

# A prange in a kernel only splits work whose pieces do not touch: results never depend on the thread count.
parallel_kernel = partial(njit, parallel=True, **_options)

# A function that kernels call. (Numba's cache does not notice an edit to one in another file: then delete
# __pycache__. And rows are indexed, not iterated over: to Numba `for row in x` gives rows of unknown stride,
# which are not vectorised.)
kernel_part = partial(njit, **_options)


def plain(x: np.ndarray) -> np.ndarray:
    """x itself if it is contiguous and writable, else a copy: Numba compiles anew for any other kind."""
    return x if x.flags.c_contiguous and x.flags.writeable else x.copy(order="C")
