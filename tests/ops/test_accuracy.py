"""Far from 0 and close to it, functions keep their relative accuracy, and nothing overflows on the way."""

import numpy as np
import pytest

import minigen


def log_of_sigmoid(x):
    return -np.log1p(np.exp(-np.abs(x))) + np.minimum(x, 0)


FAR = {
    "sigmoid": lambda x: np.exp(log_of_sigmoid(x)),
    "silu": lambda x: x * np.exp(log_of_sigmoid(x)),
    "softplus": lambda x: -log_of_sigmoid(-x),
    "tanh": np.tanh,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "exp": np.exp,
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_accurate_far_out(name, dtype):
    """To a relative error, where values are tiny or saturate; and no warning."""
    x = np.array([-80, -40, -20, -1e-3, -1e-7, 1e-7, 1e-3, 20, 40, 80], dtype)
    x = np.abs(x) if name == "log1p" else x
    with np.errstate(all="raise", under="ignore"):
        y = getattr(minigen, name)(minigen.tensor(x)).data
    np.testing.assert_allclose(y, FAR[name](x.astype(np.float64)), rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_overflows(dtype):
    x = minigen.tensor(np.array([[1000.0, 999.0, -1000.0]], dtype), requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        for name, expected in {
            "sigmoid": [1, 1, 0],
            "silu": [1000, 999, 0],
            "softplus": [1000, 999, 0],
            "softmax": [0.7310586, 0.2689414, 0],
            "log_softmax": [-0.3132617, -1.3132617, -2000.3132617],
            "elu": [1000, 999, -1],
            "gelu": [1000, 999, 0],
            "tanh": [1, 1, -1],
            "erf": [1, 1, -1],
        }.items():
            y = getattr(minigen, name)(x)
            np.testing.assert_allclose(y.data, [expected], rtol=1e-6, atol=1e-30)
            y.backward(np.ones((1, 3), dtype))
            assert np.isfinite(x.grad.data).all(), name
        assert minigen.logsumexp(x).item() == pytest.approx(1000.3132617)
