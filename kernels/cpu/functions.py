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
from kernels.cpu.vector import VectorType, choose, larger, nearest, power_of_two, smaller


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
    return times_power_of_two(_exp_polynomial_32(r), n, v)


def _exp_float64(v):
    inside = smaller(larger(v, -746.0), 710.0)
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_64) - n * _LN2_LOW_64
    return times_power_of_two(_exp_polynomial_64(r), n, v)


@kernel_part(inline="always")
def _exp_polynomial_32(r):
    """The Cephes library's (Moshier 1989, expf.c)."""
    p = ((((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r + 1.6666665459e-1) * r
    return (p + 5.0000001201e-1) * r * r + r + 1.0


@kernel_part(inline="always")
def _exp_polynomial_64(r):
    """Taylor's."""
    p = r * _FACTORIALS[13] + _FACTORIALS[12]
    for k in range(11, -1, -1):
        p = p * r + _FACTORIALS[k]
    return p


@kernel_part(inline="always")
def times_power_of_two(p, n, v):
    """p 2^n for whole numbers n, and v where that is nan."""
    half = nearest(n * 0.5)
    return choose(v == v, p * power_of_two(half) * power_of_two(n - half), v)


def sigmoid(v: Any) -> Any:
    """1 / (1 + exp(-v)), as precise as exp; 0 and 1 far out."""
    return 1 / (1 + np.exp(-v))


@overload(sigmoid)
def _sigmoid(v):
    if isinstance(v, VectorType):
        return _sigmoid_float32 if v.dtype == types.float32 else _sigmoid_float64
    return None


# exp(-v) again, but where it would be a subnormal number, anything small will do for it, and where it is nearly the
# largest number, infinity: 2^n is then one factor, made from its bits.


def _sigmoid_float32(v):
    inside = smaller(larger(-v, np.float32(-87)), np.float32(89))
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_32) - n * _LN2_LOW_32
    return 1.0 / (1.0 + _exp_polynomial_32(r) * power_of_two(n))


def _sigmoid_float64(v):
    inside = smaller(larger(-v, -708.0), 710.0)
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_64) - n * _LN2_LOW_64
    return 1.0 / (1.0 + _exp_polynomial_64(r) * power_of_two(n))
