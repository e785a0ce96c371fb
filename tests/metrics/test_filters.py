"""The filters that networks are measured against take noise out, know its strength, and keep shapes."""

import numpy as np
import pytest

from minigen.metrics import FILTERS, mean_psnr, psnr

pytest.importorskip("skimage")


def picture(channels):
    """A bright square on a dark ground."""
    image = np.full((24, 24, channels), 0.2, np.float32)
    image[6:18, 6:18] = 0.8
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_takes_noise_out_at_some_of_its_settings(name, channels):
    function, candidates = FILTERS[name]
    clean = picture(channels)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    filtered = [function(noisy, 0.1, **settings) for settings in candidates]
    assert all(y.shape == clean.shape for y in filtered)
    assert max(mean_psnr([y], [clean]) for y in filtered) > mean_psnr([noisy], [clean]) + 3


@pytest.mark.parametrize("name", ["total variation", "non-local means"])
def test_settings_are_in_units_of_the_noise(name):
    function, candidates = FILTERS[name]
    clean = picture(1)
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    weak, strong = (function(scale * (clean + 0.1 * noise), scale * 0.1, **candidates[0]) for scale in (0.5, 1.0))
    np.testing.assert_allclose(weak, 0.5 * strong, atol=0.01)


def test_the_median_removes_single_pixels():
    image = picture(3)
    image[2, 2], image[12, 12] = 1, 0
    np.testing.assert_array_equal(FILTERS["median"][0](image, 0.1, 3)[4:10, 8:16], picture(3)[4:10, 8:16])
    assert (FILTERS["median"][0](image, 0.1, 3)[2, 2] == picture(3)[2, 2]).all()


def test_mean_psnr_is_the_mean_of_each_images_after_clipping():
    a, b = np.full((4, 4, 1), 0.5), np.full((2, 6, 3), 1.0)
    expected = (psnr(a + 0.1, a, peak=1) + psnr(b - 0.2, b, peak=1)) / 2
    assert mean_psnr([a + 0.1, b - 0.2], [a, b]) == pytest.approx(expected) == pytest.approx(16.9897)
    assert mean_psnr([a + 0.1, b + 0.2], [a, b]) == np.inf  # clipped to the original
    with pytest.raises(ValueError):
        mean_psnr([a], [a, b])
