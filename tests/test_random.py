"""Random numbers: a function of (seed, draw, element) and of nothing else; and honest statistics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen as mg
from minigen import random
from minigen.backend import kernels_for
from minigen.random import Generator, permutation

seeds = st.integers(0, 2**64 - 1)
kernels = kernels_for(np.empty(0))


@pytest.fixture(autouse=True)
def restored():
    with random.replay(random.default_generator.state_dict()):
        yield


# The statistical tests have fixed seeds, so they pass or fail for good. Their bounds are such that truly random
# numbers would fail a single check with probability below one in a million (5 standard deviations: 6e-7).


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
def test_moments(seed):
    n = 40_000
    u, z = mg.rand(n, generator=Generator(seed)).numpy(), mg.randn(n, generator=Generator(seed)).numpy()
    assert u.min() >= 0 and u.max() < 1
    u, z = u.astype(np.float64), z.astype(np.float64)
    # By the mean and variance of each power's average: E u = 1/2, var u = 1/12, E (u-1/2)^2 = 1/12, var = 1/180.
    checks = {
        "uniform mean": (u.mean() - 1 / 2, 1 / 12),
        "uniform variance": (((u - 0.5) ** 2).mean() - 1 / 12, 1 / 180),
        "uniform neighbours": (((u[1:] - 0.5) * (u[:-1] - 0.5)).mean(), 1 / 144),
        "normal mean": (z.mean(), 1),
        "normal variance": ((z**2).mean() - 1, 2),
        "normal third moment": ((z**3).mean(), 15),
        "normal fourth moment": ((z**4).mean() - 3, 96),
        "normal neighbours": ((z[1:] * z[:-1]).mean(), 1),
    }
    for name, (error, variance) in checks.items():
        assert abs(error) < 5 * math.sqrt(variance / n), name


def test_the_distribution_of_normal_numbers():
    """Kolmogorov-Smirnov: sqrt(n) D exceeds 2.7 with probability 2 exp(-2 2.7^2) = 9e-7."""
    n = 100_000
    z = np.sort(mg.randn(n, generator=Generator(7)).numpy().astype(np.float64))
    expected = 0.5 + 0.5 * np.vectorize(math.erf)(z / math.sqrt(2))
    distance = max(np.abs(expected - np.arange(n) / n).max(), np.abs(expected - np.arange(1, n + 1) / n).max())
    assert math.sqrt(n) * distance < 2.7


def test_draws_and_seeds_are_independent():
    rows = [mg.randn(10_000, generator=Generator(seed)).numpy() for seed in (0, 1, 2**32, 2**63)]
    generator = Generator(0)
    rows += [mg.randn(10_000, generator=generator).numpy() for _ in range(4)][1:]
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlations).max() < 5.5 / math.sqrt(10_000)  # 21 of them: 21 * 4e-8 < 1e-6


@settings(deadline=None, max_examples=20)
@given(seed=seeds, skipped=st.integers(0, 5))
def test_a_draw_is_a_function_of_seed_and_number(seed, skipped):
    generator = Generator(seed)
    for i in range(skipped):
        mg.rand(i, generator=generator)  # whatever its size, a draw is one step
    late = Generator()
    late.load_state_dict({"seed": seed, "draw": skipped})
    a, b = (mg.randn(3, 2, generator=g) for g in (generator, late))
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert generator.state_dict() == {"seed": seed, "draw": skipped + 1}
    kernel = kernels.normal((1, 6), seed, skipped)
    np.testing.assert_array_equal(a.numpy().ravel(), kernel.ravel())


@settings(deadline=None, max_examples=20)
@given(seed=seeds, size=st.integers(1, 300), more=st.integers(1, 300))
def test_more_numbers_begin_with_the_same(seed, size, more):
    few, many = mg.rand(size, generator=Generator(seed)), mg.rand(size + more, generator=Generator(seed))
    np.testing.assert_array_equal(few.numpy(), many.numpy()[:size])


@settings(deadline=None, max_examples=20)
@given(seed=seeds, batch=st.integers(1, 5), step=st.integers(1, 5))
def test_the_batch_split_changes_nothing(seed, batch, step):
    """Row r of a batch is the noise of sample first_row + r, however the batch is cut."""
    x0, one = np.zeros((batch, 3, 2), np.float32), np.ones(batch, np.float32)
    whole = mg.add_noise(x0, one, one, seed, draw=4)[1].numpy()
    for start in range(0, batch, step):
        part = slice(start, start + step)
        noise = mg.add_noise(x0[part], one[part], one[part], seed, draw=4, first_row=start)[1]
        np.testing.assert_array_equal(noise.numpy(), whole[part])


def test_manual_seed_starts_again():
    first = [mg.manual_seed(11), mg.randn(4).numpy(), mg.rand(2, 3).numpy(), mg.randint(0, 9, (5,)).numpy()][1:]
    again = [mg.manual_seed(11), mg.randn(4).numpy(), mg.rand(2, 3).numpy(), mg.randint(0, 9, (5,)).numpy()][1:]
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    mg.manual_seed(12)
    assert not np.array_equal(mg.randn(4).numpy(), first[0])


def test_a_saved_state_continues():
    generator = Generator(3)
    mg.rand(10, generator=generator)
    state = generator.state_dict()
    expected = mg.randn(5, generator=generator).numpy()
    other = Generator(99)
    other.load_state_dict(state)
    np.testing.assert_array_equal(mg.randn(5, generator=other).numpy(), expected)


def test_replay_repeats_and_then_goes_on():
    mg.manual_seed(1)
    state = random.default_generator.state_dict()
    first = mg.rand(3).numpy()
    with pytest.raises(KeyError), random.replay(state):
        np.testing.assert_array_equal(mg.rand(3).numpy(), first)
        raise KeyError
    assert random.default_generator.state_dict() == {"seed": 1, "draw": 1}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(dtype):
    for make in (mg.rand, mg.randn):
        assert make(2, 3, dtype=dtype).shape == make((2, 3), dtype=dtype).shape == (2, 3)
        assert make(2, dtype=dtype).dtype == dtype
        assert make(dtype=dtype).shape == () and make(0, 3).shape == (0, 3)
        assert not make(2).requires_grad


@settings(deadline=None, max_examples=30)
@given(low=st.integers(-(2**30), 2**30), span=st.integers(1, 2**24), seed=seeds)
def test_whole_numbers_stay_in_range(low, span, seed):
    values = mg.randint(low, low + span, (50,), generator=Generator(seed)).numpy()
    assert values.dtype == np.int64
    assert values.min() >= low and values.max() < low + span


def test_whole_numbers_are_equally_likely():
    """Chi-squared with 9 degrees of freedom exceeds 46.6 with probability 5e-7."""
    values = mg.randint(-3, 7, (20_000,), generator=Generator(5)).numpy()
    counts = np.bincount(values + 3, minlength=10)
    assert len(counts) == 10
    assert ((counts - 2000) ** 2 / 2000).sum() < 46.6


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 200), seed=seeds, draw=st.integers(0, 2**64 - 1))
def test_a_permutation_is_one_and_depends_on_nothing_else(n, seed, draw):
    first = permutation(n, seed, draw)
    mg.rand(3)
    np.testing.assert_array_equal(np.sort(first), np.arange(n))
    np.testing.assert_array_equal(permutation(n, seed, draw), first)
    assert first.dtype == np.int64
    if n > 20:  # two orders of 21 or more agree with probability below 1 / 21! = 2e-20
        assert not np.array_equal(permutation(n, seed, (draw + 1) % 2**64), first)
        assert not np.array_equal(permutation(n, (seed + 1) % 2**64, draw), first)


def test_each_place_of_a_permutation_is_equally_likely():
    """Where element 0 of 4 lands, in 4,000 permutations: chi-squared, 3 degrees of freedom, 32 has 5e-7."""
    places = [int(np.argmin(permutation(4, 1, draw))) for draw in range(4000)]
    counts = np.bincount(places, minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 32
