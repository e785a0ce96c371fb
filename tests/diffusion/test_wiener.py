"""The best linear denoiser."""

import numpy as np
import pytest

from minigen import Tensor
from minigen.diffusion import Wiener


def gaussian_data(n, rng):
    mixing = np.array([[1.0, 0.4, 0.0], [0.0, 0.5, -0.3], [0.2, 0.0, 0.7]])
    return rng.standard_normal((n, 3)) @ mixing.T + [0.3, -0.2, 0.1]


@pytest.mark.parametrize("alpha_bar", [0.0, 0.1, 0.7, 0.99])
def test_no_linear_guess_is_better(alpha_bar):
    """Least squares on pairs of x and x0 finds the same function, up to the noise of 200,000 pairs."""
    rng = np.random.default_rng(0)
    x0 = gaussian_data(200_000, rng)
    x = np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * rng.standard_normal(x0.shape)
    with_one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    fitted = with_one @ np.linalg.lstsq(with_one, x0, rcond=None)[0]
    guess = Wiener(x0)(Tensor(x), alpha_bar).data
    assert np.abs(guess - fitted).mean() < 0.01
    assert ((guess - x0) ** 2).mean() < ((fitted - x0) ** 2).mean() + 1e-4


def test_images_of_few_samples_and_float32():
    images = np.random.default_rng(0).standard_normal((5, 4, 4, 1)).astype(np.float32)  # a covariance of rank 4
    wiener = Wiener(images)
    assert wiener(Tensor(images), 0.5).shape == images.shape and wiener(Tensor(images), 0.5).dtype == np.float32
    np.testing.assert_allclose(wiener(Tensor(images), 1 - 1e-12).data, images, atol=1e-3)  # no noise: as given
    np.testing.assert_allclose(wiener(Tensor(images), 0.0).data, images.mean(0)[None].repeat(5, 0), atol=1e-5)
