"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011) and what is drawn from it.

Every number is a function of (seed, draw, row, element) alone, so the loops may be split in any way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import prange
from numpy.typing import DTypeLike

from kernels import checks
from kernels.cpu.jit import kernel_part, old_parallel_kernel

BLOCKS_PER_TASK = 1024  # 4096 numbers: long enough to hide a task's start, short enough to share one row

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@kernel_part()
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds on a counter of four and a key of two 32-bit words, each held in a uint64."""
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@kernel_part()
def random_words(seed, draw, row, block):
    """Words of one block; all arguments are uint64."""
    return philox4x32(block, row, draw & _LOW, draw >> _HALF, seed & _LOW, seed >> _HALF)


@kernel_part()
def unit(word):
    """[0, 1) in steps of 2^-24."""
    return np.float64(word >> np.uint64(8)) * 2.0**-24


@kernel_part()
def uniforms(seed, draw, row, block):
    w0, w1, w2, w3 = random_words(seed, draw, row, block)
    return unit(w0), unit(w1), unit(w2), unit(w3)


@kernel_part()
def normals(seed, draw, row, block):
    """Four standard normal numbers from one block (Box & Muller 1958), in float64."""
    w0, w1, w2, w3 = random_words(seed, draw, row, block)
    z0, z1 = _box_muller(unit(w0) + 2.0**-24, unit(w1))
    z2, z3 = _box_muller(unit(w2) + 2.0**-24, unit(w3))
    return z0, z1, z2, z3


@kernel_part()
def _box_muller(u1, u2):
    radius, angle = math.sqrt(-2.0 * math.log(u1)), 2.0 * math.pi * u2
    return radius * math.cos(angle), radius * math.sin(angle)


def philox(seed: int, draw: int, row: int, blocks: int) -> np.ndarray:
    """The first `blocks` blocks of four random words of a row of a draw of a seed: uint32 (blocks, 4)."""
    checks.philox(seed, draw, row, blocks)
    words = np.empty((blocks, 4), np.uint32)
    _fill_words(words, np.uint64(seed), np.uint64(draw), np.uint64(row))
    return words


def uniform(
    shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Uniform numbers in [0, 1); element e of row r is word e % 4 of block e // 4 of row first_row + r."""
    checks.random("uniform", shape, seed, draw, first_row, dtype)
    values: np.ndarray = np.empty(shape, dtype)
    _fill_uniform(rows_of(values), np.uint64(seed), np.uint64(draw), np.uint64(first_row))
    return values


def normal(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Standard normal numbers, addressed as in `uniform`; computed in float64 and rounded once."""
    checks.random("normal", shape, seed, draw, first_row, dtype)
    values: np.ndarray = np.empty(shape, dtype)
    _fill_normal(rows_of(values), np.uint64(seed), np.uint64(draw), np.uint64(first_row))
    return values


def rows_of(x: np.ndarray) -> np.ndarray:
    """(rows, ...) -> (rows, elements), a view."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


@kernel_part()
def tasks_per_row(elements):
    """A row is shared out in runs of BLOCKS_PER_TASK blocks."""
    return (elements + 4 * BLOCKS_PER_TASK - 1) // (4 * BLOCKS_PER_TASK)


@old_parallel_kernel()
def _fill_words(words, seed, draw, row):
    for b in prange(words.shape[0]):
        w0, w1, w2, w3 = random_words(seed, draw, row, np.uint64(b))
        words[b, 0], words[b, 1], words[b, 2], words[b, 3] = w0, w1, w2, w3


@old_parallel_kernel()
def _fill_uniform(values, seed, draw, first_row):
    rows, elements = values.shape
    tasks = tasks_per_row(elements)
    for task in prange(rows * tasks):
        r, part = task // tasks, task % tasks
        for block in range(part * BLOCKS_PER_TASK, min((part + 1) * BLOCKS_PER_TASK, (elements + 3) // 4)):
            u = uniforms(seed, draw, first_row + np.uint64(r), np.uint64(block))
            store(values[r], block, u)


@old_parallel_kernel()
def _fill_normal(values, seed, draw, first_row):
    rows, elements = values.shape
    tasks = tasks_per_row(elements)
    for task in prange(rows * tasks):
        r, part = task // tasks, task % tasks
        for block in range(part * BLOCKS_PER_TASK, min((part + 1) * BLOCKS_PER_TASK, (elements + 3) // 4)):
            z = normals(seed, draw, first_row + np.uint64(r), np.uint64(block))
            store(values[r], block, z)


@kernel_part()
def store(row, block, four):
    """The numbers of one block into their places; those beyond the end of the row are not needed."""
    first = 4 * block
    for i in range(min(4, row.size - first)):
        row[first + i] = four[i]
