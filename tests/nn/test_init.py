"""Starting values: the mean, variance and range that each function promises."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen import nn
from minigen.nn import init

# For a weight (3, 3, 20, 60): fan_in = 9 * 20, fan_out = 9 * 60.
SHAPE, FAN_IN, FAN_OUT = (3, 3, 20, 60), 180, 540
VARIANCES = {
    "normal": (lambda t: init.normal_(t, 0.0, 0.3), 0.09, math.inf),
    "uniform": (lambda t: init.uniform_(t, -0.5, 0.5), 1 / 12, 0.5),
    "kaiming_normal": (init.kaiming_normal_, 2 / FAN_IN, math.inf),
    "kaiming_uniform": (init.kaiming_uniform_, 2 / FAN_IN, math.sqrt(6 / FAN_IN)),
    "kaiming gain": (lambda t: init.kaiming_uniform_(t, 1.0), 1 / FAN_IN, math.sqrt(3 / FAN_IN)),
    "xavier_normal": (init.xavier_normal_, 2 / (FAN_IN + FAN_OUT), math.inf),
    "xavier_uniform": (init.xavier_uniform_, 2 / (FAN_IN + FAN_OUT), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "xavier gain": (lambda t: init.xavier_normal_(t, 3.0), 18 / (FAN_IN + FAN_OUT), math.inf),
}


@pytest.mark.parametrize(("fill", "variance", "bound"), VARIANCES.values(), ids=VARIANCES)
def test_mean_variance_and_bound(fill, variance, bound):
    """Five standard deviations, 6e-7 of false alarm: x^2 / variance varies by 2 if normal, by 4/5 if uniform."""
    mg.manual_seed(0)
    t = nn.Parameter(np.zeros(SHAPE))
    assert fill(t) is t
    x = t.numpy().ravel() / math.sqrt(variance)
    assert abs(x.mean()) < 5 / math.sqrt(x.size)
    spread = 2 if bound == math.inf else 4 / 5
    assert abs((x**2).mean() - 1) < 5 * math.sqrt(spread / x.size)
    if bound == math.inf:
        assert np.abs(x).max() > 3  # none of 10,800 normal numbers beyond 3: probability 2e-13
    else:
        assert 0.99 * bound < np.abs(t.numpy()).max() <= bound
    assert t.requires_grad and t.dtype == np.float64


def test_constants_keep_shape_and_dtype():
    for fill, value in [(init.zeros_, 0), (init.ones_, 1), (lambda t: init.constant_(t, 2.5), 2.5)]:
        t = fill(nn.Parameter(np.full((2, 3), 7.0, np.float32)))
        assert t.dtype == np.float32
        np.testing.assert_array_equal(t.numpy(), np.full((2, 3), value))


def test_starting_values_follow_the_seed():
    states = []
    for seed in (0, 0, 1):
        mg.manual_seed(seed)
        states.append(nn.Linear(3, 3).state_dict()["weight"])
    np.testing.assert_array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])
