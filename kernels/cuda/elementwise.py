"""Sums, differences and products, by CuPy's own kernels: each array is read once and the result written once, a thread
a number. How near that comes to the speed of memory was not measured."""

from __future__ import annotations

from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous

Array = Any  # cupy.ndarray


def arithmetic(a: Array, b: Array, name: str) -> Array:
    """a + b, a - b or a b, as `name` says: 'add', 'subtract' or 'multiply'. b broadcasts to a's shape."""
    import cupy

    checks.arithmetic(a, b, name)
    with a.device:
        return contiguous(getattr(cupy, name)(a, b))
