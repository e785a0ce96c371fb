"""The mean of all images that could have become x: its definition, and that it is where targets scatter around."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import Diffusion, PosteriorMean
from minigen.random import Generator

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (5, 2, 3, 1))


def textbook(x, alpha_bar):
    """E[x0 | x] of IMAGES, by Bayes' rule."""
    weights = []
    for image in IMAGES:
        squares = ((x - np.sqrt(alpha_bar) * image) ** 2).sum()
        weights.append(np.exp(-squares / (2 * (1 - alpha_bar))))
    return sum(w * image for w, image in zip(weights, IMAGES, strict=True)) / sum(weights)


@pytest.mark.parametrize("alpha_bar", [0.0, 0.1, 0.7, np.array([0.9, 0.5, 0.01])])
def test_it_is_bayes_rule(alpha_bar):
    x = RNG.standard_normal((3, 2, 3, 1))
    expected = [textbook(*pair) for pair in zip(x, np.broadcast_to(alpha_bar, 3), strict=True)]
    found = PosteriorMean(IMAGES)(Tensor(x), alpha_bar)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_it_is_exact_at_both_ends_in_float32():
    mean, diffusion = PosteriorMean(IMAGES.astype(np.float32)), Diffusion()
    x, _ = diffusion.add_noise(Tensor(IMAGES.astype(np.float32)), np.zeros(5, int), Generator(0))
    np.testing.assert_allclose(mean(x, diffusion.alpha_bar(0)).numpy(), IMAGES, atol=1e-5)
    every = np.broadcast_to(IMAGES.mean(0), IMAGES.shape)
    np.testing.assert_allclose(mean(x, 0.0).numpy(), every, atol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_the_mean_target_is_the_mean_of_the_targets(prediction):
    """Whatever function f of x_t weighs them: E[f(x_t) (target - mean target)] is 0, so the minima are the same."""
    diffusion, mean, n = Diffusion(prediction=prediction), PosteriorMean(IMAGES), 40_000
    x0, t = Tensor(IMAGES[np.arange(n) % 5]), np.full(n, 600)
    x_t, noise = diffusion.add_noise(x0, t, Generator(1))
    off = (diffusion.target(x0, noise, t) - diffusion._mean_target(mean, x_t, t)).numpy()
    assert np.abs(off).max() > 0.3
    for f in (np.ones_like(off), np.sin(3 * x_t.numpy()), x_t.numpy()[:, ::-1]):
        each = (f * off).reshape(n, -1)
        assert (np.abs(each.mean(0)) < 4.5 * each.std(0) / np.sqrt(n)).all()


def test_the_loss_and_its_parts_are_on_the_device_of_the_images(device):
    images = IMAGES.astype(np.float32)
    losses = {}
    for where in ("cpu", device):
        x0 = Tensor(images).to(where)
        mean = PosteriorMean(x0)
        assert mean.device == mean.images.device == x0.device
        loss = Diffusion(prediction="v").loss(lambda x, t: x, x0, Generator(3), mean)
        assert loss.device == x0.device
        losses[where] = loss.item()
    assert losses[device] == pytest.approx(losses["cpu"], rel=1e-5)


def test_the_loss_of_the_mean_itself_is_zero():
    diffusion, mean, x0 = Diffusion(prediction="x0"), PosteriorMean(IMAGES), Tensor(IMAGES)

    def network(x, t):
        return mean(x, diffusion.alphas_cumprod[t])

    assert diffusion.loss(network, x0, Generator(2), mean).item() == 0
    assert diffusion.loss(network, x0, Generator(2)).item() > 1e-3


def test_images_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"made of images of 6 numbers, got x of \(2, 2, 2, 1\)"):
        PosteriorMean(IMAGES)(minigen.randn(2, 2, 2, 1), 0.5)
    with pytest.raises(TypeError, match="PosteriorMean: needs images of floats, got uint8"):
        PosteriorMean(np.zeros((2, 4), np.uint8))
