"""Mirrored and turned images hold the same pixels; warped ones are float32, in the range of the image."""

import numpy as np
import pytest

from minigen.data.augment import symmetries, warp
from minigen.random import Generator

STILL = {"rotation": 0, "scale": 0, "shear": 0, "shift": 0, "elastic": 0}


def images(dtype=np.uint8, shape=(5, 9, 12, 3)):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_no_warp_is_the_image(dtype):
    x = images(dtype)
    warped = warp(x, Generator(0), **STILL)
    assert warped.dtype == np.float32
    np.testing.assert_allclose(warped, x, atol=1e-4)


def test_a_warp_is_float32_in_the_range_of_the_image():
    x = images()
    warped = warp(x, Generator(0))
    assert warped.dtype == np.float32 and warped.shape == x.shape
    assert warped.min() >= 0 and warped.max() <= 255
    assert np.abs(warped - x).max() > 1


def test_an_image_that_is_shifted_leaves_black_behind():
    x = np.full((50, 8, 8, 1), 100, np.uint8)
    edges = warp(x, Generator(1), **{**STILL, "shift": 3.0})[:, [0, -1], 3, 0]
    assert (edges.min(1) < 100).all()


def test_each_call_is_a_draw_and_each_image_has_its_own_numbers():
    x = images()
    generator = Generator(3)
    first, second = warp(x, generator), warp(x, generator)
    assert generator.draw == 2 and not np.array_equal(first, second)
    np.testing.assert_array_equal(warp(x, Generator(3)), first)
    np.testing.assert_array_equal(warp(x[:2], Generator(3)), first[:2])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"needs images \(N, H, W, C\)"):
        warp(images()[0], Generator(0))


def test_symmetries_are_the_eight_of_a_square_all_as_likely():
    x = images(shape=(1, 6, 6, 2))
    turned = [np.rot90(x[0], k) for k in range(4)]
    eight = [*turned, *(image[::-1] for image in turned)]
    drawn = symmetries(x.repeat(4000, 0), Generator(5))
    counts = [(drawn == image).all((1, 2, 3)).sum() for image in eight]
    assert sum(counts) == 4000 and min(counts) > 400 and drawn.dtype == x.dtype  # 500 each, standard deviation 21


def test_oblong_images_keep_their_shape():
    x = images(shape=(1, 4, 6, 3))
    four = [x[0], x[0, ::-1], x[0, :, ::-1], x[0, ::-1, ::-1]]
    drawn = symmetries(x.repeat(400, 0), Generator(6))
    counts = [(drawn == image).all((1, 2, 3)).sum() for image in four]
    assert sum(counts) == 400 and min(counts) > 60


def test_symmetries_are_a_function_of_the_generators_state():
    x, generator = images(shape=(30, 5, 5, 1)), Generator(3)
    first, second = symmetries(x, generator), symmetries(x, generator)
    assert generator.draw == 2 and not np.array_equal(first, second)
    np.testing.assert_array_equal(symmetries(x, Generator(3)), first)
    with pytest.raises(ValueError, match=r"symmetries: needs images \(N, H, W, C\)"):
        symmetries(x[0], generator)
