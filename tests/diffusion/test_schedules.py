"""Noise schedules against their formulas."""

import numpy as np
import pytest

from minigen.diffusion import (
    SCHEDULES,
    cosine_schedule,
    linear_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    zero_terminal_snr,
)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("timesteps", [1, 2, 50, 1000])
def test_falls_from_near_one_to_near_zero(name, timesteps):
    abar = SCHEDULES[name](timesteps)
    assert abar.shape == (timesteps,) and abar.dtype == np.float64
    assert np.all((abar > 0) & (abar < 1)) and np.all(np.diff(abar) < 0)
    if timesteps >= 50:
        assert abar[0] > 0.9 and abar[-1] < 5e-3


def test_linear_is_the_product_of_ho_et_al():
    betas = np.linspace(1e-4, 0.02, 1000)
    expected = [np.prod(1 - betas[: t + 1]) for t in range(1000)]
    np.testing.assert_allclose(linear_schedule(1000), expected, rtol=1e-12)


def test_cosine_is_the_curve_of_nichol_and_dhariwal():
    def curve(t):
        return np.cos((t / 100 + 0.008) / 1.008 * np.pi / 2) ** 2

    # the last beta is bounded, so the last entry is not on the curve
    expected = [curve(t) / curve(0) for t in range(1, 100)]
    np.testing.assert_allclose(cosine_schedule(100)[:-1], expected, rtol=1e-12)
    assert np.isclose(cosine_schedule(100)[-1], expected[-1] * 0.001)


def test_sigmoid_is_symmetric_around_the_middle():
    abar = sigmoid_schedule(100)
    assert np.isclose(abar[49], 0.5)  # entry 49 is t = 50 of 100
    np.testing.assert_allclose(abar[:-1] + abar[:-1][::-1], 1, atol=1e-12)


def test_scaled_linear_is_that_of_latent_diffusion():
    betas = np.linspace(np.sqrt(0.00085), np.sqrt(0.012), 1000) ** 2
    np.testing.assert_allclose(scaled_linear_schedule(1000), np.cumprod(1 - betas), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_zero_terminal_snr_ends_in_pure_noise_and_begins_as_before(name):
    before = SCHEDULES[name](100)
    after = zero_terminal_snr(before)
    assert after[-1] == 0 and np.isclose(after[0], before[0], rtol=1e-12) and np.all(np.diff(after) < 0)
    # linear in the square root: differences keep their ratios
    gaps = np.diff(np.sqrt(after)) / np.diff(np.sqrt(before))
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6)
    with pytest.raises(ValueError, match="two timesteps or more, got 1"):
        zero_terminal_snr(before[:1])
