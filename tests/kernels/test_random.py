"""Philox against its published vectors; what is drawn from it: its place, distribution, independence of splits."""

import importlib
import math

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cpu.functions import cos_sin_of_turns, log
from kernels.cpu.jit import parallel_kernel
from kernels.cpu.vector import lanes, load_first, store_first

compiled_philox = importlib.import_module("kernels.cpu.philox")  # kernels.cpu.philox itself is the function
MODULES = pytest.mark.parametrize("module", [reference, cpu])

# Random123, tests/kat_vectors: counter, key, result
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize("counter,key,answer", KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    assert reference.philox4x32(np.array(counter, np.uint32), key).tolist() == answer
    assert list(compiled_philox.philox4x32(*(np.uint64(word) for word in (*counter, *key)))) == answer


@MODULES
def test_blocks_are_addressed_by_seed_draw_and_row(module):
    seed, draw, row = 0x1122334455667788, 0x99AABBCCDDEEFF00, 0xFEDCBA98
    words = module.philox(seed, draw, row, 3)
    counter = np.array([2, row, 0xDDEEFF00, 0x99AABBCC], np.uint32)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words[2], reference.philox4x32(counter, (0x55667788, 0x11223344)))


@MODULES
def test_elements_take_their_own_word(module):
    u = module.uniform((3, 2, 5), 7, 8, first_row=4)
    z = module.normal((3, 2, 5), 7, 8, first_row=4, dtype=np.float64)
    for r in range(3):
        words = [int(word) >> 8 for word in reference.philox(7, 8, 4 + r, 3).ravel()]
        for e in range(10):
            assert u[r].ravel()[e] == words[e] / 2**24
            first, second = words[e - e % 2], words[e - e % 2 + 1]
            wave = math.sin if e % 2 else math.cos
            expected = math.sqrt(-2 * math.log((first + 1) / 2**24)) * wave(2 * math.pi * second / 2**24)
            assert z[r].ravel()[e] == pytest.approx(expected, rel=1e-14, abs=1e-14)


@MODULES
@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("per_row", [(), (1,), (6,), (3, 3), (5000,)])
def test_a_batch_may_be_split_anywhere(module, kind, per_row):
    make = getattr(module, kind)
    whole = make((5, *per_row), 3, 9)
    np.testing.assert_array_equal(whole[2:], make((3, *per_row), 3, 9, first_row=2))
    longer = make((5, 8000), 3, 9)
    np.testing.assert_array_equal(whole.reshape(5, -1), longer[:, : whole[0].size])


def test_float32_normals_are_those_of_float64_but_for_their_last_bits():
    """Also far out, where the logarithm is large, and near 0, where it is small: a million numbers meet both."""
    got, exact = cpu.normal((7, 150_001), 5, 6), cpu.normal((7, 150_001), 5, 6, dtype=np.float64)
    assert np.abs(exact).max() > 4.5 and np.abs(exact).min() < 1e-5
    assert np.abs(got - exact).max() < 1e-6
    np.testing.assert_allclose(exact, reference.normal(exact.shape, 5, 6, dtype=np.float64), rtol=0, atol=1e-14)


@parallel_kernel
def _log(part, parts, u, out):
    for at in range(0, u.size, lanes(u)):
        store_first(out, at, log(load_first(u, at, u.size - at)), u.size - at)


@parallel_kernel
def _cos_sin(part, parts, u, out, out_sin):
    for at in range(0, u.size, lanes(u)):
        cosine, sine = cos_sin_of_turns(load_first(u, at, u.size - at))
        store_first(out, at, cosine, u.size - at)
        store_first(out_sin, at, sine, u.size - at)


@pytest.mark.parametrize("dtype, error", [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_what_makes_uniform_numbers_normal(dtype, error):
    steps = np.arange(2**15)
    u = np.concatenate([steps, 2**24 - 1 - steps, np.arange(0, 2**24, 997), 2**22 + steps, 2**23 - steps]) * 2.0**-24
    more, out, out_sin = (u + 2.0**-24).astype(dtype), np.empty(u.size, dtype), np.empty(u.size, dtype)
    _log(1, more, out)
    np.testing.assert_allclose(out, np.log(u + 2.0**-24), rtol=error, atol=0)
    assert out[more == 1] == 0
    _cos_sin(1, u.astype(dtype), out, out_sin)
    np.testing.assert_allclose(out, np.cos(2 * np.pi * u), rtol=0, atol=error)
    np.testing.assert_allclose(out_sin, np.sin(2 * np.pi * u), rtol=0, atol=error)
    np.testing.assert_array_equal(out[np.isin(u, [0, 0.5])], [1] * (u == 0).sum() + [-1] * (u == 0.5).sum())


@MODULES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_is_exact_in_both_dtypes(module, dtype):
    u = module.uniform((4, 5001), 1, 2, dtype=dtype)
    assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
    np.testing.assert_array_equal(u, module.uniform((4, 5001), 1, 2, dtype=np.float64))


def test_uniform_is_uniform():
    u = cpu.uniform((10, 100_000), 2024, 0).ravel().astype(np.float64)
    assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / u.size)
    counts = np.bincount((u * 64).astype(int), minlength=64)
    chi_squared = ((counts - u.size / 64) ** 2 / (u.size / 64)).sum()
    assert chi_squared < 63 + 5 * math.sqrt(2 * 63)


def test_normal_is_normal():
    z = cpu.normal((10, 100_000), 2024, 1, dtype=np.float64).ravel()
    moments = [(z**power).mean() for power in (1, 2, 3, 4)]
    deviations = np.sqrt(np.array([1, 2, 15, 96]) / z.size)  # of those estimates
    assert (np.abs(np.array(moments) - [0, 1, 0, 3]) < 5 * deviations).all()
    ordered = np.sort(z)
    cdf = 0.5 * (1 + np.vectorize(math.erf)(ordered / math.sqrt(2)))
    kolmogorov = np.abs(cdf - np.arange(1, z.size + 1) / z.size).max() * math.sqrt(z.size)
    assert kolmogorov < 2.2  # exceeded once in 8,000 draws by a true normal
    pairs = np.corrcoef([z[0::4], z[1::4], z[2::4], z[3::4]]) - np.eye(4)
    assert np.abs(pairs).max() < 5 / math.sqrt(z.size / 4)


def test_seeds_draws_and_rows_are_unrelated():
    draws = [cpu.normal((2, 20_000), seed, draw) for seed, draw in ((0, 0), (1, 0), (0, 1), (0, 2**32))]
    samples = np.concatenate(draws)
    correlation = np.corrcoef(samples) - np.eye(len(samples))
    assert np.abs(correlation).max() < 5 / math.sqrt(20_000)
