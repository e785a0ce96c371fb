"""The functions of vectors, to the last bits of their results."""

import math

import numpy as np
import pytest

from kernels import cpu, reference

EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}


def units_off(got, exact):
    """The largest error, in units of the last place of the exact result."""
    unit = np.spacing(np.abs(exact.astype(got.dtype))).astype(exact.dtype)
    return np.max(np.abs(got.astype(exact.dtype) - exact) / unit)


@pytest.mark.parametrize("name, units", [("exp", 2), ("tanh", 2), ("erf", 2), ("sigmoid", 3), ("softplus", 3)])
def test_float32_is_right_to_the_last_bits(name, units):
    x = np.concatenate([np.linspace(-86, 86, 400_001), np.linspace(-4, 4, 400_001), np.geomspace(1e-30, 1, 10_001)])
    x = x.astype(np.float32)
    assert units_off(cpu.activation(x, name), EXACT[name](x.astype(np.float64))) <= units


@pytest.mark.parametrize("name", EXACT)
def test_float64_is_right_to_the_last_bits(name):
    """Against NumPy's float64, which is itself a unit or two off."""
    x = np.concatenate([np.linspace(-700, 700, 100_001), np.linspace(-4, 4, 100_001), np.geomspace(1e-300, 1, 10_001)])
    assert units_off(cpu.activation(x, name), EXACT[name](x)) <= 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out(dtype):
    x = np.array([-np.inf, np.finfo(dtype).min, -1000, 0, 1000, np.finfo(dtype).max, np.inf], dtype)
    one, inf = np.array([0, 0, 0, 0.5, 1, 1, 1], dtype), np.inf
    np.testing.assert_array_equal(cpu.activation(x, "exp"), [0, 0, 0, 1, inf, inf, inf])
    np.testing.assert_array_equal(cpu.activation(x, "sigmoid"), one)
    for name in ("tanh", "erf"):
        np.testing.assert_array_equal(cpu.activation(x, name), 2 * one - 1)
    for name in ("relu", "softplus"):
        expected = np.maximum(x, 0)
        expected[3] = np.log(2) if name == "softplus" else 0
        np.testing.assert_array_equal(cpu.activation(x, name), expected)


def test_subnormal_results_of_exp():
    x = np.linspace(-110, -86, 10_001).astype(np.float32)
    assert np.abs(cpu.activation(x, "exp") - np.exp(x.astype(np.float64))).max() < 3e-45
    assert cpu.activation(np.linspace(88, 90, 10_001).astype(np.float32), "exp").max() == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "sigmoid"])
def test_gradients_at_infinity_are_those_of_the_reference(name, dtype):
    v = np.array([np.inf, -np.inf, np.nan, 0, 3, -3] * 5, dtype)
    if name in ("tanh", "sigmoid"):  # these are given their output
        v = np.clip(v, 0, 1)
    slope = {"slope": 0.2} if name == "leaky_relu" else {}
    g = np.full_like(v, 2)
    expected = reference.activation_backward(g, v, name, **slope)
    np.testing.assert_allclose(cpu.activation_backward(g, v, name, **slope), expected, rtol=1e-6)
