"""Noise has the distribution it says, in the share of pixels it says, and is a function of the generator's state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen
from minigen.autoencoders import gaussian_noise, masked, salt_and_pepper
from minigen.random import Generator

ALL = (gaussian_noise, salt_and_pepper, masked)
SHAPE = (40, 20, 25, 3)  # 20,000 pixels


@pytest.fixture
def x():
    return minigen.tensor(np.random.default_rng(0).uniform(0.2, 0.8, SHAPE).astype(np.float32))


@given(sigma=st.floats(0, 2))
def test_gaussian_noise_is_sigma_times_the_generators_normal_numbers(sigma):
    x = minigen.tensor(np.full((2, 3, 3, 1), 0.5, np.float32))
    eps = minigen.randn(2, 3, 3, 1, generator=Generator(7)).numpy()
    np.testing.assert_allclose(gaussian_noise(x, sigma, Generator(7)).numpy(), 0.5 + sigma * eps, atol=1e-6)


def test_gaussian_noise_has_its_standard_deviation_and_is_independent_between_channels(x):
    noise = (gaussian_noise(x, 0.5, Generator(1)) - x).numpy().reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(np.cov(noise.T), 0.25 * np.eye(3), atol=0.02)  # standard error below 0.003
    assert np.abs(noise.mean(0)).max() < 0.02


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_salt_and_pepper_sets_a_share_of_the_pixels_to_black_and_white_alike(x, share):
    y = salt_and_pepper(x, share, Generator(2)).numpy()
    black, white, kept = (y == 0).all(-1), (y == 1).all(-1), (y == x.numpy()).all(-1)
    assert (black | white | kept).all()
    assert abs(black.mean() - share / 2) < 0.015 and abs(white.mean() - share / 2) < 0.015  # standard error < 0.0036


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_masked_sets_a_share_of_the_pixels_to_black(x, share):
    y = masked(x, share, Generator(3)).numpy()
    black, kept = (y == 0).all(-1), (y == x.numpy()).all(-1)
    assert (black | kept).all() and abs(black.mean() - share) < 0.015


@pytest.mark.parametrize("noise", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_takes_one_draw_and_keeps_shape_and_dtype(x, noise, dtype):
    x = x.astype(dtype)
    generator = Generator(4)
    first, second = noise(x, generator=generator), noise(x, generator=generator)
    assert generator.draw == 2
    assert first.shape == SHAPE and first.dtype == dtype
    assert not np.array_equal(first.numpy(), second.numpy())
    again = Generator(4)
    again.load_state_dict({"seed": 4, "draw": 1})
    np.testing.assert_array_equal(noise(x, generator=again).numpy(), second.numpy())
    assert noise(x[:0]).shape == (0, *SHAPE[1:])


@pytest.mark.parametrize("noise", ALL)
def test_on_a_gpu_it_is_the_same(noise, cupy):
    x = minigen.rand(2, 3, 4, 2)
    on_gpu = x.to("cuda")
    result = noise(on_gpu, 0.4, Generator(1))
    assert result.device == on_gpu.device
    np.testing.assert_allclose(result.numpy(), noise(x, 0.4, Generator(1)).numpy(), atol=1e-5)


@pytest.mark.parametrize("noise", ALL)
def test_without_a_generator_the_numbers_are_the_default_ones(x, noise):
    minigen.manual_seed(9)
    np.testing.assert_array_equal(noise(x).numpy(), noise(x, 0.5, Generator(9)).numpy())


@pytest.mark.parametrize(
    "noise, arguments, words",
    [
        (gaussian_noise, {"sigma": -1}, "gaussian_noise: sigma must not be negative, got -1"),
        (gaussian_noise, {"sigma": float("nan")}, "got nan"),
        (salt_and_pepper, {"share": 1.5}, "salt_and_pepper: share must be from 0 to 1, got 1.5"),
        (masked, {"share": -0.1}, "masked: share must be from 0 to 1, got -0.1"),
    ],
)
def test_refuses(x, noise, arguments, words):
    with pytest.raises(ValueError, match=words):
        noise(x, **arguments)


@pytest.mark.parametrize("noise", [salt_and_pepper, masked])
def test_needs_images(x, noise):
    with pytest.raises(ValueError, match=r"needs images \(N, H, W, C\), got shape \(20, 25, 3\)"):
        noise(x[0])
