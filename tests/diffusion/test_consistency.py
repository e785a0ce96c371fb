"""Estimates that agree with a smaller copy of the image, and samples made of them."""

import numpy as np
import pytest

from minigen import Tensor
from minigen.diffusion import Consistent, Diffusion, sample
from minigen.gans.super_resolution import bicubic, bicubic_weights

from .exact import Known, MixtureDenoiser

ROWS, COLUMNS = (bicubic_weights(size, size // 4).astype(np.float64) for size in (8, 12))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_the_nearest_image_that_agrees():
    """Against the textbook solution of: minimise |y - x0| such that A y = given, with A as one large matrix."""
    x0, given = normal(3, 8, 12, 2), normal(3, 2, 3, 2)
    got = Consistent(Known(lambda x, abar: x0), Tensor(given), ROWS, COLUMNS)(Tensor(x0), 0.5).data
    a = np.kron(ROWS, COLUMNS)  # of pixels in reading order
    for image, small, y in zip(x0, given, got, strict=True):
        for c in range(2):
            flat = image[..., c].ravel()
            nearest = flat + a.T @ np.linalg.solve(a @ a.T, small[..., c].ravel() - a @ flat)
            np.testing.assert_allclose(y[..., c].ravel(), nearest, atol=1e-9)


def test_an_image_that_agrees_already_stays():
    x0 = normal(2, 8, 12, 1)
    given = bicubic(Tensor(x0), 2, 3)
    got = Consistent(Known(lambda x, abar: x0), given, ROWS, COLUMNS)(Tensor(x0), 0.5)
    np.testing.assert_allclose(got.data, x0, atol=1e-6)  # bicubic's weights are float32


@pytest.mark.parametrize("method", ["ddpm", "ddim", "heun", "dpm++2m"])
def test_samples_of_every_kind_agree_and_differ_from_each_other(method):
    diffusion, prior = Diffusion(1000, "cosine", "v"), MixtureDenoiser([-0.6, 0.5], [0.2, 0.3], [0.5, 0.5])
    given = Tensor(0.2 * normal(1, 2, 3, 1).repeat(4, 0).astype(np.float32))
    denoiser = Consistent(prior, given, ROWS, COLUMNS)
    x = sample(denoiser, (4, 8, 12, 1), diffusion.timetable(20), method)
    np.testing.assert_allclose(bicubic(x, 2, 3).data, given.data, atol=1e-5)
    assert x.data.std(0).mean() > 0.2


@pytest.mark.parametrize(
    "rows, columns, words",
    [
        (ROWS[:1], COLUMNS, r"rows must be a matrix of 2 independent lines.*got shape \(1, 8\)"),
        (ROWS, np.ones((3, 12)), r"columns must be a matrix of 3 independent lines.*rank 1"),
    ],
)
def test_matrices_that_cannot_agree_are_refused(rows, columns, words):
    with pytest.raises(ValueError, match=words):
        Consistent(Known(lambda x, abar: x), Tensor(normal(1, 2, 3, 1)), rows, columns)
