"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011) and what is drawn from it.

Every number is a function of (seed, draw, row, element) alone, so the loops may be split in any way. A vector holds
the same word of several neighbouring blocks, each word in a lane of 64 bits, which is what a product of two takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from kernels import checks
from kernels.cpu.functions import cos_sin_of_turns, log
from kernels.cpu.jit import kernel_part, parallel_kernel, share
from kernels.cpu.vector import (
    VECTOR_BYTES,
    counting,
    halves,
    in_dtype_of,
    interleave,
    square_root,
    store_first,
)

RUN = 2048  # numbers of a row that are made at a time: they are still in the nearest cache when they are used
AT_A_TIME = 4 * (VECTOR_BYTES // 8)  # numbers: those of a vector of blocks
COST = 8  # making a number takes as long as moving so many

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@kernel_part(inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds on a counter of four and a key of two 32-bit words, each held in a uint64 or a vector of those."""
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@kernel_part(inline="always")
def word_pairs(address, row, block):
    """Words 0 and 2 of a vector of blocks from `block` on, in turn, and words 1 and 3: uint32.

    address is (seed, draw, first row), and row counts from that one.
    """
    seed, draw = address[0], address[1]
    c0 = counting(np.uint64(block)) & _LOW  # says to the compiler that a product of 32 bits will do
    zero = c0 ^ c0
    c1, c2, c3 = zero | (address[2] + np.uint64(row)), zero | (draw & _LOW), zero | (draw >> _HALF)
    w0, w1, w2, w3 = philox4x32(c0, c1, c2, c3, seed & _LOW, seed >> _HALF)
    return halves(w0, w2), halves(w1, w3)


@kernel_part(inline="always")
def unit(values, words):
    """[0, 1) in steps of 2^-24, exact in the dtype of the array `values`."""
    return in_dtype_of(values, words >> np.uint32(8)) * 2.0**-24


@kernel_part(inline="always")
def box_muller(u1, u2):
    """Box & Muller 1958: two independent normal numbers from two uniform ones, u1 in (0, 1] and u2 in [0, 1)."""
    radius = square_root(-2.0 * log(u1))
    cosine, sine = cos_sin_of_turns(u2)
    return radius * cosine, radius * sine


@kernel_part()
def fill_normal(values, row, begin, end, elements, address):
    """The normal numbers begin to end (excluded) of a row into their places of the flat (rows, elements) `values`."""
    for e in range(begin, end, AT_A_TIME):  # begin is a multiple of it
        first, second = word_pairs(address, row, e // 4)
        a, b = box_muller(unit(values, first) + 2.0**-24, unit(values, second))
        store_first(values, row * elements + e, interleave(a, b), end - e)


@kernel_part()
def runs_in(rows, elements):
    """Into how many runs of at most RUN numbers all rows are cut."""
    return rows * ((elements + RUN - 1) // RUN)


@kernel_part()
def run_at(i, elements):
    """(row, begin, end) of run i, begin and end counted from the start of its row."""
    each = (elements + RUN - 1) // RUN
    begin = i % each * RUN
    return i // each, begin, min(begin + RUN, elements)


def address_of_draw(seed: int, draw: int, first_row: int) -> np.ndarray:
    return np.array([seed, draw, first_row], np.uint64)


def philox(seed: int, draw: int, row: int, blocks: int) -> np.ndarray:
    """The first `blocks` blocks of four random words of a row of a draw of a seed: uint32 (blocks, 4)."""
    checks.philox(seed, draw, row, blocks)
    words = np.empty((blocks, 4), np.uint32)
    _fill_words(COST * words.size, words.reshape(-1), address_of_draw(seed, draw, row))
    return words


def uniform(
    shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Uniform numbers in [0, 1); element e of row r is word e % 4 of block e // 4 of row first_row + r."""
    checks.random("uniform", shape, seed, draw, first_row, dtype)
    values: np.ndarray = np.empty(shape, dtype)
    _fill_uniform(COST * values.size, values.reshape(-1), len(values), address_of_draw(seed, draw, first_row))
    return values


def normal(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Standard normal numbers, addressed as in `uniform`; float32 ones are within 1e-6 of the float64 ones."""
    checks.random("normal", shape, seed, draw, first_row, dtype)
    values: np.ndarray = np.empty(shape, dtype)
    _fill_normal(COST * values.size, values.reshape(-1), len(values), address_of_draw(seed, draw, first_row))
    return values


@parallel_kernel
def _fill_words(part, parts, words, address):
    vectors = (words.size + AT_A_TIME - 1) // AT_A_TIME
    for i in range(share(vectors, part, parts), share(vectors, part + 1, parts)):
        first, second = word_pairs(address, 0, i * (AT_A_TIME // 4))
        store_first(words, i * AT_A_TIME, interleave(first, second), words.size - i * AT_A_TIME)


@parallel_kernel
def _fill_uniform(part, parts, values, rows, address):
    elements = values.size // max(rows, 1)
    runs = runs_in(rows, elements)
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        for e in range(begin, end, AT_A_TIME):
            first, second = word_pairs(address, row, e // 4)
            store_first(values, row * elements + e, unit(values, interleave(first, second)), end - e)


@parallel_kernel
def _fill_normal(part, parts, values, rows, address):
    elements = values.size // max(rows, 1)
    runs = runs_in(rows, elements)
    for i in range(share(runs, part, parts), share(runs, part + 1, parts)):
        row, begin, end = run_at(i, elements)
        fill_normal(values, row, begin, end, elements, address)
