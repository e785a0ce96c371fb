"""The loader: what is served at a position depends on (seed, position) only; the pixel conversions are inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.data import DataLoader, to_float, to_uint8
from minigen.random import permutation

sizes = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@given(sizes, st.integers(0, 2**63), st.integers(0, 120))
def test_the_batch_at_a_position_is_a_slice_of_the_epochs_permutation(size, seed, position):
    n, batch_size = size
    loader = DataLoader(np.arange(n), batch_size=batch_size, seed=seed)
    loader.load_state_dict({"batch": position})
    assert loader.batches_per_epoch == n // batch_size
    for p in range(position, position + loader.batches_per_epoch + 1):  # at least into the next epoch
        epoch, i = p // (n // batch_size), p % (n // batch_size)
        expected = permutation(n, seed, epoch)[i * batch_size : (i + 1) * batch_size]
        np.testing.assert_array_equal(next(loader), expected)


@given(sizes, st.booleans(), st.integers(0, 25))
def test_resuming_continues_exactly(size, shuffle, position):
    n, batch_size = size
    whole = DataLoader(np.arange(n), batch_size=batch_size, shuffle=shuffle, seed=3)
    for _ in range(position):
        next(whole)
    resumed = DataLoader(np.arange(n), batch_size=batch_size, shuffle=shuffle, seed=3)
    next(resumed)  # wherever it was before
    resumed.load_state_dict(whole.state_dict())
    assert whole.state_dict() == {"batch": position}
    for _ in range(2 * whole.batches_per_epoch + 1):
        np.testing.assert_array_equal(next(resumed), next(whole))


@given(sizes)
def test_an_epoch_serves_no_item_twice_and_drops_only_the_incomplete_batch(size):
    n, batch_size = size
    loader = DataLoader(np.arange(n), batch_size=batch_size)
    for _ in range(3):
        served = np.concatenate([next(loader) for _ in range(loader.batches_per_epoch)])
        assert len(set(served.tolist())) == len(served) == n - n % batch_size


def test_epochs_and_seeds_differ():
    def epoch(seed, number):
        loader = DataLoader(np.arange(1000), batch_size=1000, seed=seed)
        loader.load_state_dict({"batch": number})
        return next(loader).tolist()

    orders = [epoch(0, 0), epoch(0, 1), epoch(1, 0), epoch(1, 1), list(range(1000))]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_without_shuffling_the_order_is_kept_in_every_epoch():
    loader = DataLoader(np.arange(7), batch_size=3, shuffle=False)
    assert [next(loader).tolist() for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


def test_several_arrays_stay_aligned():
    images = np.arange(20 * 6, dtype=np.uint8).reshape(20, 2, 3, 1)
    loader = DataLoader(images, np.arange(20), batch_size=8)
    for _, (x, y) in zip(range(5), loader, strict=False):
        assert (x.shape, x.dtype, y.shape) == ((8, 2, 3, 1), np.uint8, (8,))
        np.testing.assert_array_equal(x, images[y])


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_copies(shuffle):
    array = np.arange(6)
    next(DataLoader(array, batch_size=6, shuffle=shuffle))[...] = -1
    assert array.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arrays", "batch_size", "error", "words"),
    [
        ((), 1, TypeError, "at least one array"),
        (([1, 2],), 1, TypeError, r"argument 0 must be a NumPy array .*got list of shape \(2,\)"),
        ((np.zeros(2), None), 1, TypeError, "argument 1 .*got NoneType"),
        ((np.array(1.0),), 1, TypeError, r"batch axis, got ndarray of shape \(\)"),
        ((np.zeros(3), np.zeros(4)), 2, ValueError, r"equally long, got lengths \[3, 4\]"),
        ((np.zeros(3),), 4, ValueError, r"from 1 to 3 .*got 4"),
        ((np.zeros(3),), 0, ValueError, r"from 1 to 3 .*got 0"),
        ((np.zeros(3),), 2.0, ValueError, r"an int from 1 to 3 .*got 2\.0"),
    ],
)
def test_loader_refuses(arrays, batch_size, error, words):
    with pytest.raises(error, match=words):
        DataLoader(*arrays, batch_size=batch_size)


@pytest.mark.parametrize("state", [{}, {"batch": -1}, {"batch": 1.5}, {"step": 3}])
def test_a_foreign_state_is_refused_and_changes_nothing(state):
    loader = DataLoader(np.arange(4), batch_size=2)
    next(loader)
    with pytest.raises(ValueError, match="must hold 'batch', an int of at least 0"):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"batch": 1}


def test_pixels_there_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    x = to_float(pixels)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (-1, 1)
    np.testing.assert_allclose(np.diff(x.ravel()), 2 / 255, atol=1e-6)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(to_uint8(x.astype(dtype)), pixels)


def test_to_uint8_rounds_and_clips():
    x = np.array([-np.inf, -1.5, -1 + 1.49 / 127.5, -1 + 1.51 / 127.5, 1.01, np.inf])
    assert to_uint8(x).tolist() == [0, 0, 1, 2, 255, 255]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 5)])
def test_pixels_of_another_range(low, high):
    pixels = np.arange(256, dtype=np.uint8)
    x = to_float(pixels, low, high)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, np.linspace(low, high, 256), atol=1e-6)
    np.testing.assert_array_equal(to_uint8(x, low, high), pixels)
    assert to_uint8(np.array([low - 1.0, high + 1.0]), low, high).tolist() == [0, 255]
    with pytest.raises(TypeError, match=rf"in \[{low}, {high}\], got uint8"):
        to_uint8(pixels, low, high)


def test_conversions_refuse():
    with pytest.raises(TypeError, match="needs uint8 images, got float32"):
        to_float(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"needs floating-point values .*got uint8"):
        to_uint8(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="2 of 3 values are NaN"):
        to_uint8(np.array([np.nan, 0, np.nan]))
