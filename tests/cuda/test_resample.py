"""FIR resampling, and pixels made larger or smaller by whole factors, on the GPU: sizes around tiles and blocks."""

from importlib import import_module

import numpy as np
import pytest

from kernels import cuda, reference
from tests.kernels.test_agreement import assert_close

from .arrays import scheduled

resample = import_module("kernels.cuda.resample")
TAPS = np.array([1, 3, 3, 1], np.float32) / 8
SAME = (2, 1)  # padding with which those leave the size as it is


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def check(cupy, x, taps=TAPS, **settings):
    y = cuda.upfirdn2d(cupy.asarray(x), cupy.asarray(taps), **settings).get()
    truth = reference.upfirdn2d(x.astype(np.float64), taps.astype(np.float64), **settings)
    assert (y.shape, y.dtype) == (truth.shape, x.dtype)
    assert_close(y, truth, 2e-5)


# A tile has 16 rows (fewer if only some are taken) and 64 vectors of channels side by side, up to 8 of each pixel.
@pytest.mark.parametrize("channels, columns", [(1, 64), (3, 21), (4, 64), (12, 21), (32, 8), (36, 8), (64, 8)])
def test_sizes_around_a_tile(cupy, channels, columns):
    for height, width in ((15, columns), (16, columns - 1), (17, columns + 1)):
        check(cupy, image(1, height, width, channels), padding=SAME)


@pytest.mark.parametrize("down", [1, 2, 3, 20])
@pytest.mark.parametrize("up", [1, 2, 3])
def test_rows_that_a_tile_of_any_factor_sees(cupy, up, down):
    x = image(2, 23, 13, 4)
    for settings in (dict(padding=(2, 1)), dict(padding=(-3, 5)), dict(padding=((7, -2), (-4, 9)))):
        check(cupy, x, up=up, down=down, **settings)
        check(cupy, x, np.arange(12, dtype=np.float32) / 66, up=up, down=down, **settings)


def test_zeros_only(cupy):
    """Padding so wide that whole tiles, in front and behind, see no pixel."""
    for down in (1, 2):
        y = cuda.upfirdn2d(cupy.asarray(image(1, 3, 3, 4)), cupy.asarray(TAPS), down=down, padding=(80, 80)).get()
        edge = 77 // down  # the pixel at 80 is seen 3 further on either side
        assert (y[:, :edge] == 0).all() and (y[:, :, -edge:] == 0).all()
    check(cupy, image(1, 3, 3, 4), padding=(80, 80))


def test_part_of_an_array_that_no_vector_begins_at(cupy):
    memory = image(2 * 5 * 6 * 4 + 1)
    x = cupy.asarray(memory)[1:].reshape(2, 5, 6, 4)
    y = cuda.upfirdn2d(x, cupy.asarray(TAPS), padding=SAME).get()
    assert_close(y, reference.upfirdn2d(memory[1:].reshape(2, 5, 6, 4), TAPS, padding=SAME), 2e-5)


def test_a_number_that_is_none_stays_where_it_is_seen(cupy):
    x = image(1, 9, 9, 4)
    x[0, 4, 4, 1] = np.nan
    nan = np.isnan(cuda.upfirdn2d(cupy.asarray(x), cupy.asarray(TAPS), padding=SAME).get())
    assert nan[0, 3:7, 3:7, 1].all() and nan.sum() == 16
    up = cuda.upsample(cupy.asarray(x), (2, 2)).get()
    assert np.isnan(up[0, 8:10, 8:10, 1]).all() and np.isnan(up).sum() == 4
    assert np.isnan(cuda.sum_blocks(cupy.asarray(x), (3, 3)).get()).sum() == 1


def test_the_order_of_threads_does_not_matter(cupy):
    x, results = image(1, 33, 17, 12), []
    for seed in range(3):
        with scheduled(cupy, seed):
            results.append(cuda.upfirdn2d(cupy.asarray(x), cupy.asarray(TAPS), up=2, down=3, padding=SAME).get())
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("channels", [1, 4])
def test_whole_factors_at_sizes_around_a_block(cupy, channels):
    for width in (254, 255, 256, 257):  # of 256 vectors
        x = image(1, 2, width * 3, channels)
        np.testing.assert_array_equal(cuda.upsample(cupy.asarray(x), (2, 3)).get(), reference.upsample(x, (2, 3)))
        assert_close(cuda.sum_blocks(cupy.asarray(x), (2, 3)).get(), reference.sum_blocks(x, (2, 3)), 2e-5)


def test_long_filters_fit_the_shared_memory(cupy, monkeypatch):
    """A block of this GPU has room for 12 rows of x, and 16 are what it would see with one tap."""
    monkeypatch.setattr(resample, "shared_memory", lambda x: 13 * 1024 - 1)
    launched, launch = [], resample._source.launch
    monkeypatch.setattr(resample._source, "launch", lambda *a, **k: (launched.append(k["shared"]), launch(*a, **k)))
    for up, down in ((1, 1), (1, 2), (2, 1), (3, 2)):
        for count in (1, 11, 12 * up - 1, 12 * up):
            taps = np.arange(count, dtype=np.float32) / count**2
            check(cupy, image(1, 40, 5, 4), taps, up=up, down=down, padding=(20, 20))
        x = cupy.asarray(image(1, 13, 5, 4))
        with pytest.raises(ValueError, match=rf"{12 * up + 1} taps are too many for x .*: {12 * up} fit the shared"):
            cuda.upfirdn2d(x, cupy.zeros(12 * up + 1, np.float32), up, down, (20, 20))
    assert max(launched) == 12 * 1024
    check(cupy, image(1, 12, 5, 4), np.ones(30, np.float32) / 30, padding=(20, 20))  # all rows are there at once


def test_a_filter_of_90_taps(cupy):
    check(cupy, image(1, 110, 2, 4), np.ones(90, np.float32) / 90, padding=((0, 0), (44, 45)))


def test_what_does_not_fit_is_refused(cupy):
    x = cupy.asarray(image(1, 3, 3, 4))
    with pytest.raises(ValueError, match=r"upfirdn2d: 4 taps do not fit x \(1, 3, 3, 4\), which is only \(2, 3\)"):
        cuda.upfirdn2d(x, cupy.asarray(TAPS), padding=((0, -1), (0, 0)))
    with pytest.raises(TypeError, match="upfirdn2d: padding must be two ints"):
        cuda.upfirdn2d(x, cupy.asarray(TAPS), padding=1)
    with pytest.raises(TypeError, match="upfirdn2d: x is float32 but taps is float64"):
        cuda.upfirdn2d(x, cupy.asarray(TAPS.astype(np.float64)))
