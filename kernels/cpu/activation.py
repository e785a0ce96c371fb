"""Activation functions and their derivatives: one pass over memory each, made from functions of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable

from kernels import checks
from kernels.cpu.functions import erf, exp, log1p, sigmoid, tanh
from kernels.cpu.jit import ParallelKernel, parallel_kernel
from kernels.cpu.memory import contiguous
from kernels.cpu.vector import absolute, choose, first_of_part, lanes, larger, load_first, store_first


def activation(x: np.ndarray, name: str, slope: float | None = None) -> np.ndarray:
    """The function called `name` of x, element by element; `slope` is leaky_relu's, below 0."""
    checks.activation(x, name, slope)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    parameters = () if slope is None else (float(slope),)
    _FORWARD[name](8 * x.size, x.reshape(-1), y.reshape(-1), *parameters)
    return y


def activation_backward(g: np.ndarray, v: np.ndarray, name: str, slope: float | None = None) -> np.ndarray:
    """g times the derivative of function `name`; v is its output for relu, sigmoid and tanh, else its input."""
    checks.activation_backward(g, v, name, slope)
    g, v = contiguous(g), contiguous(v)
    dx = np.empty(v.shape, v.dtype)
    parameters = () if slope is None else (float(slope),)
    _BACKWARD[name](8 * v.size, g.reshape(-1), v.reshape(-1), dx.reshape(-1), *parameters)
    return dx


# ---- functions of vectors ------------------------------------------------------------------------------


@register_jitable
def relu(x):
    return larger(x, 0.0)


@register_jitable
def relu_slope(y):
    return choose(y > 0.0, choose(y > 0.0, 1.0, y), 0.0)  # choose makes vectors of numbers only next to a vector


@register_jitable
def sigmoid_slope(y):
    return y * (1.0 - y)


@register_jitable
def tanh_slope(y):
    return 1.0 - y * y


@register_jitable
def erf_slope(x):
    return 2 / math.sqrt(math.pi) * exp(-x * x)


@register_jitable
def silu(x):
    return x * sigmoid(x)


@register_jitable
def silu_slope(x):
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@register_jitable
def softplus(x):
    return larger(x, 0.0) + log1p(exp(-absolute(x)))


@register_jitable
def gelu(x):
    return x * (0.5 + 0.5 * erf(x * math.sqrt(0.5)))


@register_jitable
def gelu_slope(x):
    return 0.5 + 0.5 * erf(x * math.sqrt(0.5)) + x * exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@register_jitable
def gelu_tanh(x):
    return x * (0.5 + 0.5 * tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@register_jitable
def gelu_tanh_slope(x):
    t = tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    inner = math.sqrt(2 / math.pi) * (1.0 + 3 * 0.044715 * x * x)
    return 0.5 + 0.5 * t + 0.5 * x * (1.0 - t * t) * inner


# ---- kernels -------------------------------------------------------------------------------------------


def _forward(name: str, function: Callable) -> ParallelKernel:
    def body(part, parts, x, y):
        for at in range(first_of_part(x, part, parts), first_of_part(x, part + 1, parts), lanes(x)):
            store_first(y, at, function(load_first(x, at, x.size - at)), x.size - at)

    return _named(name, body)


def _backward(name: str, slope: Callable) -> ParallelKernel:
    def body(part, parts, g, v, dx):
        for at in range(first_of_part(v, part, parts), first_of_part(v, part + 1, parts), lanes(v)):
            d = load_first(g, at, v.size - at) * slope(load_first(v, at, v.size - at))
            store_first(dx, at, d, v.size - at)

    return _named(f"{name}_backward", body)


def _named(name: str, body: Any) -> ParallelKernel:
    """Numba finds a kernel's machine code on disk by its name, and by the functions that it closes over."""
    body.__name__ = body.__qualname__ = name
    return parallel_kernel(body)


@parallel_kernel
def _leaky_relu(part, parts, x, y, slope):
    for at in range(first_of_part(x, part, parts), first_of_part(x, part + 1, parts), lanes(x)):
        v = load_first(x, at, x.size - at)
        store_first(y, at, choose(v > 0.0, v, v * slope), x.size - at)


@parallel_kernel
def _leaky_relu_backward(part, parts, g, x, dx, slope):
    for at in range(first_of_part(x, part, parts), first_of_part(x, part + 1, parts), lanes(x)):
        d = load_first(g, at, x.size - at)
        store_first(dx, at, choose(load_first(x, at, x.size - at) > 0.0, d, d * slope), x.size - at)


_FUNCTIONS: dict[str, tuple[Callable, Callable]] = dict(
    relu=(relu, relu_slope),
    sigmoid=(sigmoid, sigmoid_slope),
    tanh=(tanh, tanh_slope),
    exp=(exp, exp),
    erf=(erf, erf_slope),
    silu=(silu, silu_slope),
    softplus=(softplus, sigmoid),
    gelu=(gelu, gelu_slope),
    gelu_tanh=(gelu_tanh, gelu_tanh_slope),
)
_FORWARD = {name: _forward(name, f) for name, (f, _) in _FUNCTIONS.items()} | {"leaky_relu": _leaky_relu}
_BACKWARD = {name: _backward(name, d) for name, (_, d) in _FUNCTIONS.items()} | {"leaky_relu": _leaky_relu_backward}
