"""Autoencoder: images to codes and back, every pixel in [0, 1], and every weight on the way between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen.autoencoders import Autoencoder, squared_error


@settings(max_examples=10)
@given(
    n=st.integers(1, 3),
    height=st.sampled_from([4, 8, 12]),
    width=st.sampled_from([4, 8]),
    channels=st.sampled_from([1, 3]),
    code_size=st.integers(1, 5),
)
def test_shapes_and_range(n, height, width, channels, code_size):
    network = Autoencoder((height, width, channels), code_size, channels=8, patch=2)
    x = minigen.rand(n, height, width, channels)
    z = network.encode(x)
    assert z.shape == (n, code_size)
    y = network.decode(100 * z)  # codes are numbers of any size
    assert y.shape == x.shape and y.dtype == x.dtype
    assert y.numpy().min() >= 0 and y.numpy().max() <= 1
    np.testing.assert_array_equal(network(x).numpy(), network.decode(z).numpy())


def test_every_parameter_has_a_gradient():
    minigen.manual_seed(0)
    network = Autoencoder((8, 8, 1), 3, channels=8)
    for p in network.parameters():  # residual blocks start at zero
        p.assign_((p + 0.1 * minigen.randn(*p.shape)).numpy())
    x = minigen.rand(2, 8, 8, 1)
    squared_error(network(x), x).mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


def test_images_of_another_shape_are_refused():
    network = Autoencoder((8, 8, 1), 3, channels=8, patch=2)
    with pytest.raises(ValueError, match=r"image_shape \(8, 8, 1\), got shape \(2, 6, 8, 1\)"):
        network(minigen.rand(2, 6, 8, 1))
