"""Activation functions and their derivatives: one pass over memory each."""

from __future__ import annotations

from typing import Any

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

_source = Source("activation.cu")


def activation(x: Array, name: str, slope: float | None = None) -> Array:
    """The function called `name` of x, element by element; `slope` is leaky_relu's, below 0."""
    checks.activation(x, name, slope)
    return _launch("activation", (contiguous(x),), name, slope)


def activation_backward(g: Array, v: Array, name: str, slope: float | None = None) -> Array:
    """g times the derivative of function `name`; v is its output for relu, sigmoid and tanh, else its input."""
    checks.activation_backward(g, v, name, slope)
    return _launch("activation_backward", (contiguous(g), contiguous(v)), name, slope)


def _launch(kernel: str, given: tuple[Array, ...], name: str, slope: float | None) -> Array:
    result = empty(given[0].shape, given[0])
    width = vector_width(0, *given, result)  # of any size: the kernel minds a short last vector
    function = checks.ACTIVATIONS.index(name)  # its place there is its number in the kernel
    args = (*given, result, result.size, function, 0.0 if slope is None else slope)
    _source.launch(f"{kernel}<{ctype(result.dtype)}, {width}>", args, (result.size,), (256 * width,), 256)
    return result
