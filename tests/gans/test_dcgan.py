"""DCGAN's networks: shapes, what is normalised, what is judged together, and that they are on the tape as they say."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import DCGANDiscriminator, DCGANGenerator, small_weights_
from minigen.nn import functional as F


@pytest.fixture(autouse=True)
def seeded():
    minigen.manual_seed(0)


@pytest.mark.parametrize(
    ("shape", "levels"), [((28, 28, 1), 2), ((32, 32, 3), 3), ((8, 8, 1), 2), ((12, 4, 3), 2), ((6, 6, 1), 1)]
)
def test_shapes(shape, levels):
    settings = dict(channels=4, levels=levels)
    g, d = DCGANGenerator(shape, latent=5, **settings), DCGANDiscriminator(shape, **settings)
    x = g(g.noise(3))
    assert len(DCGANDiscriminator(shape, middle=1, **settings).norms) == levels  # all convolutions but the first
    assert x.shape == (3, *shape) and np.abs(x.numpy()).max() <= 1
    assert d(x).shape == (3, 1)


@pytest.mark.parametrize("middle", [0, 2])
def test_the_generator_is_what_it_says(middle):
    g = DCGANGenerator((8, 8, 1), latent=5, channels=4, middle=middle)
    z = g.noise(6)
    h = F.linear(z, g.first.weight).reshape(6, 2, 2, 8)
    for conv in (*g.middle, g.double[0], g.last):
        h = (h - h.mean((0, 1, 2))) / minigen.sqrt(h.var((0, 1, 2)) + 1e-5)
        h = conv(F.relu(h))
    np.testing.assert_allclose(g(z).numpy(), minigen.tanh(h).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("middle", [0, 2])
def test_the_discriminator_is_what_it_says(middle):
    d = DCGANDiscriminator((8, 8, 1), channels=4, norm=None, middle=middle)
    h = x = minigen.randn(3, 8, 8, 1)
    for conv in (d.halve[0], d.halve[1], *d.middle):
        h = F.leaky_relu(conv(h), 0.2)
    np.testing.assert_allclose(d(x).numpy(), d.last(h.reshape(3, -1)).numpy(), rtol=1e-4, atol=1e-5)


def test_without_batch_norm_an_image_is_judged_by_itself():
    x = minigen.randn(4, 8, 8, 1).numpy()
    for norm, alone in ((None, True), ("batch", False)):
        d = DCGANDiscriminator((8, 8, 1), channels=4, norm=norm)
        assert np.allclose(d(Tensor(x)).numpy()[:2], d(Tensor(x[:2])).numpy(), atol=1e-5) == alone


def test_spectral_norm_bounds_how_fast_the_logits_change():
    d = DCGANDiscriminator((8, 8, 3), channels=8, norm=None, spectral_norm=True)
    for p in d.parameters():
        p.assign_(30 * p.data)
    d.eval()
    assert len(d.spectral) == 3
    # W has one row for each pixel of a kernel and channel; an input pixel is in four 4 x 4 patches of stride 2, so a
    # convolution lengthens by at most sqrt(4) times W's largest singular value.
    a, b = minigen.randn(64, 8, 8, 3), minigen.randn(64, 8, 8, 3)
    change = np.abs(d(a).numpy() - d(b).numpy())[:, 0]
    distance = np.linalg.norm((a - b).numpy().reshape(64, -1), axis=1)
    assert (change <= 2 * 2 * distance * 1.05).all() and change.max() > 0


def test_images_that_are_judged_together():
    d = DCGANDiscriminator((8, 8, 3), channels=4, norm=None, pack=2)
    x = minigen.randn(6, 8, 8, 3).numpy()
    logits = d(Tensor(x)).numpy()
    assert logits.shape == (3, 1) and d.halve[0].weight.shape == (4, 4, 6, 4)
    changed = x.copy()
    changed[3] += 1
    assert (d(Tensor(changed)).numpy() != logits)[:, 0].tolist() == [False, True, False]
    one = DCGANDiscriminator((8, 8, 6), channels=4, norm=None)
    one.load_state_dict(d.state_dict())
    pairs = np.concatenate([x[0::2], x[1::2]], -1)
    np.testing.assert_allclose(one(Tensor(pairs)).numpy(), logits, rtol=1e-5, atol=1e-6)


def test_small_weights():
    g = DCGANGenerator((28, 28, 1), latent=50)
    small_weights_(g, std=0.02)
    for p in (g.first.weight, g.double[0].weight, g.last.weight):
        assert abs(p.numpy().std() / 0.02 - 1) < 0.1 and abs(p.numpy().mean()) < 0.003
    assert (g.norms[0].weight.numpy() == 1).all()


def test_errors():
    with pytest.raises(ValueError, match="must be divisible by 4"):
        DCGANGenerator((30, 28, 1))
    with pytest.raises(ValueError, match="must be divisible by 8"):
        DCGANDiscriminator((28, 28, 1), levels=3)
    with pytest.raises(ValueError, match="norm must be"):
        DCGANDiscriminator((28, 28, 1), norm="layer")
    with pytest.raises(ValueError, match="norm=None"):
        DCGANDiscriminator((28, 28, 1), spectral_norm=True)
    with pytest.raises(ValueError, match="5 images cannot be judged 2 at a time"):
        DCGANDiscriminator((8, 8, 1), pack=2)(minigen.randn(5, 8, 8, 1))
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        DCGANGenerator((8, 8, 1), levels=0)
    with pytest.raises(ValueError, match=r"needs images \(N, 8, 8, 1\), got \(2, 16, 16, 1\)"):
        DCGANDiscriminator((8, 8, 1))(minigen.randn(2, 16, 16, 1))
