"""The filters that networks are measured against take noise out, know its strength, and keep shapes."""

import numpy as np
import pytest

from minigen.metrics import FILTERS, mean_psnr

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


@pytest.mark.parametrize("name", ["total variation", "non-local means, 5 x 5"])
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


@pytest.mark.parametrize("sigma", [0, -0.1])
@pytest.mark.parametrize("name", ["total variation", "non-local means, 5 x 5"])
def test_no_noise_is_refused(name, sigma):
    function, candidates = FILTERS[name]
    with pytest.raises(ValueError, match=f"sigma must be positive, got {sigma}"):
        function(picture(1), sigma, **candidates[0])
