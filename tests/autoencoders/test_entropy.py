"""The factorised prior, and its way to bytes: probabilities, the rate that it promises, and exact round trips."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import CodingTables, FactorizedPrior, add_uniform_noise, round_straight_through
from minigen.gradcheck import gradcheck


@pytest.fixture(scope="module")
def coder():
    """For tests that go to bytes and back."""
    return pytest.importorskip("constriction")


def some_prior(size=5, levels=2, components=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    prior = FactorizedPrior(size, levels, components).astype(dtype)
    for p in prior.parameters():
        p.assign_((p.numpy() + rng.normal(size=p.shape)).astype(dtype))
    return prior


def codes_of(prior, level, n, limit=60):
    """n codes drawn from a prior."""
    counts = prior.tables(level, limit).counts
    rng = np.random.default_rng(1)
    return np.stack([rng.choice(2 * limit + 1, n, p=row / row.sum()) - limit for row in counts], 1)


def test_noise_is_uniform_of_width_one_and_comes_from_the_generator():
    y = Tensor(np.full((100, 100), 3.0, np.float32))
    noise = add_uniform_noise(y, minigen.random.Generator(0)).numpy() - 3
    assert abs(noise.mean()) < 0.01 and abs(noise.var() - 1 / 12) < 0.002
    assert -0.5 <= noise.min() < -0.499 and 0.499 < noise.max() <= 0.5
    np.testing.assert_array_equal(add_uniform_noise(y, minigen.random.Generator(0)).numpy() - 3, noise)


def test_rounding_passes_the_gradient_on():
    y = minigen.tensor([[-1.6, -0.4, 0.2, 2.7]], requires_grad=True)
    rounded = round_straight_through(y)
    np.testing.assert_array_equal(rounded.numpy(), [[-2, 0, 0, 3]])
    (rounded * Tensor(np.float32([[1, 2, 3, 4]]))).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [[1, 2, 3, 4]])


def test_one_component_is_a_rounded_logistic_distribution():
    logistic = pytest.importorskip("scipy.stats").logistic
    prior = some_prior(size=3, components=1)
    y = np.random.default_rng(0).normal(size=(4, 3))
    mean, scale = prior.mean.numpy()[1, 0], np.exp(prior.log_scale.numpy()[1, 0])
    p = logistic.cdf(y + 0.5, mean, scale) - logistic.cdf(y - 0.5, mean, scale)
    np.testing.assert_allclose(prior.bits(Tensor(y), 1).numpy(), -np.log2(p + 1e-9).sum(1), rtol=1e-9)


def test_probabilities_of_all_whole_numbers_add_up_to_one():
    prior = some_prior(size=1)
    q = np.arange(-400.0, 401)[:, None]
    for level in range(2):
        assert 2 ** -prior.bits(Tensor(q), level).numpy() @ np.ones(801) == pytest.approx(1, abs=1e-6)


def test_bits_of_a_level_each_are_those_of_one_level_at_a_time():
    prior, y = some_prior(), Tensor(np.random.default_rng(0).normal(size=(4, 5)))
    mixed = prior.bits(y, np.array([0, 1, 1, 0])).numpy()
    np.testing.assert_allclose(mixed[[0, 3]], prior.bits(y, 0).numpy()[[0, 3]])
    np.testing.assert_allclose(mixed[[1, 2]], prior.bits(y, 1).numpy()[[1, 2]])


def test_bits_have_the_right_derivatives():
    prior, y = some_prior(), minigen.tensor(np.random.default_rng(0).normal(size=(2, 5)), requires_grad=True)
    level = np.array([1, 0])
    gradcheck(lambda y, *_: prior.bits(y, level), [y, *prior.parameters()])


def test_bits_keep_their_digits_on_both_sides():
    precise = some_prior(components=1)
    prior = some_prior(components=1, dtype=np.float32)
    distance = np.array([[-14.0], [14.0]]) * np.exp(precise.log_scale.numpy()[0, 0])
    y = np.float32(precise.mean.numpy()[0, 0] + distance)  # p is about e^-14
    expected = precise.bits(Tensor(y.astype(np.float64)), 0).numpy()
    np.testing.assert_allclose(prior.bits(Tensor(y), 0).numpy(), expected, rtol=1e-4)


def test_bits_stay_finite_far_away():
    prior = some_prior(dtype=np.float32)
    y = minigen.tensor(np.full((1, 5), 1e6, np.float32), requires_grad=True)
    bits = prior.bits(y, 0)
    bits.sum().backward()
    assert bits.item() == pytest.approx(5 * 29.9, rel=1e-3) and np.isfinite(y.grad.numpy()).all()


def test_tables_are_the_probabilities():
    prior = some_prior(size=4)
    tables = prior.tables(1, limit=6)
    assert tables.counts.shape == (4, 13)
    inner = np.repeat(np.arange(-5.0, 6)[:, None], 4, 1)  # the outermost have the tails as well
    for i in range(4):
        alone = FactorizedPrior(1, 2).astype(np.float64)
        for p, whole in zip(alone.parameters(), prior.parameters(), strict=True):
            p.assign_(whole.numpy()[..., i : i + 1].copy())
        p = 2 ** -alone.bits(Tensor(inner[:, i : i + 1]), 1).numpy()
        np.testing.assert_allclose(tables.counts[i, 1:-1] / 2**24, p, atol=2e-6)
        assert (tables.counts[i, [0, -1]] / 2**24).sum() == pytest.approx(1 - p.sum(), abs=1e-4)


@given(arrays(np.float64, (3, 7), elements=st.floats(0, 1e6)))
def test_tables_of_any_probabilities_add_up_and_leave_nothing_out(p):
    p[:, 0] += 1e-3  # some sum
    counts = CodingTables.from_probabilities(p).counts
    assert (counts.sum(1) == 2**24).all() and counts.min() >= 1
    np.testing.assert_allclose(counts / 2**24, p / p.sum(1, keepdims=True), atol=1e-6)


def test_tables_of_codes_are_their_frequencies():
    codes = np.array([[0, 9], [0, -1], [1, 2], [-1, 2]])
    tables = CodingTables.from_codes(codes, limit=2)
    expected = (np.array([[0, 1, 2, 1, 0], [0, 1, 0, 0, 3]]) + 0.05) / 4.25  # 9 counts as the outermost
    np.testing.assert_allclose(tables.counts / 2**24, expected, atol=1e-6)


@pytest.mark.usefixtures("coder")
@given(st.data())
def test_what_is_decoded_is_what_was_encoded(data):
    n, size, limit = (data.draw(st.integers(low, 6)) for low in (0, 1, 1))
    codes = data.draw(arrays(np.int32, (n, size), elements=st.integers(-limit, limit)))
    p = data.draw(arrays(np.float64, (size, 2 * limit + 1), elements=st.floats(1e-9, 1)))
    tables = CodingTables.from_probabilities(p)
    again = CodingTables(tables.counts.copy())  # as read from a file
    np.testing.assert_array_equal(again.decode(tables.encode(codes)), codes)


@pytest.mark.usefixtures("coder")
def test_a_file_is_as_long_as_the_prior_says():
    prior = some_prior(size=20)
    codes = codes_of(prior, 1, 500)
    stream = prior.tables(1, 60).encode(codes)
    promised = prior.bits(Tensor(codes.astype(np.float64)), 1).numpy().sum() / 8
    assert len(stream) == pytest.approx(promised, rel=0.005)


@pytest.mark.usefixtures("coder")
@pytest.mark.parametrize("counts", [[3, 5, 2**24 - 8], [1, 1, 2**24 - 2], [2**23, 2**23 - 1, 1]])
def test_a_number_costs_what_its_count_in_the_table_says(counts):
    tables = CodingTables(np.array([counts]))
    for code, count in zip((-1, 0, 1), counts, strict=True):
        codes = np.full((20_000, 1), code)
        stream = tables.encode(codes)
        assert 8 * len(stream) / 20_000 == pytest.approx(-np.log2(count / 2**24), abs=0.01)
        np.testing.assert_array_equal(tables.decode(stream), codes)


@pytest.mark.usefixtures("coder")
def test_the_prior_learns_the_distribution_of_codes():
    """Its files become as short as those of the frequencies themselves."""
    rng = np.random.default_rng(0)
    parts = rng.logistic(-4, 0.5, (1000, 2)), rng.logistic(3, 1, (1000, 2))
    codes = np.rint(np.concatenate(parts)).astype(np.int32).clip(-20, 20)
    prior = FactorizedPrior(2)
    optimizer = optim.Adam(prior.parameters(), lr=0.1)
    y = Tensor(codes.astype(np.float32))
    for _ in range(200):
        optimizer.zero_grad()
        prior.bits(y, 0).mean().backward()
        optimizer.step()
    ours, best = (len(tables.encode(codes)) for tables in (prior.tables(0, 20), CodingTables.from_codes(codes, 20)))
    assert ours == pytest.approx(best, rel=0.01)


def test_errors():
    prior = FactorizedPrior(5)
    with pytest.raises(ValueError, match=r"codes must be \(N, 5\), got shape \(2, 4\)"):
        prior.bits(Tensor(np.zeros((2, 4), np.float32)), 0)
    tables = prior.tables(0, 3)
    with pytest.raises(ValueError, match="level must be from 0 to 0, got 1"):
        prior.tables(1, 3)
    for codes in (np.zeros((2, 4), int), np.full((2, 5), -4)):
        with pytest.raises(ValueError, match=r"codes must be \(N, 5\), from -3 to 3; got shape"):
            tables.encode(codes)
    for counts in (np.full((1, 2), 2**23), np.array([[0, 2**24, 0]]), np.array([[1, 1, 1]])):
        with pytest.raises(ValueError, match=r"add up to 2\^24 in each row"):
            CodingTables(counts)
    for p in (np.zeros((1, 3)), np.array([[0.5, np.nan, 0.5]]), np.array([[-0.1, 0.6, 0.5]]), np.ones(3)):
        with pytest.raises(ValueError, match="finite, at least 0, and not all 0 in a row"):
            CodingTables.from_probabilities(p)
    for length in (0, 3, 9):
        with pytest.raises(ValueError, match=f"or a larger multiple of 4, got {length} bytes"):
            tables.decode(bytes(length))


@pytest.mark.parametrize("codes", [np.full((2, 5), 1.7), np.full((2, 5), np.nan), np.zeros(5, int)])
def test_only_whole_numbers_are_coded(codes):
    for take in (FactorizedPrior(5).tables(0, 3).encode, lambda codes: CodingTables.from_codes(codes, 3)):
        with pytest.raises(ValueError, match=r"codes must be whole numbers \(N, size\), got dtype"):
            take(codes)


def test_on_a_gpu_it_is_the_same(cupy):
    y = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)

    def everything(device):
        prior = some_prior(dtype=np.float32).to(device)
        x = minigen.tensor(y, requires_grad=True, device=device)
        noisy, rounded = add_uniform_noise(x, minigen.random.Generator(0)), round_straight_through(x)
        bits = prior.bits(noisy, np.array([0, 1, 1, 0]))
        bits.sum().backward()
        values = [noisy, rounded, bits, x.grad, prior.log_scale.grad]
        assert {v.device for v in values} == {x.device}
        return [v.numpy() for v in values]

    for on_cpu, on_gpu in zip(everything("cpu"), everything("cuda"), strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)
