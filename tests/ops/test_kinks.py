"""Where an operation has no derivative, or its formula for it breaks down, minigen picks a value: it is stated here.

The checks against difference quotients stay away from these places.
"""

import numpy as np
import pytest

import minigen
from minigen import F

from .checks import assert_close

INF = np.inf

# (what, the function, its inputs, their gradients for the output gradient 1, 2, 3, ...)
KINKS = [
    ("relu: 0 at 0", minigen.relu, [[-1.0, 0.0, 1.0]], [[0, 0, 3]]),
    ("abs: 0 at 0", minigen.abs, [[-1.0, 0.0, 1.0]], [[-1, 0, 3]]),
    ("leaky_relu: the slope of the negative side", lambda x: minigen.leaky_relu(x, 0.25), [[0.0]], [[0.25]]),
    ("elu: 1 at 0, where both sides meet", minigen.elu, [[0.0, -0.0]], [[1, 2]]),
    ("maximum: half each at a tie", minigen.maximum, [[1.0, 2.0, 3.0], [1.0, 1.0, 4.0]], [[0.5, 2, 0], [0.5, 0, 3]]),
    ("minimum: half each at a tie", minigen.minimum, [[1.0, 2.0, 3.0], [1.0, 1.0, 4.0]], [[0.5, 0, 3], [0.5, 2, 0]]),
    ("maximum with a number: half at a tie", lambda x: minigen.maximum(x, 1), [[1.0, 2.0]], [[0.5, 2]]),
    ("max: shared by equals", minigen.max, [[[3.0, 1.0], [3.0, 3.0]]], [[[1 / 3, 0], [1 / 3, 1 / 3]]]),
    ("max: along an axis", lambda x: minigen.max(x, 1), [[[3.0, 1.0], [3.0, 3.0]]], [[[1, 0], [1, 1]]]),
    ("min: shared by equals", lambda x: minigen.min(x, 0), [[[3.0, 1.0], [3.0, 3.0]]], [[[0.5, 2], [0.5, 0]]]),
    ("clip: 1 at the bounds", lambda x: minigen.clip(x, -1, 2), [[-2.0, -1.0, 0, 2.0, 3.0]], [[0, 2, 3, 4, 0]]),
    ("clip: to x, at tensor bounds", minigen.clip, [[1.0, 2.0], [1.0, 0.0], [3.0, 2.0]], [[1, 2], [0, 0], [0, 0]]),
    ("clip: to high, at crossed bounds", minigen.clip, [[1.0], [2.0], [0.0]], [[0], [0], [1]]),
    ("norm: 0 at 0", lambda x: minigen.norm(x, 1), [[[0.0, 0.0], [3.0, 4.0]]], [[[0, 0], [1.2, 1.6]]]),
    ("power: x**0 at 0", lambda x: x**0, [[0.0, 2.0]], [[0, 0]]),
    ("power: x**p at 0", minigen.power, [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], [[0, 2, 0], [0, 0, 0]]),
    ("power: of a negative number", minigen.power, [[-2.0], [3.0]], [[12], [0]]),
    ("power: of the number 0", lambda p: 0.0**p, [[1.0, 2.0]], [[0, 0]]),
    ("logsumexp: 0 if all are -inf", lambda x: minigen.logsumexp(x, 1), [[[-INF] * 2, [0, -INF]]], [[[0, 0], [2, 0]]]),
    ("log_softmax: at -inf", lambda x: minigen.log_softmax(x)[0], [[0.0, -INF]], [[0, 0]]),
    ("sqrt: infinite at 0", minigen.sqrt, [[0.0]], [[INF]]),
    ("prod: with one 0", minigen.prod, [[2.0, 0.0, 3.0]], [[0, 6, 0]]),
    ("prod: with two", minigen.prod, [[2.0, 0.0, 0.0]], [[0, 0, 0]]),
    ("max_pool1d: shared by equals", lambda x: minigen.max_pool1d(x, 2), [[[[1.0], [1.0]]]], [[[[0.5], [0.5]]]]),
    ("l1_loss: 0 at 0", lambda x, t: F.l1_loss(x, t, "sum"), [[1.0], [1.0]], [[0], [0]]),
    ("huber_loss: at delta, at 0", lambda x: F.huber_loss(x, 0 * x, 1.0, "none"), [[1.0, -1.0, 0.0]], [[1, -2, 0]]),
]  # fmt: skip


def check_kink(function, inputs, expected, device="cpu"):
    tensors = [minigen.tensor(np.array(x, np.float64), device=device, requires_grad=True) for x in inputs]
    y = function(*tensors)
    with np.errstate(divide="ignore"):
        y.backward(minigen.tensor(np.arange(1.0, 1 + y.size).reshape(y.shape), device=device))
    for t, e in zip(tensors, expected, strict=True):
        assert_close(t.grad.numpy(), np.array(e, np.float64), 1e-14, "the gradient")


@pytest.mark.parametrize("function, inputs, expected", [k[1:] for k in KINKS], ids=[k[0] for k in KINKS])
def test_the_derivative_at_a_kink(function, inputs, expected, device):
    check_kink(function, inputs, expected, device)
