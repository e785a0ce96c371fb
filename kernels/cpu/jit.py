"""How the CPU kernels are compiled: lazily per dtype, kept on disk, free of the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

# Idle OpenMP threads sleep. By default they spin, on the very cores where other programs, or NumPy's BLAS with threads
# of its own, want to compute: everything then takes many times longer. Read when OpenMP is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from numba import get_num_threads, njit, set_num_threads

# Sums may be reordered and multiplications fused into additions, which vectorises them; nan and inf still
# propagate. A division by zero gives inf or nan, as in NumPy.
_options = dict(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})

# A prange in a kernel only splits work whose pieces do not touch: results never depend on the thread count.
parallel_kernel = partial(njit, parallel=True, **_options)

# A function that kernels call. (Numba's cache does not notice an edit to one in another file: then delete
# __pycache__. And rows are indexed, not iterated over: to Numba `for row in x` gives rows of unknown stride,
# which are not vectorised.)
kernel_part = partial(njit, **_options)


SMALL = 2**20  # numbers moved, or multiplied and added, in the time that waking a sleeping thread takes


def launch(kernel: Callable, work: int, *arguments: Any) -> None:
    """Calls a parallel kernel; on one thread if its `work` (numbers moved, or multiply-adds / 16) is small."""
    threads = get_num_threads()
    set_num_threads(1 if work < SMALL else threads)
    try:
        kernel(*arguments)
    finally:
        set_num_threads(threads)


def plain(x: np.ndarray) -> np.ndarray:
    """x itself if it is contiguous and writable, else a copy: Numba compiles anew for any other kind."""
    return x if x.flags.c_contiguous and x.flags.writeable else x.copy(order="C")
