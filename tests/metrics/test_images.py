"""PSNR against its closed form, and what is refused."""

import math

import numpy as np
import pytest

from minigen.metrics import mean_psnr, psnr


def test_psnr_is_ten_times_the_logarithm_of_peak_squared_over_the_mean_squared_error():
    a = np.random.default_rng(0).integers(0, 246, (3, 4, 4, 1)).astype(np.uint8)
    assert psnr(a + np.uint8(10), a) == psnr(a, a + np.uint8(10)) == pytest.approx(20 * math.log10(25.5))
    one = np.zeros((2, 5, 5, 1))
    one[0, 0, 0] = 0.5  # a mean squared error of 1/200, over both images
    assert psnr(one, np.zeros_like(one), peak=1) == pytest.approx(10 * math.log10(200))
    assert psnr(one, np.zeros_like(one), peak=2) == pytest.approx(10 * math.log10(800))
    assert psnr(a, a) == math.inf


@pytest.mark.parametrize(
    ("a", "b", "peak", "words"),
    [
        (np.zeros((2, 4, 4)), np.zeros((1, 4, 4)), 255, r"of one shape, got \(2, 4, 4\) and \(1, 4, 4\)"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), 255, r"got \(0, 4, 4\)"),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), 0, "peak must be positive, got 0"),
    ],
)
def test_psnr_refuses(a, b, peak, words):
    with pytest.raises(ValueError, match=words):
        psnr(a, b, peak)


def test_mean_psnr_is_the_mean_of_each_images_after_clipping():
    a, b = np.full((4, 4, 1), 0.5), np.full((2, 6, 3), 1.0)
    expected = (psnr(a + 0.1, a, peak=1) + psnr(b - 0.2, b, peak=1)) / 2
    assert mean_psnr([a + 0.1, b - 0.2], [a, b]) == pytest.approx(expected) == pytest.approx(16.9897)
    assert mean_psnr([a + 0.1, b + 0.2], [a, b]) == np.inf  # clipped to the original
    with pytest.raises(ValueError):
        mean_psnr([a], [a, b])
    with pytest.raises(ValueError, match="at least one image, got none"):
        mean_psnr([], [])
    for images in ([np.uint8(255 * a)], [a]), ([a], [np.uint8(255 * a)]):
        with pytest.raises(TypeError, match=r"floating-point images in \[0, 1\], got uint8"):
            mean_psnr(*images)
