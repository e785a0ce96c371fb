"""Spectral norm against numpy's singular values, its gradient, and the state of its power iteration."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gradcheck import gradcheck
from minigen.nn import SpectralNorm


def largest_singular_value(weight):
    return np.linalg.svd(weight.reshape(-1, weight.shape[-1]), compute_uv=False)[0]


@pytest.fixture
def rng():
    minigen.manual_seed(0)
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 1), (4, 4, 3, 8), (3, 3, 3, 2, 4)])
def test_the_largest_singular_value_becomes_one(shape, rng):
    weight = rng.normal(size=shape)
    y = SpectralNorm(Tensor(weight), start=300)(Tensor(weight)).numpy()
    assert y.shape == shape and y.dtype == np.float64
    np.testing.assert_allclose(largest_singular_value(y), 1, rtol=1e-6)
    np.testing.assert_allclose(y * largest_singular_value(weight), weight, rtol=1e-6)


def test_one_step_a_call_finds_it_too_but_only_in_training(rng):
    weight = Tensor(rng.normal(size=(20, 10)))
    norm = SpectralNorm(weight, start=0)
    off = [abs(largest_singular_value(norm(weight).numpy()) - 1) for _ in range(100)]
    assert off[0] > 0.02 and off[-1] < 1e-4
    norm = SpectralNorm(weight, start=0).eval()
    before = norm.u.numpy().copy()
    assert np.array_equal(norm(weight).numpy(), norm(weight).numpy())
    assert np.array_equal(norm.u.numpy(), before)


def test_the_iteration_goes_on_from_its_saved_state(rng):
    weight = Tensor(rng.normal(size=(6, 5)))
    norm, other = SpectralNorm(weight, start=2), SpectralNorm(weight, start=0)
    assert not np.array_equal(norm(weight).numpy(), other(weight).numpy())
    other = SpectralNorm(weight, start=0)
    norm = SpectralNorm(weight, start=2)
    other.load_state_dict(norm.state_dict())
    assert np.array_equal(norm(weight).numpy(), other(weight).numpy())


def test_the_gradient_is_that_of_dividing_by_the_singular_value(rng):
    weight, cotangent, direction = rng.normal(size=(3, 3, 2, 4))
    norm = SpectralNorm(Tensor(weight), start=2000).eval()
    x = minigen.tensor(weight, requires_grad=True)
    norm(x).backward(Tensor(cotangent))
    above, below = (weight + sign * 1e-5 * direction for sign in (1, -1))
    numeric = [(cotangent * w / largest_singular_value(w)).sum() for w in (above, below)]
    np.testing.assert_allclose((x.grad.numpy() * direction).sum(), (numeric[0] - numeric[1]) / 2e-5, rtol=1e-7)


def test_gradcheck(rng):
    weight = Tensor(rng.normal(size=(2, 3, 4)))
    gradcheck(SpectralNorm(weight).eval(), [weight])


def test_a_graph_goes_backward_after_a_later_call(rng):
    """D judges real and fake images one after the other, and then learns from both."""
    weight = minigen.tensor(rng.normal(size=(6, 5)), requires_grad=True)
    norm = SpectralNorm(weight)
    assert not norm.u.requires_grad
    ((norm(weight) ** 3).sum() + (norm(weight) ** 3).sum()).backward()
    assert np.isfinite(weight.grad.numpy()).all()
