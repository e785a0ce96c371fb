"""Functions of vectors (see `vector.py`), lane by lane, in float32 and float64.

Each is a reduction of its argument to a short interval and a polynomial there: no table, no branch, no call, so that
a loop over vectors stays in registers. nan stays nan. The polynomials whose source is not given are least-squares fits
whose weights were moved to where the error was largest (Lawson 1961), close to the best of their degree. In float64,
which is for checking more than for speed, tanh, erf and log1p are the C library's, number by number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from kernels.cpu.jit import intrinsic, kernel_part
from kernels.cpu.vector import (
    VECTOR_BYTES,
    VectorType,
    absolute,
    choose,
    larger,
    nearest,
    power_of_two,
    scaled,
    smaller,
    split_power_of_two,
)


def exp(v: Any) -> Any:
    """exp(v), to 1.3e-7 of itself in float32 and 3e-16 in float64; 0 and inf beyond what the dtype can hold."""
    return np.exp(v)


@overload(exp)
def _exp(v):
    if isinstance(v, VectorType):
        return _exp_float32 if v.dtype == types.float32 else _exp_float64
    return None


# exp(v) = 2^n exp(r) with n = round(v / ln 2) and |r| <= ln(2) / 2. ln 2 is taken off in two pieces, of which n times
# the first is exact. AVX-512 has an instruction for times 2^n; elsewhere 2^n is made from its bits, in two factors as
# n may lie beyond the exponents of normal numbers.

_LN2_HIGH_32, _LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LN2_HIGH_64, _LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1 / math.log(2)
_FACTORIALS = tuple(1 / math.factorial(k) for k in range(14))


def _exp_float32(v):
    inside = smaller(larger(v, np.float32(-104)), np.float32(89))
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_32) - n * _LN2_LOW_32
    return times_power_of_two(polynomial_float32(r), n, v)


@kernel_part(inline="always")
def polynomial_float32(r):
    """exp(r) for |r| <= ln(2) / 2; the Cephes library's (Moshier 1989, expf.c)."""
    p = (((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r + 1.6666665459e-1
    return (p * r + 5.0000001201e-1) * (r * r) + r + 1.0


def _exp_float64(v):
    inside = smaller(larger(v, -746.0), 710.0)
    n = nearest(inside * _LOG2_E)
    r = (inside - n * _LN2_HIGH_64) - n * _LN2_LOW_64
    return times_power_of_two(polynomial_float64(r), n, v)


@kernel_part(inline="always")
def polynomial_float64(r):
    """The same, by the series."""
    p = r * _FACTORIALS[13] + _FACTORIALS[12]
    for k in range(11, -1, -1):
        p = p * r + _FACTORIALS[k]
    return p


@kernel_part(inline="always")
def times_power_of_two(p, n, v):
    """p 2^n for whole numbers n, and v where that is nan."""
    if VECTOR_BYTES == 64:
        return scaled(p, n)
    half = nearest(n * 0.5)
    return choose(v == v, p * power_of_two(half) * power_of_two(n - half), v)


@kernel_part(inline="always")
def sigmoid(v):
    """1 / (1 + exp(-v)), to 3 units in the last place."""
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


# ---- the C library's, for float64 ----------------------------------------------------------------------


def _from_library(name: str) -> Any:
    @intrinsic
    def function(typing, v):
        def write(context, builder, signature, values):
            function_type = ir.FunctionType(v.llvm.element, [v.llvm.element])
            library = cgutils.get_or_insert_function(builder.module, function_type, name)
            result = values[0]
            for lane in (ir.Constant(ir.IntType(32), i) for i in range(v.count)):
                result = builder.insert_element(
                    result, builder.call(library, [builder.extract_element(values[0], lane)]), lane
                )
            return result

        return v(v), write

    return function


_tanh_float64, _erf_float64, _log1p_float64 = (_from_library(name) for name in ("tanh", "erf", "log1p"))

# ---- tanh, erf, log1p ----------------------------------------------------------------------------------


def tanh(v: Any) -> Any:
    """tanh(v), to 2 units in the last place."""
    return np.tanh(v)


@overload(tanh)
def _tanh(v):
    if isinstance(v, VectorType):
        return _tanh_float32 if v.dtype == types.float32 else lambda v: _tanh_float64(v)
    return None


def _tanh_float32(v):
    z = v * v
    p = (((-6.09695e-3 * z + 2.099736e-2) * z - 5.385095e-2) * z + 0.1333277) * z - 0.33333329
    size = absolute(v)
    large = 1.0 - 2.0 / (1.0 + exp(size + size))
    return choose(size < 0.625, v + v * z * p, choose(v < 0.0, -large, large))


def erf(v: Any) -> Any:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to v, to 2 units in the last place."""
    return v


@overload(erf)
def _erf(v):
    if isinstance(v, VectorType):
        return _erf_float32 if v.dtype == types.float32 else lambda v: _erf_float64(v)
    return None


def _erf_float32(v):
    z = v * v
    p = ((((-5.9994e-4 * z + 4.99483e-3) * z - 2.676772e-2) * z + 0.11281846) * z - 0.37612496) * z + 0.12837915
    t = smaller(absolute(v), 4.0)  # from there on, 1
    q = ((((-1.98219726e-4 * t + 3.06549093e-3) * t - 2.23152153e-2) * t + 0.104113683) * t + 0.636976079) * t
    large = 1.0 - exp(-((q + 1.12779724) * t + 1.66447159e-4))
    return choose(t < 0.92, v + v * p, choose(v < 0.0, -large, large))


def log1p(v: Any) -> Any:
    """log(1 + v) for v in [0, 1], to 2 units in the last place."""
    return np.log1p(v)


@overload(log1p)
def _log1p(v):
    if isinstance(v, VectorType):
        return _log1p_float32 if v.dtype == types.float32 else lambda v: _log1p_float64(v)
    return None


def _log1p_float32(v):
    s = v / (v + 2.0)  # log(1 + v) = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...)
    z = s * s
    p = (((0.11616039 * z + 0.10852452) * z + 0.14296234) * z + 0.19999852) * z + 0.33333334
    return 2.0 * (s + s * z * p)
