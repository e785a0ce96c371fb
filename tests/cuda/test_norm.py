"""Norms, softmax and sums over positions on the GPU, at sizes around those that their blocks and vectors have."""

import numpy as np
import pytest

from kernels import cuda, reference
from kernels.cuda import columns, layer_norm, rows
from tests.kernels.test_agreement import assert_close

from .arrays import on_cpu, on_device, scheduled

TOLERANCE = {"float16": 5e-3, "float32": 2e-5, "float64": 1e-12}


def numbers(seed, dtype, *shape, mean=0):
    return (np.random.default_rng(seed).standard_normal(shape) + mean).astype(dtype)


def wide(arrays):
    return [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arrays]


def on_gpu(cupy, kernel, *args, schedule=0):
    with scheduled(cupy, schedule):
        results = kernel(*on_device(cupy, args))
    return [on_cpu(r) for r in (results if isinstance(results, tuple) else (results,)) if r is not None]


def check(cupy, name, *args):
    """Against the reference in float64; the same bits however blocks and threads are scheduled."""
    dtype = str(args[0].dtype)
    got = on_gpu(cupy, getattr(cuda, name), *args)
    exact = getattr(reference, name)(*wide(args))
    exact = [e for e in (exact if isinstance(exact, tuple) else (exact,)) if e is not None]
    assert len(got) == len(exact)
    for result, truth in zip(got, exact):
        assert result.shape == truth.shape
        assert_close(result, truth, TOLERANCE[dtype])
    for schedule in (1, 2):
        again = on_gpu(cupy, getattr(cuda, name), *args, schedule=schedule)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(got, again))
    return got


def check_norm(cupy, dtype, shape, groups, silu, affine=True, mean=0.0):
    x, g = numbers(0, dtype, *shape, mean=mean), numbers(1, dtype, *shape)
    weight, bias = (numbers(2, dtype, shape[-1]), numbers(3, dtype, shape[-1])) if affine else (None, None)
    _, middle, rstd = check(cupy, "group_norm", x, groups, weight, bias, 1e-5, silu)
    assert middle.dtype == rstd.dtype == ("float64" if dtype == "float64" else "float32")
    check(cupy, "group_norm_backward", g, x, weight, bias, middle, rstd, groups, silu)


@pytest.mark.parametrize("positions", [1, 7, 8, 9, 63, 64, 65, 300])
def test_group_norm_around_units(cupy, positions):
    """A thread takes 8 positions; there are 8 rows of them next to each other, 16, or 256."""
    check_norm(cupy, "float32", (2, positions, 128), 2, silu=True)
    check_norm(cupy, "float32", (1, positions, 4), 1, silu=False, affine=False)


@pytest.mark.parametrize("channels, groups", [(1, 1), (31, 31), (33, 3), (64, 1), (132, 33), (136, 2), (260, 260)])
def test_group_norm_around_tiles(cupy, channels, groups):
    """A tile is 32 vectors wide at the most."""
    check_norm(cupy, "float32", (2, 5, channels), groups, silu=False)


def test_a_block_adds_up_a_large_group(cupy):
    check_norm(cupy, "float32", (1, 257, 256), 1, silu=True)


@pytest.mark.parametrize("shape, groups", [((2, 65, 16), 2), ((1, 9, 264), 264), ((9, 8), 1), ((3, 256), 1)])
def test_norms_of_float16(cupy, shape, groups):
    check_norm(cupy, "float16", shape, groups, silu=len(shape) == 3)


@pytest.mark.parametrize("length", [1, 33, 252, 256, 260, 1024, 1028])
def test_layer_norm_around_warps_and_vectors(cupy, length):
    for m in (0, 7, 8, 9) if length < 1000 else (2,):
        check_norm(cupy, "float32", (m, length), 1, silu=length % 8 > 0, affine=length != 252)


def test_rows_that_no_block_holds_are_normalised_as_samples(cupy):
    assert rows.team(4098, cupy.empty(0, np.float64)).vectors == 0
    check_norm(cupy, "float64", (2, 4098), 1, True)


def test_more_rows_than_units(cupy, monkeypatch):
    monkeypatch.setattr(layer_norm, "UNITS", 10)
    monkeypatch.setattr(layer_norm, "ROWS", 3)
    check_norm(cupy, "float32", (37, 32), 1, True)


@pytest.mark.parametrize("shape, groups", [((1, 600, 8), 2), ((40, 1024), 1)])
@pytest.mark.parametrize("mean", [10.0, 1e4])
def test_statistics_survive_a_large_mean(cupy, shape, groups, mean):
    x = numbers(0, "float32", *shape, mean=mean)
    y, middle, rstd = on_gpu(cupy, cuda.group_norm, x, groups)
    exact = reference.split_groups(x.astype(np.float64), groups)
    np.testing.assert_allclose(middle, exact.mean((1, 3)), rtol=1e-7)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(exact.var((1, 3)) + 1e-5), rtol=2e-6)
    if mean == 10:
        assert_close(y, reference.group_norm(x.astype(np.float64), groups)[0], 2e-5)


def test_one_number_far_out_leaves_the_others_their_digits(cupy):
    """It is the one from which distances are taken."""
    x = numbers(0, "float32", 1, 512, 4)
    x[0, 0] = 1e4
    _, _, rstd = on_gpu(cupy, cuda.group_norm, x, 4)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(x.astype(np.float64).var(1) + 1e-5), rtol=1e-5)


@pytest.mark.parametrize("shape, groups", [((2, 70, 8), 2), ((3, 40), 1)])
def test_nan_stays_in_its_group(cupy, shape, groups):
    x = numbers(0, "float32", *shape)
    x[1, ..., -1] = np.nan
    for result in on_gpu(cupy, cuda.group_norm, x, groups):
        of_group = result.reshape(*result.shape[:-1], groups, -1)
        assert np.isnan(of_group[1, ..., -1, :]).all()
        assert np.isnan(result).sum() == of_group[1, ..., -1, :].size


# ---- softmax -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 33, 252, 256, 260, 1028, 8200])
def test_softmax_around_warps_and_vectors(cupy, length):
    for m in (7, 8, 9) if length < 1000 else (2,):
        check_softmax(cupy, "float32", m, length)


@pytest.mark.parametrize("length", [8, 256])
def test_softmax_of_float16(cupy, length):
    check_softmax(cupy, "float16", 9, length)


def check_softmax(cupy, dtype, m, length):
    (y,) = check(cupy, "softmax", numbers(0, dtype, m, length, mean=60))
    check(cupy, "softmax_backward", numbers(1, dtype, m, length), y)


@pytest.mark.parametrize("length", [5, 1028, 8200])
def test_softmax_of_infinities_and_nan(cupy, length):
    x = numbers(0, "float32", 5, length)
    x[0] = -np.inf
    x[1, :-1] = -np.inf
    x[2, 3] = np.inf
    x[3, 2] = np.nan
    (y,) = on_gpu(cupy, cuda.softmax, x)
    with np.errstate(invalid="ignore"):
        expected = reference.softmax(x)
    assert np.isnan(expected[[0, 2, 3]]).all() and expected[1, -1] == 1
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-9)


# ---- sums ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions, channels", [(0, 3), (1, 128), (127, 132), (128, 128), (129, 4), (4200, 1)])
def test_sums_around_units_and_tiles(cupy, positions, channels):
    check(cupy, "sum_positions", numbers(0, "float32", 2, positions, channels))


def test_sums_are_taken_in_float64(cupy):
    x = np.full((1, 3000, 1), 0.1, np.float32)
    x[0, 5], x[0, 2900] = 1e8, -1e8
    exact = x.astype(np.float64).sum(1)
    np.testing.assert_allclose(on_gpu(cupy, cuda.sum_positions, x)[0], exact, rtol=1e-6)


def test_a_sample_is_cut_into_a_bounded_number_of_units():
    for positions, vectors, each in [(10**7, 16, 8), (1, 1, 8), (255, 33, 16), (10**6, 1, 16)]:
        tiles = columns.tiling(positions, vectors, each)
        assert tiles.units <= columns.MOST_UNITS and tiles.columns <= columns.WIDEST
        assert (tiles.units - 1) * tiles.unit < positions <= tiles.units * tiles.unit
