"""The conditional networks and the mode-seeking term: what they are made of, and that the label counts."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import ConditionalGenerator, ProjectionDiscriminator, mode_seeking

SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def seeded():
    minigen.manual_seed(0)


def test_the_label_changes_the_image():
    g = ConditionalGenerator(SHAPE, classes=3, latent=4, channels=4)
    g.eval()  # so that an image does not depend on its batch
    z = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32).repeat(4, 0)
    first, again, second, third = g(Tensor(z), np.array([0, 0, 1, 2])).numpy()
    assert first.shape == SHAPE and np.abs(first).max() <= 1
    np.testing.assert_array_equal(first, again)
    assert min(np.abs(a - b).max() for a, b in ((first, second), (first, third), (second, third))) > 1e-3


def test_the_noise_changes_the_image_of_a_label():
    g = ConditionalGenerator(SHAPE, classes=3, latent=4, channels=4)
    a, b = g(minigen.randn(2, 4), np.array([1, 1])).numpy()
    assert np.abs(a - b).max() > 1e-3


def test_every_label_that_was_asked_for_learns_and_no_other():
    g = ConditionalGenerator(SHAPE, classes=4, latent=4, channels=4)
    (g(minigen.randn(3, 4), np.array([0, 2, 2])) ** 2).sum().backward()
    assert (np.abs(g.embedding.weight.grad.numpy()).max(1) > 0).tolist() == [True, False, True, False]


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_there_is_not_is_an_error(label):
    g = ConditionalGenerator(SHAPE, classes=3, latent=4, channels=4)
    d = ProjectionDiscriminator(SHAPE, classes=3, channels=4)
    with pytest.raises(IndexError, match=str(label)):
        g(minigen.randn(2, 4), np.array([0, label]))
    with pytest.raises(IndexError, match=str(label)):
        d(minigen.randn(2, *SHAPE), np.array([0, label]))


def test_the_discriminator_is_a_projection():
    d = ProjectionDiscriminator(SHAPE, classes=3, channels=4, norm=None)
    x, y = minigen.randn(5, *SHAPE), np.array([0, 1, 2, 1, 0])
    plain = d.discriminator(x).numpy()
    np.testing.assert_allclose(d(x, y).numpy(), plain, rtol=1e-6)  # it starts without an opinion on labels
    d.embedding.weight.assign_(np.random.default_rng(0).normal(size=d.embedding.weight.shape).astype(np.float32))
    h, e = d.discriminator.features(x).numpy(), d.embedding.weight.numpy()
    np.testing.assert_allclose(d(x, y).numpy()[:, 0], plain[:, 0] + (e[y] * h).sum(1), rtol=1e-4, atol=1e-5)


def test_mode_seeking_in_closed_form():
    images = np.zeros((4, 2, 2, 1), np.float32)
    images[2], images[3] = 0.5, 1  # image 0 differs from 2 by 0.5, image 1 from 3 by 1
    noise = np.array([[0, 0], [0, 0], [1, 3], [-1, 0]], np.float32)  # by 2, and by 0.5
    found = mode_seeking(Tensor(images), Tensor(noise), eps=0.25)
    assert found.item() == pytest.approx((2 / 0.75 + 0.5 / 1.25) / 2)


def test_mode_seeking_pulls_alike_images_apart():
    x = Tensor(np.array([[0.1], [0.2]], np.float32)).requires_grad_()
    mode_seeking(x, Tensor(np.array([[0.0], [1.0]], np.float32))).backward()
    assert x.grad.numpy()[0] > 0 > x.grad.numpy()[1]  # descending moves the lower one down, the higher one up


@pytest.mark.parametrize("shapes", [((3, 2), (3, 2)), ((4, 2), (2, 2))])
def test_mode_seeking_needs_pairs(shapes):
    with pytest.raises(ValueError, match="needs 2N images and as much noise"):
        mode_seeking(*(minigen.randn(*shape) for shape in shapes))
