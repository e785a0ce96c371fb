"""Equalised layers keep a variance of about 1, whatever their width, and learn as fast as they are told to."""

import numpy as np
import pytest

import minigen
from minigen.gans.equalised import EqualisedConv2d, EqualisedLinear


@pytest.fixture(autouse=True)
def seeded():
    minigen.manual_seed(0)


@pytest.mark.parametrize("rate", [1.0, 0.1])
@pytest.mark.parametrize("width", [16, 256])
def test_linear_layers_keep_the_variance(width, rate):
    x = minigen.randn(500, width)
    assert EqualisedLinear(width, 300, learning_rate=rate)(x).numpy().std() == pytest.approx(1, abs=0.05)
    active = EqualisedLinear(width, 300, activation=True, learning_rate=rate)(x).numpy()
    assert np.square(active).mean() == pytest.approx(1 + 0.2**2, abs=0.1)  # of 2 x's halves: 1 above 0, 0.2^2 below


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("width", [8, 64])
def test_convolutions_keep_the_variance(width, kernel):
    x = minigen.randn(16, 12, 12, width)
    active = EqualisedConv2d(width, 64, kernel)(x).numpy()[:, 1:-1, 1:-1]  # the edge sees zeros
    assert np.square(active).mean() == pytest.approx(1 + 0.2**2, abs=0.1)


def test_a_convolution_with_stride_halves():
    x = minigen.randn(2, 12, 8, 3)
    whole = EqualisedConv2d(3, 4, 3)
    np.testing.assert_allclose(whole(x, stride=2).numpy(), whole(x).numpy()[:, ::2, ::2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [4, 400])
def test_what_is_learned_is_of_size_1_and_a_step_of_adam_changes_it_as_much_at_any_width(width):
    layer = EqualisedLinear(width, 100)
    assert layer.weight.numpy().std() == pytest.approx(1, abs=0.1)
    before = layer.weight.numpy()
    optimizer = minigen.optim.Adam(layer.parameters(), lr=0.01, eps=1e-15)
    (layer(minigen.randn(50, width)) ** 2).mean().backward()
    optimizer.step()
    np.testing.assert_allclose(np.abs(layer.weight.numpy() - before), 0.01, rtol=1e-2)


def test_a_learning_rate_slows_the_layer_but_not_its_start():
    x = minigen.randn(200, 32)
    moved = []
    for rate in (1.0, 0.1):
        layer = EqualisedLinear(32, 100, bias=1.0, learning_rate=rate)
        assert layer(0 * x).numpy() == pytest.approx(1)
        before = layer(x).numpy()
        optimizer = minigen.optim.Adam(layer.parameters(), lr=0.01)
        (layer(x) ** 2).mean().backward()
        optimizer.step()
        moved.append(np.abs(layer(x).numpy() - before).mean())
    assert moved[1] / moved[0] == pytest.approx(0.1, rel=0.2)
