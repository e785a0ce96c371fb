"""Operations that act on each element alone: arithmetic, powers, exp, log, trigonometry, choice.

Every rule is one line of calculus. Broadcasting is undone by the engine. Small arrays are NumPy's business; large ones,
and those on a GPU, go to kernels, which share them out over threads and make one pass over them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import LARGE_SUM, is_grad_enabled, primitive
from ..backend import Array, array_module, check_one_device, kernels_for, kernels_take, on_device_of, on_gpu, pays
from ..tensor import Tensor, array_of


def _kind(x: Any) -> str:
    """'f' for floating, 'i' or 'u' for integer, 'b' for bool; of an array or a plain number."""
    return x.dtype.kind if hasattr(x, "dtype") else np.dtype(type(x)).kind


def operands(*xs: Any) -> tuple:
    """Operands of one dtype: integer arrays meet a float as that float (NumPy would make them float64)."""
    dtypes = [x.dtype for x in xs if hasattr(x, "dtype")]
    if all([d.kind == "f" for d in dtypes]):
        return xs
    floats = [d for d in dtypes if d.kind == "f"] or [np.float32 for x in xs if isinstance(x, float)]
    return tuple([x.astype(floats[0], copy=False) if floats and hasattr(x, "dtype") else x for x in xs])


def floating(x: Any) -> Array:
    """`x` itself, or as float32 where it is a plain number or holds integers or bools."""
    if not hasattr(x, "dtype"):
        return np.asarray(x, np.float32)
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def constant(y: Any) -> Tensor:
    """A Tensor without gradient of what a library's function gave: NumPy may give scalars, a Tensor holds arrays."""
    return Tensor(y if on_gpu(y) else np.asarray(y))


# What goes to kernels

LARGE_FUNCTION = 2**14  # numbers from which on that is faster for exp(x); LARGE_SUM for a + b
NOT_ROUNDED = ("relu", "leaky_relu")  # or, a product, rounded once: the library's has the same bits


def _arithmetic(name: str, a: Any, b: Any, otherwise: Callable) -> Array:
    """The kernel's sum, difference or product of large arrays, or otherwise(a, b): CuPy is as fast as memory is."""
    if not (type(a) is type(b) is np.ndarray and a.dtype.kind == b.dtype.kind == "f"):
        a, b = operands(a, b)
    if pays(LARGE_SUM, a, b) and not on_gpu(a) and np.broadcast_shapes(a.shape, b.shape) == a.shape:
        return kernels_for(a).arithmetic(a, b, name)
    return otherwise(a, b)


def activation(name: str, x: Any, otherwise: Callable, slope: float | None = None) -> Array:
    """The kernel's function of that name; otherwise(x) of dtypes that are not a kernel's, and of small arrays where
    both have the same bits."""
    x = floating(x)
    takes = pays(LARGE_FUNCTION, x) if name in NOT_ROUNDED else kernels_take(x)
    return kernels_for(x).activation(x, name, slope) if takes else otherwise(x)


def activation_gradient(name: str, g: Tensor, v: Tensor, otherwise: Callable, slope: float | None = None) -> Tensor:
    """The rule of the same function: one pass over g and v for large arrays, unless it is to be differentiated again;
    then otherwise()."""
    if not is_grad_enabled() and pays(LARGE_FUNCTION, g.data, v.data):
        return Tensor(kernels_for(v.data).activation_backward(g.data, v.data, name, slope))
    return otherwise()


# Arithmetic


@primitive
def add(a, b):
    return _arithmetic("add", a, b, operator.add)


@add.vjp
def _(g, _y, _a, _b):
    return g, g


@primitive
def subtract(a, b):
    return _arithmetic("subtract", a, b, operator.sub)


@subtract.vjp
def _(g, _y, _a, _b):
    return g, lambda: -g


@primitive
def multiply(a, b):
    return _arithmetic("multiply", a, b, operator.mul)


@multiply.vjp
def _(g, _y, a, b):
    return lambda: g * b, lambda: g * a


@primitive
def divide(a, b):
    a, b = operands(a, b)
    return a / b if "f" in (_kind(a), _kind(b)) else floating(a) / floating(b)


@divide.vjp
def _(g, _y, a, b):
    return lambda: g / b, lambda: -g * a / (b * b)


@primitive
def negative(x):
    return -x


@negative.vjp
def _(g, _y, _x):
    return -g


@primitive
def power(x, p):
    x, p = operands(x, p)
    return x**p


@power.vjp
def _(g, y, x, p):
    def dx():
        if not isinstance(p, Tensor):
            return g * 0.0 if p == 0 else g * p * x ** (p - 1)
        # p x^(p-1), and 0 at x = p = 0, where that would be 0 times infinity
        q = astype(p, g.dtype)  # 0 - 1 is 255 in uint8
        return g * q * power(where(p == 0, where(x == 0, 1.0, x), x), q - 1)

    def dp():
        if not isinstance(x, Tensor):
            return g * y * (math.log(x) if x > 0 else 0.0)
        return g * y * log(where(x > 0, astype(x, g.dtype), 1.0))

    return dx, dp


@primitive
def maximum(a, b):
    return np.maximum(*operands(a, b))


@maximum.vjp
def _(g, y, a, b):
    return _share(g, y, a, b)


@primitive
def minimum(a, b):
    return np.minimum(*operands(a, b))


@minimum.vjp
def _(g, y, a, b):
    return _share(g, y, a, b)


def _share(g, y, a, b):
    """The gradient goes to whichever was chosen; at a tie, half to each."""
    from_a, from_b = (a == y).astype(g.dtype), (b == y).astype(g.dtype)
    return lambda: g * from_a / (from_a + from_b), lambda: g * from_b / (from_a + from_b)


@primitive
def abs(x):
    return np.abs(x)


@abs.vjp
def _(g, _y, x):
    return g * sign(x)  # 0 at 0


def sign(x: Any) -> Tensor:
    """-1, 0 or 1 (no gradient)."""
    with on_device_of(array_of(x)):
        return constant(np.sign(array_of(x)))


# Exponentials and logarithms


@primitive
def exp(x):
    return activation("exp", x, np.exp)


@exp.vjp
def _(g, y, _x):
    return g * y


@primitive
def log(x):
    return np.log(floating(x))


@log.vjp
def _(g, _y, x):
    return g / x


@primitive
def log1p(x):
    """log(1 + x), accurate for small x."""
    return np.log1p(floating(x))


@log1p.vjp
def _(g, _y, x):
    return g / (1 + x)


@primitive
def expm1(x):
    """exp(x) - 1, accurate for small x."""
    return np.expm1(floating(x))


@expm1.vjp
def _(g, y, _x):
    return g * (y + 1)


@primitive
def sqrt(x):
    return np.sqrt(floating(x))


@sqrt.vjp
def _(g, y, _x):
    return g / (2 * y)


@primitive
def erf(x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    x = floating(x)
    return kernels_for(x).activation(x, "erf")


@erf.vjp
def _(g, _y, x):
    return activation_gradient("erf", g, x, lambda: g * (2 / np.sqrt(np.pi)) * exp(-x * x))


# Trigonometry


@primitive
def sin(x):
    return np.sin(floating(x))


@sin.vjp
def _(g, _y, x):
    return g * cos(x)


@primitive
def cos(x):
    return np.cos(floating(x))


@cos.vjp
def _(g, _y, x):
    return -g * sin(x)


@primitive
def tan(x):
    return np.tan(floating(x))


@tan.vjp
def _(g, y, _x):
    return g * (1 + y * y)


@primitive
def arctan(x):
    return np.arctan(floating(x))


@arctan.vjp
def _(g, _y, x):
    return g / (1 + x * x)


@primitive
def tanh(x):
    return activation("tanh", x, np.tanh)


@tanh.vjp
def _(g, y, _x):
    return activation_gradient("tanh", g, y, lambda: g * (1 - y * y))


# Choice


@primitive
def clip(x, low, high):
    x, low, high = operands(x, low, high)
    return x if low is None and high is None else np.clip(x, low, high)


@clip.vjp
def _(g, y, x, low, high):
    inside = x == y  # the bounds themselves count as inside; where they are crossed, high is the answer
    return (
        lambda: where(inside, g, 0.0),
        lambda: where(inside, 0.0, where(y == high, 0.0, g)),
        lambda: where(inside, 0.0, where(y == high, g, 0.0)),
    )


@primitive
def where(condition, a, b):
    """Elements of `a` where the condition holds, of `b` elsewhere."""
    if not hasattr(condition, "dtype"):
        condition = array_module(a if hasattr(a, "dtype") else b).asarray(condition)
    chosen = np.where(condition, *operands(a, b))
    return chosen if hasattr(a, "dtype") or hasattr(b, "dtype") or chosen.dtype.kind != "f" else floating(chosen)


@where.vjp
def _(g, _y, condition, _a, _b):
    return None, lambda: where(condition, g, 0.0), lambda: where(condition, 0.0, g)


@primitive
def _astype(x, *, dtype):
    return x.astype(dtype)


@_astype.vjp
def _(g, _y, _x, *, dtype):
    return _astype(g, dtype=_x.dtype)


def astype(x: Any, dtype: Any) -> Tensor:
    """The values in another dtype; gradients come back in the dtype of `x`."""
    return _astype(x, dtype=np.dtype(dtype))


# Comparison: bool tensors, no gradient


def _compare(name: str, relation: Callable, a: Any, b: Any) -> Tensor:
    a, b = (x.data if isinstance(x, Tensor) else x for x in (a, b))
    check_one_device(name, [x for x in (a, b) if hasattr(x, "dtype")])
    with on_device_of(a if hasattr(a, "dtype") else b):
        return constant(relation(a, b))


def equal(a: Any, b: Any) -> Tensor:
    return _compare("equal", operator.eq, a, b)


def not_equal(a: Any, b: Any) -> Tensor:
    return _compare("not_equal", operator.ne, a, b)


def less(a: Any, b: Any) -> Tensor:
    return _compare("less", operator.lt, a, b)


def less_equal(a: Any, b: Any) -> Tensor:
    return _compare("less_equal", operator.le, a, b)


def greater(a: Any, b: Any) -> Tensor:
    return _compare("greater", operator.gt, a, b)


def greater_equal(a: Any, b: Any) -> Tensor:
    return _compare("greater_equal", operator.ge, a, b)
