"""Activation functions, softmax among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import differentiate, is_grad_enabled, primitive
from ..backend import Array, kernels_for, kernels_take, pays
from ..tensor import Tensor
from .elementwise import activation, activation_gradient, erf, exp, expm1, floating, tanh, where
from .reduce import largest, sum


@primitive
def relu(x):
    if x.dtype.kind != "f":
        return np.maximum(x, 0)
    return activation("relu", x, lambda x: np.maximum(x, 0))


@relu.vjp
def _(g, y, _x):
    return activation_gradient("relu", g, y, lambda: g * (y > 0))  # 0 at 0


@primitive
def _leaky_relu(x, *, slope):
    return activation("leaky_relu", x, lambda x: np.where(x > 0, x, x * slope), slope)


@_leaky_relu.vjp
def _(g, _y, x, *, slope):
    return activation_gradient("leaky_relu", g, x, lambda: where(x > 0, g, g * slope), slope)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where positive, negative_slope x elsewhere (Maas et al. 2013)."""
    return _leaky_relu(x, slope=float(negative_slope))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha (exp(x) - 1) elsewhere (Clevert et al. 2016, eq. 16)."""
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x)))


@primitive
def sigmoid(x):
    """1 / (1 + exp(-x)), to full precision where it is close to 0 as well."""
    with np.errstate(over="ignore"):  # 1 / infinity is the 0 that it should be
        return activation("sigmoid", x, lambda x: 1 / (1 + np.exp(-x)))


@sigmoid.vjp
def _(g, y, _x):
    return activation_gradient("sigmoid", g, y, lambda: g * y * (1 - y))


@primitive
def silu(x):
    """x sigmoid(x), also called swish (Ramachandran et al. 2017)."""
    with np.errstate(over="ignore"):
        return activation("silu", x, lambda x: x / (1 + np.exp(-x)))


@silu.vjp
def _(g, _y, x):
    def plain():
        s = sigmoid(x)
        return g * s * (1 + x * (1 - s))

    return activation_gradient("silu", g, x, plain)


@primitive
def softplus(x):
    """log(1 + exp(x)), written so that exp cannot overflow."""
    return activation("softplus", x, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


@softplus.vjp
def _(g, _y, x):
    return activation_gradient("softplus", g, x, lambda: g * sigmoid(x))


def _normal_distribution(x: Tensor, approximate: str) -> Tensor:
    """The normal distribution function, exactly or as Hendrycks & Gimpel 2016 approximate it."""
    if approximate == "none":
        return 0.5 + 0.5 * erf(x * math.sqrt(0.5))
    return 0.5 + 0.5 * tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def _plain_gelu(x, *, approximate):
    return x * _normal_distribution(x, approximate)


@primitive(plain=_plain_gelu)
def _gelu(x, *, approximate):
    return activation(_GELU[approximate], x, lambda x: _plain_gelu(Tensor(x), approximate=approximate).data)


@_gelu.vjp
def _(g, _y, x, *, approximate):
    def plain():
        return differentiate(lambda x: _plain_gelu(x, approximate=approximate), [x], g)[0]

    return activation_gradient(_GELU[approximate], g, x, plain)


_GELU = dict(none="gelu", tanh="gelu_tanh")


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; 'tanh' approximates it (Hendrycks & Gimpel 2016)."""
    if approximate not in _GELU:
        raise ValueError(f"gelu: approximate={approximate!r} is unknown: choose 'none' or 'tanh'")
    return _gelu(x, approximate=approximate)


LARGE = 2**14  # numbers from which on the kernel is faster for the gradient of softmax(x)


def _softmax_of_rows(x: Any, axis: int, otherwise: Callable) -> Array:
    """The kernel's softmax along the last axis, or otherwise(x)."""
    x = floating(x)
    return kernels_for(x).softmax(x) if x.ndim and axis in (-1, x.ndim - 1) and kernels_take(x) else otherwise(x)


def _gradient_of_rows(g: Tensor, y: Tensor, axis: int, otherwise: Callable) -> Tensor:
    """The rule of the same, unless it is to be differentiated again; then otherwise()."""
    if not is_grad_enabled() and axis in (-1, y.ndim - 1) and pays(LARGE, g.data, y.data):
        return Tensor(kernels_for(y.data).softmax_backward(g.data, y.data))
    return otherwise()


@primitive
def _softmax(x, *, axis):
    def plain(x):
        y = np.exp(x - largest(x, axis))
        y /= y.sum(axis=axis, keepdims=True)
        return y

    return _softmax_of_rows(x, axis, plain)


@_softmax.vjp
def _(g, y, _x, *, axis):
    return _gradient_of_rows(g, y, axis, lambda: y * (g - sum(g * y, axis, keepdims=True)))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`."""
    return _softmax(x, axis=axis)


@primitive
def _log_softmax(x, *, axis):
    x = floating(x)
    centred = x - largest(x, axis)
    return centred - np.log(np.exp(centred).sum(axis=axis, keepdims=True))


@_log_softmax.vjp
def _(g, y, _x, *, axis):
    return g - exp(y) * sum(g, axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along `axis`, without overflow."""
    return _log_softmax(x, axis=axis)
