"""PSNR against its closed form, and what is refused."""

import math

import numpy as np
import pytest

from minigen.metrics import fidelity, mean_psnr, psnr, seam_gradient, ssim


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


def test_ssim_of_equal_images_is_1_and_falls_with_noise():
    pytest.importorskip("skimage")
    rng = np.random.default_rng(0)
    for shape in ((3, 16, 20, 3), (2, 8, 8, 1)):  # the second is smaller than a window
        a = rng.integers(0, 256, shape, dtype=np.uint8)
        little, much = (np.clip(a + rng.normal(0, s, shape), 0, 255).astype(np.uint8) for s in (10, 60))
        assert ssim(a, a) == 1
        assert 1 > ssim(little, a) > ssim(much, a) > 0
        assert ssim(little, a) == pytest.approx(ssim(a, little))


def test_ssim_by_the_formula_where_nothing_varies():
    a, b = np.full((1, 16, 16, 1), 100, np.uint8), np.full((1, 16, 16, 1), 150, np.uint8)
    c = (0.01 * 255) ** 2  # Wang et al. 2004, eq. 13, of constant images
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c) / (100**2 + 150**2 + c))


def test_ssim_refuses():
    a = np.zeros((2, 16, 16, 1), np.uint8)
    with pytest.raises(ValueError, match=r"needs two sets of images \(N, H, W, C\), got \(2, 16, 16, 1\) and"):
        ssim(a, a[:1])
    with pytest.raises(TypeError, match="needs uint8 images, got float32 and uint8"):
        ssim(np.float32(a), a)


def test_fidelity_is_the_mean_of_each_images_own():
    originals = np.random.default_rng(0).integers(0, 200, (2, 12, 12, 3)).astype(np.uint8)
    images = originals + np.array([1, 40], np.uint8)[:, None, None, None]
    found = fidelity(images, originals)
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / np.array([1, 40])).mean())
    assert found["ssim"] == ssim(images, originals) < 1
    assert fidelity(images[:1], originals[:1])["psnr"] == pytest.approx(20 * np.log10(255))


def test_seam_gradient_is_of_the_pairs_across_the_edge_alone():
    images = np.zeros((2, 4, 6, 3), np.uint8)
    mask = np.zeros((2, 4, 6, 1), bool)
    mask[0, :, 3:] = True  # 4 pairs of neighbours in a row
    mask[1, :2] = True  # 6 in a column
    images[0, :, :3], images[0, :, 3:] = 10, 50
    images[0, :, 0] = images[1, 0] = 200  # not at an edge
    images[1, 2, 0, 0] = 30  # one channel of one pair
    expected = (4 * 40 + 30 / 3) / 10
    assert seam_gradient(images, mask) == pytest.approx(expected)
    assert seam_gradient(255 - images, ~mask) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("images", "mask", "words"),
    [
        (np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1), bool), r"got float64 of shape \(1, 4, 4, 1\)"),
        (np.zeros((1, 4, 4, 1), np.uint8), np.ones((4, 4, 1), bool), r"and bool of shape \(4, 4, 1\)"),
        (np.zeros((1, 4, 4, 1), np.uint8), np.ones((1, 4, 4, 1), bool), "no edge: it is the same everywhere"),
    ],
)
def test_seam_gradient_refuses(images, mask, words):
    with pytest.raises(ValueError, match=words):
        seam_gradient(images, mask)
