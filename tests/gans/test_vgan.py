"""The networks of VGAN: shapes, what they see of time, and errors."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import VGANDiscriminator, VGANGenerator, r1_penalty
from minigen.random import Generator


@pytest.mark.parametrize("shape", [(8, 8, 8, 1), (16, 8, 24, 3)])
def test_shapes_and_ranges(shape):
    minigen.manual_seed(0)
    g, d = VGANGenerator(shape, latent=5, channels=2), VGANDiscriminator(shape, channels=2)
    z = g.noise(3, Generator(1))
    assert z.shape == (3, 5)
    videos = g(z)
    assert videos.shape == (3, *shape) and abs(videos.numpy()).max() <= 1
    assert d(videos).shape == (3, 1)
    videos.sum().backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in g.parameters())


def test_the_discriminator_sees_the_order_of_the_frames():
    minigen.manual_seed(0)
    d = VGANDiscriminator((8, 8, 8, 1), channels=2)
    x = minigen.randn(2, 8, 8, 8, 1).numpy()
    assert abs(d(Tensor(x)).numpy() - d(Tensor(x[:, ::-1].copy())).numpy()).min() > 1e-4


def test_a_video_is_judged_by_itself_and_its_gradient_can_be_penalised():
    minigen.manual_seed(0)
    d = VGANDiscriminator((8, 8, 8, 1), channels=2)
    x = minigen.randn(3, 8, 8, 8, 1)
    np.testing.assert_allclose(d(x[:1]).numpy(), d(x).numpy()[:1], rtol=1e-5)
    r1_penalty(d, x).backward()
    assert all(p.grad is not None for conv in d.halve for p in (conv.weight,))


@pytest.mark.parametrize("network", [VGANGenerator, VGANDiscriminator])
def test_sizes_that_cannot_be_halved_are_refused(network):
    with pytest.raises(ValueError, match=rf"{network.__name__}: .*multiples of 8, got \(12, 16, 16, 1\)"):
        network((12, 16, 16, 1))
