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
