"""Bicubic interpolation beside Pillow's, and the network that starts from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.gans import SuperResolver, bicubic, over_symmetries, resize, shrink
from minigen.gans.super_resolution import bicubic_weights


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# ---- bicubic interpolation ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_it_is_pillows(height, width, new_height, new_width):
    image = pytest.importorskip("PIL.Image")
    x = noise(height, width)
    ours = bicubic(Tensor(x[None, ..., None]), new_height, new_width).numpy()[0, ..., 0]
    theirs = image.fromarray(x).resize((new_width, new_height), image.Resampling.BICUBIC)
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-4)


@given(st.integers(1, 50), st.integers(1, 50))
def test_weights_sum_to_1_and_are_the_same_from_both_ends(size, new_size):
    weights = bicubic_weights(size, new_size)
    assert weights.shape == (new_size, size) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)


def test_pixels_are_where_they_were_and_straight_lines_stay_straight():
    x = np.arange(12.0) @ bicubic_weights(12, 48).T
    inside = (np.arange(48) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(x[8:-8], inside[8:-8], atol=1e-5)
    np.testing.assert_array_equal(bicubic_weights(7, 7), np.eye(7))


def test_images_are_made_small_and_large_again_in_8_bits():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3)).astype(np.uint8)
    small = shrink(images, 4)
    assert small.shape == (3, 2, 3, 3) and small.dtype == np.uint8
    exact = np.einsum("yh,xw,nhwc->nyxc", bicubic_weights(8, 2), bicubic_weights(12, 3), images.astype(np.float64))
    assert abs(small - exact.clip(0, 255)).max() < 0.501
    step = np.repeat(np.array([0, 255], np.uint8), 6)[None, None, :, None].repeat(4, 1)
    assert {0, 255} <= set(resize(step, 16, 48).ravel().tolist())  # overshoot is clipped, and does not wrap around
    assert np.all(np.diff(resize(step, 16, 48)[0, 0, 20:28, 0].astype(int)) >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_keeps_the_precision(dtype):
    assert bicubic(Tensor(np.ones((1, 4, 4, 1), dtype)), 8, 6).dtype == dtype


def test_sides_that_will_not_do_are_an_error():
    with pytest.raises(ValueError, match=r"multiples of 4, got \(1, 8, 10, 3\)"):
        shrink(np.zeros((1, 8, 10, 3), np.uint8), 4)
    with pytest.raises(TypeError, match="needs uint8 images, got float64"):
        resize(np.zeros((1, 8, 8, 3)), 4, 4)
    with pytest.raises(ValueError, match="at least 1 pixel, got 3 and 0"):
        bicubic_weights(3, 0)
    with pytest.raises(ValueError, match=r"got shape \(8, 8, 3\)"):
        bicubic(Tensor(noise(8, 8, 3)), 4, 4)


# ---- the network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_new_network_is_bicubic_interpolation(factor):
    x = Tensor(noise(2, 5, 7, 3))
    y = SuperResolver(3, channels=8, blocks=2, factor=factor)(x)
    np.testing.assert_array_equal(y.numpy(), bicubic(x, factor * 5, factor * 7).numpy())


def test_every_pixel_comes_from_its_place_in_the_small_image():
    """With a last layer of biases alone, the network adds the same 2 x 2 pixels everywhere, row by row."""
    network = SuperResolver(1, channels=8, blocks=1, factor=2)
    network.last.bias.assign_(np.array([1, 2, 3, 4], np.float32))
    y = network(Tensor(np.zeros((1, 2, 3, 1), np.float32))).numpy()[0, ..., 0]
    np.testing.assert_array_equal(y, np.tile([[1, 2], [3, 4]], (2, 3)))


def test_all_parameters_learn_and_a_pixel_is_heeded_nearby_alone():
    network = SuperResolver(1, channels=8, blocks=2, factor=2)
    for layer in [network.last, *(block.conv2 for block in network.blocks)]:  # a zero hides what is below it
        minigen.nn.init.normal_(layer.weight)
    x, changed = np.zeros((2, 1, 16, 16, 1), np.float32)
    changed[0, 0, 0] = 1
    y = network(Tensor(changed))
    (y * Tensor(noise(*y.shape))).sum().backward()
    assert all(p.grad is not None and abs(p.grad.numpy()).max() > 0 for p in network.parameters())
    difference = abs(y.numpy() - network(Tensor(x)).numpy())[0, ..., 0]
    seen = 2 * (1 + 6)  # six convolutions, each a pixel further
    assert difference[:seen, :seen].max() > 0 and difference[seen:].max() == 0 and difference[:, seen:].max() == 0


def test_input_that_will_not_do_is_an_error():
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\), got shape \(1, 8, 8, 1\)"):
        SuperResolver(3, channels=8, blocks=1)(Tensor(noise(1, 8, 8, 1)))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SuperResolver(3, factor=0)


# ---- the mean over symmetries ------------------------------------------------------------------------------


def test_what_treats_all_directions_alike_stays_what_it_is():
    x = noise(2, 4, 6, 3)
    np.testing.assert_allclose(over_symmetries(lambda a: a, x), x, rtol=1e-6)
    enlarged = over_symmetries(lambda a: bicubic(Tensor(a), 2 * a.shape[1], 2 * a.shape[2]).numpy(), x)
    np.testing.assert_allclose(enlarged, bicubic(Tensor(x), 8, 12).numpy(), atol=1e-5)


def test_all_eight_ways_count_the_same():
    shapes, ways = [], []

    def shift(x):
        """One pixel to the right."""
        shapes.append(x.shape)
        ways.append(x.tobytes())
        return np.roll(x, 1, 2)

    x = np.zeros((1, 5, 7, 1), np.float32)
    x[0, 2, 3] = 1
    spread = over_symmetries(shift, x)[0, ..., 0]
    assert spread.sum() == 1 and {spread[1, 3], spread[3, 3], spread[2, 2], spread[2, 4]} == {0.25}
    over_symmetries(shift, noise(1, 5, 7, 1))
    assert len(set(ways[8:])) == 8 and set(shapes) == {(1, 5, 7, 1), (1, 7, 5, 1)}
