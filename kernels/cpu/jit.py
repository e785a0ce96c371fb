"""How the CPU kernels are compiled: lazily per dtype, kept on disk, free of the interpreter lock."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

# Idle OpenMP threads sleep. By default they spin, on the very cores where other programs, or NumPy's BLAS with threads
# of its own, want to compute: everything then takes many times longer. Read when OpenMP is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numba
from numba import get_num_threads, njit, set_num_threads


def _keep_freed_memory() -> None:
    """Tells glibc's allocator to keep freed memory for the next array instead of handing it back to the system.

    A training step allocates the same large arrays over and over. Getting each afresh means that the system clears
    every page of it: a third of the time of a small U-Net's step. Other C libraries lack `mallopt` and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # from malloc.h
        mallopt(m_mmap_threshold, 32 * 2**20)  # the largest that it takes
        mallopt(m_trim_threshold, 2**30)
        mallopt(m_top_pad, 64 * 2**20)


_keep_freed_memory()


def _forget_stale_code() -> None:
    """Deletes the machine code that Numba kept if any file here, or the compiler, has changed since.

    Numba itself looks only at the file that a kernel stands in, not at those whose functions it calls.
    """
    folder = Path(__file__).parent
    stamp = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for source in sorted(folder.glob("*.py")):
        stamp.update(source.read_bytes())
    cache = folder / "__pycache__"
    written = cache / "kernels.stamp"
    try:
        if not written.exists() or written.read_text() != stamp.hexdigest():
            print("minigen: kernels are compiled at first use; this takes up to a minute, once", file=sys.stderr)
            for file in cache.glob("*.nb[ic]"):
                file.unlink(missing_ok=True)
            cache.mkdir(exist_ok=True)
            written.write_text(stamp.hexdigest())
    except OSError:
        pass  # a read-only installation, which does not change either


_forget_stale_code()

# Sums may be reordered and multiplications fused into additions, which vectorises them; nan and inf still
# propagate. A division by zero gives inf or nan, as in NumPy.
_options = dict(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})

# A prange in a kernel only splits work whose pieces do not touch: results never depend on the thread count.
parallel_kernel = partial(njit, parallel=True, **_options)

# A function that kernels call.
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
