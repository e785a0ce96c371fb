"""Outlines and textures: what is made of images for translation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minigen.data import outlines, textured
from minigen.data.textures import CHECKS, DARK


def test_outlines_are_the_pixels_on_both_sides_of_an_edge():
    image = np.full((1, 5, 6, 3), 100, np.uint8)
    image[0, 2, 3, 1] = 126  # one channel, by 26
    expected = np.full_like(image, 255)
    for row, column in ((2, 3), (1, 3), (3, 3), (2, 2), (2, 4)):
        expected[0, row, column] = image[0, row, column]
    np.testing.assert_array_equal(outlines(image), expected)
    assert (outlines(image, threshold=26) == 255).all()


@given(arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3, st.sampled_from([1, 3]))))
def test_lines_are_as_in_the_image_and_turn_with_it(images):
    drawn = outlines(images)
    line = (drawn != 255).any(-1)
    np.testing.assert_array_equal(drawn[line], images[line])
    for turned in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.swapaxes(1, 2)):
        np.testing.assert_array_equal(outlines(turned(images)), turned(drawn))


def test_a_background_gets_checks_and_a_shape_stripes():
    image = np.full((1, 12, 12, 3), 120, np.uint8)
    image[0, 4:8, 4:8] = (200, 20, 120)
    made = textured(image)
    np.testing.assert_array_equal(made[0, 0, :6, 0], 120 + CHECKS * np.array([-1, -1, 1, 1, -1, -1]))
    np.testing.assert_array_equal(made[0, :6, 0, 0], 120 + CHECKS * np.array([-1, -1, 1, 1, -1, -1]))
    for row in range(4):  # diagonal ones
        shares = np.where((row + np.arange(4)) % 4 < 2, 1, DARK)
        np.testing.assert_allclose(made[0, 4 + row, 4:8, 0], 200 * shares, atol=0.5)


def test_textures_are_those_of_each_image_alone():
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 1)).astype(np.uint8)
    np.testing.assert_array_equal(textured(images)[3:4], textured(images[3:4]))


@pytest.mark.parametrize("function", [outlines, textured])
def test_what_is_no_uint8_batch_is_an_error(function):
    with pytest.raises(ValueError, match=f"{function.__name__}: needs uint8 images"):
        function(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="got uint8 of shape"):
        function(np.zeros((8, 8, 3), np.uint8))
