"""Random deformations: nothing at zero strength, known results for known random numbers, a function of (seed, draw)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from kernels import reference
from minigen.backend import array_module, device_of, to_device
from minigen.data import binarise, symmetries, warp
from minigen.random import Generator

ndimage = pytest.importorskip("scipy.ndimage")

STILL = dict(rotation=0, scale=0, shear=0, shift=0, elastic=0)
seeds = st.integers(0, 2**64 - 1)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3))


def images_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def numbers(n, seed, draw=0):
    """The random numbers of each image: rotation, scales of y and x, shear, shifts of y and x, 32 for the bending."""
    return reference.normal((n, 38), seed, draw, dtype=np.float32).astype(np.float64)


@given(shapes, seeds)
def test_zero_strength_changes_nothing(shape, seed):
    images = images_of(shape)
    strengths = {name: np.float64(0) for name in STILL}
    assert warp(images, Generator(seed), **strengths).dtype == np.float32
    for x in (images, images.astype(np.float64), images / np.float32(255)):
        result = warp(x, Generator(seed), **STILL)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, x)


@given(shapes, seeds, st.floats(0.1, 3))
def test_a_shift_is_scipys(shape, seed, shift):
    images = images_of(shape)
    result = warp(images, Generator(seed), **{**STILL, "shift": shift})
    for image, moved, (dy, dx) in zip(images, result, numbers(len(images), seed)[:, 4:6], strict=True):
        expected = ndimage.shift(image.astype(float), (-shift * dy, -shift * dx, 0), order=1, mode="grid-constant")
        np.testing.assert_allclose(moved, expected, atol=1e-2)


def test_what_is_moved_out_of_the_image_leaves_it_black():
    images = np.full((50, 6, 6, 1), 255, np.uint8)
    result = warp(images, Generator(0), **{**STILL, "shift": 100})
    away = np.abs(100 * numbers(50, 0)[:, 4:6]).max(1) > 7
    assert away.sum() > 40
    np.testing.assert_array_equal(result[away], 0)


def test_a_quarter_turn_is_numpys():
    images = images_of((1, 6, 6, 2))
    result = warp(images, Generator(4), **{**STILL, "rotation": 90 / numbers(1, 4)[0, 0]})
    np.testing.assert_allclose(result[0], np.rot90(images[0], -1), atol=1e-2)


@given(seeds)
@settings(max_examples=20)
def test_affine_deformations_are_scipys(seed):
    images = images_of((2, 9, 6, 1))
    result = warp(images, Generator(seed), rotation=20, scale=0.2, shear=0.3, shift=1, elastic=0)
    for image, turned, (a, sy, sx, k, dy, dx) in zip(images, result, numbers(2, seed)[:, :6], strict=True):
        a, k = np.deg2rad(20 * a), 0.3 * k
        rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        matrix = rotation @ [[1, 0], [k, 1]] @ np.diag(np.exp([0.2 * sy, 0.2 * sx]))
        centre = np.array([4, 2.5])
        offset = centre - matrix @ centre + [dy, dx]
        expected = ndimage.affine_transform(image[..., 0].astype(float), matrix, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(turned[..., 0], expected, atol=1e-2)


def test_bending_moves_every_pixel_by_as_much_as_it_says_and_smoothly():
    """On images whose values are their own row and column, the result shows where each pixel was taken from."""
    side, n, elastic = 41, 400, 1.3
    ramps = np.stack(np.mgrid[:side, :side], -1).astype(np.float32)
    moved = warp(np.broadcast_to(ramps, (n, side, side, 2)), Generator(0), **{**STILL, "elastic": elastic})
    moved = (moved - ramps)[:, 8:-8, 8:-8]  # away from the black around
    assert np.abs(moved.mean(0)).max() < 5 * elastic / np.sqrt(n)
    np.testing.assert_allclose(moved.std(0), elastic, rtol=5 / np.sqrt(2 * n))
    assert np.abs(np.diff(moved, axis=1)).max() < 0.4 * elastic
    assert abs(np.mean(moved[..., 0] * moved[..., 1])) < 0.1 * elastic**2  # up and sideways are independent


@given(seeds, st.integers(0, 100))
@settings(max_examples=20)
def test_image_i_of_draw_n_is_a_function_of_seed_n_and_i(seed, draw):
    images = np.repeat(images_of((1, 8, 8, 1)), 5, 0)

    def at(n_images, seed=seed, draw=draw):
        generator = Generator(seed)
        generator.draw = draw
        result = warp(images[:n_images], generator)
        assert generator.draw == draw + 1
        return result

    whole = at(5)
    np.testing.assert_array_equal(at(5), whole)
    np.testing.assert_array_equal(at(3), whole[:3])
    for other in (whole[1], at(1, draw=draw + 1)[0], at(1, seed=(seed + 1) % 2**64)[0]):
        assert np.abs(whole[0] - other).max() > 1


def test_on_a_gpu_it_is_the_same(cupy):
    images = images_of((3, 6, 5, 2))
    on_gpu = to_device(images, "cuda")
    for f in (warp, symmetries, lambda images, generator: binarise(images / np.float32(255), generator)):
        result, expected = f(on_gpu, Generator(2)), f(images, Generator(2))
        assert array_module(result) is cupy and device_of(result) == device_of(on_gpu)
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(to_device(result, "cpu"), expected, atol=1e-3)


def test_the_input_is_left_alone_and_no_value_beyond_its_range_appears():
    images = images_of((4, 8, 8, 3))
    kept = images.copy()
    result = warp(images, Generator(1), 40, 0.5, 0.5, 4, 4)
    np.testing.assert_array_equal(images, kept)
    assert result.min() >= 0 and result.max() <= images.max()


@pytest.mark.parametrize("change", [warp, symmetries, lambda x, generator=None: binarise(x / 255, generator)])
def test_without_a_generator_the_numbers_are_the_default_ones(change):
    images = images_of((4, 6, 6, 1))
    minigen.manual_seed(5)
    np.testing.assert_array_equal(change(images), change(images, Generator(5)))


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8)])
def test_other_than_images_is_refused(shape):
    with pytest.raises(ValueError, match=r"warp: needs images \(N, H, W, C\), got shape"):
        warp(np.zeros(shape, np.uint8), Generator(0))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_binarised_pixels_are_white_as_often_as_they_are_bright(p, device):
    intensities = to_device(np.full((20, 30, 30, 1), p, np.float32), device)
    x = to_device(binarise(intensities, Generator(3)), "cpu")
    assert x.dtype == np.float32 and set(np.unique(x)) <= {0, 1}
    assert abs(x.mean() - p) <= 5 * np.sqrt(p * (1 - p) / x.size)


def test_binarised_pixels_are_a_function_of_seed_and_draw():
    grey = np.full((2, 8, 8, 1), 0.5, np.float32)
    generator = Generator(1)
    first, second = binarise(grey, generator), binarise(grey, generator)
    np.testing.assert_array_equal(binarise(grey, Generator(1)), first)
    assert (first != second).mean() > 0.3 and (first != binarise(grey, Generator(2))).mean() > 0.3


def test_bytes_are_no_intensities():
    with pytest.raises(TypeError, match=r"binarise: needs intensities in \[0, 1\], got uint8; use to_float"):
        binarise(images_of((1, 2, 2, 1)), Generator(0))


def test_symmetries_are_the_eight_of_a_square_all_as_likely():
    x = images_of((1, 6, 6, 2))
    turned = [np.rot90(x[0], k) for k in range(4)]
    eight = [*turned, *(image[::-1] for image in turned)]
    drawn = symmetries(x.repeat(4000, 0), Generator(5))
    counts = [(drawn == image).all((1, 2, 3)).sum() for image in eight]
    assert sum(counts) == 4000 and min(counts) > 400 and drawn.dtype == x.dtype  # 500 each, standard deviation 21


def test_oblong_images_keep_their_shape():
    x = images_of((1, 4, 6, 3))
    four = [x[0], x[0, ::-1], x[0, :, ::-1], x[0, ::-1, ::-1]]
    drawn = symmetries(x.repeat(400, 0), Generator(6))
    counts = [(drawn == image).all((1, 2, 3)).sum() for image in four]
    assert sum(counts) == 400 and min(counts) > 60


def test_symmetries_are_a_function_of_the_generators_state():
    x, generator = images_of((30, 5, 5, 1)), Generator(3)
    first, second = symmetries(x, generator), symmetries(x, generator)
    assert generator.draw == 2 and not np.array_equal(first, second)
    np.testing.assert_array_equal(symmetries(x, Generator(3)), first)
    np.testing.assert_array_equal(symmetries(x[:7], Generator(3)), first[:7])
    with pytest.raises(ValueError, match=r"symmetries: needs images \(N, H, W, C\)"):
        symmetries(x[0], generator)
