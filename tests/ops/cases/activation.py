"""Cases of `minigen/ops/activation.py`."""

import math

import numpy as np

import minigen

from .drawing import case
from .elementwise import erf, unary

unary("relu", lambda x: np.where(x > 0, x, 0), kinks=[0])
unary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -6, 6)
unary("silu", lambda x: x / (1 + np.exp(-x)), -6, 6)
unary("softplus", lambda x: np.log(1 + np.exp(x)), -6, 6)


@case("leaky_relu")
def _(d):
    slope = d.choice(0.01, 0.2)
    x = d.spaced(d.shape(), kinks=[0])
    return lambda x: minigen.leaky_relu(x, slope), [x], lambda x: np.where(x > 0, x, slope * x)


@case("elu")
def _(d):
    alpha = d.choice(1.0, 0.5)
    x = d.spaced(d.shape(), kinks=[0])
    return lambda x: minigen.elu(x, alpha), [x], lambda x: np.where(x > 0, x, alpha * (np.exp(x) - 1))


@case("gelu")
def _(d):
    approximate = d.choice("none", "tanh")
    formulas = {
        "none": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        "tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    }
    x = d.spaced(d.shape(), -3, 3)
    return lambda x: minigen.gelu(x, approximate), [x], formulas[approximate]


@case("softmax")
def _(d):
    shape = d.shape(min_axes=1)
    axis = d.axis(len(shape))
    return (
        lambda x: minigen.softmax(x, axis),
        [d.normal(shape) * 2],
        lambda x: np.exp(x) / np.exp(x).sum(axis, keepdims=True),
    )


@case("log_softmax")
def _(d):
    shape = d.shape(min_axes=1, empty=False)
    axis = d.axis(len(shape))
    return (
        lambda x: minigen.log_softmax(x, axis),
        [d.normal(shape) * 2],
        lambda x: x - np.log(np.exp(x).sum(axis, keepdims=True)),
    )
