"""Curves of bytes and PSNR against cases worked out by hand; the files of PNG and JPEG."""

import math

import numpy as np
import pytest

from minigen.metrics import best_points, jpeg, png_bytes, psnr, psnr_gain

pytest.importorskip("PIL")


def test_best_points_are_those_that_no_smaller_file_outdoes():
    points = [(30, 25), (10, 20), (20, 19), (30, 24), (40, 25), (10, 18), (50, 26)]
    np.testing.assert_array_equal(best_points(points), [(10, 20), (30, 25), (50, 26)])


def test_psnr_gain_of_lines():
    baseline = np.array([(10, 20), (40, 30)])
    np.testing.assert_allclose(psnr_gain(np.array([(5, 17), (80, 37)]), baseline), (2, 2))  # parallel to it
    # from 2 dB above at 10 bytes to 0 at 40
    np.testing.assert_allclose(psnr_gain(np.array([(10, 22), (40, 30)]), baseline), (0, 1))
    # 2 dB above at both ends, 0 halfway in the logarithm
    np.testing.assert_allclose(psnr_gain(np.array([(10, 22), (20, 25), (40, 32)]), baseline), (0, 1))
    # and where it is the other that has the kink
    np.testing.assert_allclose(psnr_gain(baseline, np.array([(10, 22), (20, 25), (40, 32)])), (-2, -1))


def test_psnr_gain_is_over_the_common_bytes_alone():
    curve, baseline = np.array([(1, 0), (10, 22), (20, 27), (30, 28)]), np.array([(10, 20), (20, 25)])
    np.testing.assert_allclose(psnr_gain(curve, baseline), (2, 2))
    for apart in ([(30, 20), (40, 25)], [(1, 20), (10, 25)]):
        assert all(math.isnan(gain) for gain in psnr_gain(curve[1:], np.array(apart)))


@pytest.mark.parametrize("shape", [(1, 8, 8, 1), (7, 12, 20, 1), (6, 16, 8, 3)])
def test_jpeg_gives_back_the_images_in_their_order(shape):
    levels = np.linspace(40, 200, shape[0])[:, None, None, None]
    images = np.broadcast_to(levels, shape).astype(np.uint8)
    size, decoded = jpeg(images, 95)
    assert decoded.shape == shape and psnr(decoded, images) > 25
    worse, blurred = jpeg(images, 1)
    assert worse < size and psnr(blurred, images) < psnr(decoded, images)


def test_a_png_file_is_shared_by_all_images():
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    assert 64 < png_bytes(images) < 66 < png_bytes(images[:1])


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match=r"at least one .*got none"):
        best_points([])
    line = [(10, 20), (40, 30)]
    assert psnr_gain(line, line) == (0, 0)  # lists will do
    for curve in ([(40, 30), (10, 20)], [(0, 10), (10, 20)], [(10, 20), (10, 21)], [10, 20], np.zeros((0, 2))):
        for pair in ((curve, line), (line, curve)):
            with pytest.raises(ValueError, match="positive and increasing"):
                psnr_gain(*pair)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8, 1))]
)
def test_files_are_of_uint8_images(images):
    for write in (png_bytes, lambda images: jpeg(images, 90)):
        with pytest.raises(ValueError, match=r"need uint8 \(N, H, W, 1 or 3\), got"):
            write(images)
