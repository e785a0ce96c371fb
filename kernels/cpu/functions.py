"""Functions of vectors (see `vector.py`), lane by lane, in float32 and float64.

Each is a reduction of its argument to a short interval and a polynomial there: no table, no branch, no call, so that
a loop over vectors stays in registers. nan stays nan.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from kernels.cpu.jit import kernel_part
from kernels.cpu.vector import VectorType, choose, larger, nearest, power_of_two, smaller, split_power_of_two


def exp(v: Any) -> Any:
    """exp(v), to 1.3e-7 of itself in float32 and 3e-16 in float64; 0 and inf beyond what the dtype can hold."""
    return np.exp(v)


@overload(exp)
def _exp(v):
    if isinstance(v, VectorType):
        return _exp_float32 if v.dtype == types.float32 else _exp_float64
    return None


# exp(v) = 2^n exp(r) with n = round(v / ln 2) and |r| <= ln(2) / 2. ln 2 is taken off in two pieces, of which n times the
# first is exact. 2^n is made from its bits, in two factors as n may lie beyond the exponents of normal numbers.

_LN2_HIGH_32, _LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LN2_HIGH_64, _LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1 / math.log(2)
_FACTORIALS = tuple(1 / math.factorial(k) for k in range(14))


def _exp_float32(v):
    inside = smaller(larger(v, np.float32(-104)), np.float32(89))
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_32) - n * _LN2_LOW_32
    # The polynomial is the Cephes library's (Moshier 1989, expf.c).
    p = ((((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r + 1.6666665459e-1) * r
    p = (p + 5.0000001201e-1) * r * r + r + 1.0
    return times_power_of_two(p, n, v)


def _exp_float64(v):
    inside = smaller(larger(v, -746.0), 710.0)
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_64) - n * _LN2_LOW_64
    p = r * _FACTORIALS[13] + _FACTORIALS[12]
    for k in range(11, -1, -1):
        p = p * r + _FACTORIALS[k]
    return times_power_of_two(p, n, v)


@kernel_part(inline="always")
def times_power_of_two(p, n, v):
    """p 2^n for whole numbers n, and v where that is nan."""
    half = nearest(n * 0.5)
    return choose(v == v, p * power_of_two(half) * power_of_two(n - half), v)


@kernel_part(inline="always")
def sigmoid(v):
    """1 / (1 + exp(-v))"""
    return 1.0 / (1.0 + exp(-v))


def log(v: Any) -> Any:
    """ln(v) for positive normal numbers, to 2e-7 of itself in float32 and 1e-15 in float64."""
    return np.log(v)


@overload(log)
def _log(v):
    """v = 2^n m with m near 1. With s = (m - 1) / (m + 1), ln m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...)."""
    if isinstance(v, VectorType):
        terms = 5 if v.dtype == types.float32 else 11  # s^2 is at most 0.0295

        def log(v):
            n, m = split_power_of_two(v)
            s = (m - 1.0) / (m + 1.0)
            return n * _LN2 + 2.0 * s * _series(s * s, _ARTANH, terms)

        return log
    return None


def cos_sin_of_turns(u: Any) -> Any:
    """(cos 2 pi u, sin 2 pi u), to 2e-7 in float32 and 1e-15 in float64."""
    return np.cos(2 * np.pi * u), np.sin(2 * np.pi * u)


@overload(cos_sin_of_turns)
def _cos_sin_of_turns(u):
    """A half turn changes both signs; what is left, at most a quarter turn either way, goes into Taylor's series."""
    if isinstance(u, VectorType):
        terms = 7 if u.dtype == types.float32 else 12

        def cos_sin_of_turns(u):
            half_turns = nearest(2.0 * u)
            t = (u - 0.5 * half_turns) * _TURN
            sign = choose(nearest(0.5 * half_turns) * 2.0 == half_turns, 1.0 + 0.0 * u, -1.0)
            return sign * _series(t * t, _COS, terms), sign * t * _series(t * t, _SIN, terms)

        return cos_sin_of_turns
    return None


_LN2, _TURN = math.log(2), 2 * math.pi
_ARTANH = tuple(1 / (2 * k + 1) for k in range(11))  # artanh x / x, cos x and sin x / x are power series in x^2
_COS = tuple((-1) ** k / math.factorial(2 * k) for k in range(12))
_SIN = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(12))


@kernel_part(inline="always")
def _series(x, coefficients, terms):
    """coefficients[0] + coefficients[1] x + ..., that many terms."""
    p = 0.0 * x + coefficients[terms - 1]
    for k in range(terms - 2, -1, -1):
        p = p * x + coefficients[k]
    return p
