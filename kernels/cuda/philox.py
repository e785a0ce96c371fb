"""Counter-based random numbers, made on CuPy's current device: Philox4x32-10 and what is drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from kernels import checks
from kernels.cuda.launch import Source, ctype

Array = Any  # cupy.ndarray

THREADS = 256

_source = Source("philox.cu")


class Quads(NamedTuple):
    """An array (rows, ...) in quads, the four numbers of a Philox block; `whole` if 16 bytes may be moved at once."""

    rows: int
    of_row: int
    elements: int  # of a row
    whole: bool


def quads_of(*arrays: Array | None) -> Quads:
    """That of arrays of one shape; None is skipped."""
    x, *_ = given = [a for a in arrays if a is not None]
    rows = len(x)
    elements = x.size // max(rows, 1)
    return Quads(rows, -(-elements // 4), elements, elements % 4 == 0 and all(a.data.ptr % 16 == 0 for a in given))


def philox(seed: int, draw: int, row: int, blocks: int) -> Array:
    """The first `blocks` blocks of four random words of a row of a draw of a seed: uint32 (blocks, 4)."""
    import cupy

    checks.philox(seed, draw, row, blocks)
    words = cupy.empty((blocks, 4), np.uint32)
    _source.launch("words", (words, blocks, seed, draw, row), (blocks,), (THREADS,), THREADS, aligned=16)
    return words


def uniform(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> Array:
    """Uniform numbers in [0, 1); element e of row r is word e % 4 of block e // 4 of row first_row + r."""
    checks.random("uniform", shape, seed, draw, first_row, dtype)
    return _filled("uniform", shape, seed, draw, first_row, dtype)


def normal(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> Array:
    """Standard normal numbers, addressed as in `uniform`; float32 ones are within 1e-6 of the float64 ones."""
    checks.random("normal", shape, seed, draw, first_row, dtype)
    return _filled("normal", shape, seed, draw, first_row, dtype)


def _filled(kernel: str, shape: Sequence[int], seed: int, draw: int, first_row: int, dtype: DTypeLike) -> Array:
    import cupy

    values = cupy.empty(tuple(shape), dtype)
    quads = quads_of(values)
    args = (values, *quads, seed, draw, first_row)
    _source.launch(f"{kernel}<{ctype(dtype)}>", args, (quads.rows * quads.of_row,), (THREADS,), THREADS)
    return values
