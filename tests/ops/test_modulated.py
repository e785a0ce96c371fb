"""Modulated convolution where its formula divides by almost nothing, and of one noise for all images."""

import numpy as np

import minigen as mg


def layer(*styles, noise):
    """A layer of two images, its input, weight and style, all with gradients."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((3, 3, 3, 5))
    leaves = [mg.tensor(a, requires_grad=True) for a in (x, weight, np.array(styles, np.float64))]
    return mg.modulated_conv2d_leaky_relu(*leaves, noise=mg.tensor(noise), padding=1, negative_slope=0.2), leaves


def test_an_image_without_style_is_its_noise():
    """d = 1 / sqrt(eps) is large there, but what it multiplies is 0; gradients are finite to second order."""
    noise = np.random.default_rng(1).standard_normal((2, 4, 4, 1))
    y, leaves = layer([0, 0, 0], [1, 2, 3], noise=noise)
    expected = np.where(noise[0] > 0, noise[0], 0.2 * noise[0])
    np.testing.assert_allclose(y.numpy()[0], np.broadcast_to(expected, (4, 4, 5)), rtol=1e-12)
    gradients = mg.grad((y * y).sum(), leaves, create_graph=True)
    assert all(np.isfinite(g.numpy()).all() for g in gradients)
    assert not gradients[0].numpy()[0].any() and gradients[2].numpy()[0].any()
    second = mg.grad(sum((g * g).sum() for g in gradients), leaves)
    assert all(np.isfinite(g.numpy()).all() for g in second)


def test_the_size_of_the_style_does_not_matter():
    """That is what demodulation is for."""
    noise = np.zeros((2, 4, 4, 1))
    (y, _), (z, _) = layer([1, 2, 3], [-1, 0, 2], noise=noise), layer([10, 20, 30], [-1e3, 0, 2e3], noise=noise)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-8)


def test_one_noise_for_all_images():
    noise = np.random.default_rng(1).standard_normal((1, 4, 4, 1))
    (y, _), (z, _) = (layer([1, 2, 3], [3, 2, 1], noise=n) for n in (noise, np.repeat(noise, 2, 0)))
    np.testing.assert_array_equal(y.numpy(), z.numpy())
