"""Precision, recall, density, coverage and Vendi score on sets whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")

from minigen.metrics import density_coverage, nearest_neighbour_accuracy, precision_recall, vendi_score

NEAR = np.random.default_rng(0).normal(size=(60, 3))
FAR = NEAR + 1000


def test_a_set_and_itself():
    assert precision_recall(NEAR, NEAR) == (1, 1)
    density, coverage = density_coverage(NEAR, NEAR)
    # each point is in its own ball, and there are k + 1 points in every ball, its middle and those up to the k-th
    assert (density, coverage) == (pytest.approx(6 / 5), 1)


def test_sets_that_are_apart():
    assert precision_recall(NEAR, FAR) == (0, 0)
    assert density_coverage(NEAR, FAR) == (0, 0)


def test_fakes_that_cover_half_of_the_real_ones():
    real = np.concatenate([NEAR, FAR])
    assert precision_recall(real, NEAR) == (1, 0.5)
    assert precision_recall(NEAR, real) == (0.5, 1)
    assert density_coverage(real, NEAR)[1] == 0.5


def test_by_hand_on_a_line():
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [2.5], [10.0]])
    # k = 1: the real balls are 0 +- 1, 1 +- 1, 3 +- 2; the fake ones 0.5 +- 2, 2.5 +- 2, 10 +- 7.5
    assert precision_recall(real, fake, k=1) == (pytest.approx(2 / 3), 1)
    # 0.5 is in the first two, 2.5 in the last, 10 in none
    assert density_coverage(real, fake, k=1) == (1, 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_neither_order_nor_blocks_nor_shifts_matter(seed, rows):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(20, 2)), rng.normal(size=(15, 2)) + 0.5
    for metric in (precision_recall, density_coverage):
        expected = metric(real, fake)
        assert metric(rng.permutation(real), rng.permutation(fake)) == expected
        assert metric(2 * real, 2 * fake) == expected
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{precision_recall.__module__}.ROWS", rows)
            assert metric(real, fake) == expected


def test_recall_is_precision_the_other_way_round():
    real, fake = NEAR[:40], NEAR[40:] * 1.5
    assert precision_recall(real, fake) == precision_recall(fake, real)[::-1]


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
@pytest.mark.parametrize("k", [0, 5])
def test_k_must_be_less_than_the_number_of_samples(metric, k):
    with pytest.raises(ValueError, match=rf"got k = {k} of 60 and 5"):
        metric(NEAR, NEAR[:5], k)


def test_samples_of_one_distribution_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    assert nearest_neighbour_accuracy(*rng.normal(size=(2, 1000, 3))) == pytest.approx(0.5, abs=0.05)
    assert nearest_neighbour_accuracy(NEAR, FAR) == 1
    assert nearest_neighbour_accuracy(NEAR, NEAR) == 0  # copies
    few = NEAR[rng.integers(0, 3, 60)] + rng.normal(scale=1e-3, size=(60, 3))
    assert nearest_neighbour_accuracy(NEAR + 0.5, few) > 0.95  # a generator of three points


def test_nearest_neighbours_by_hand():
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[1.4], [4.5], [5.0]])
    # 0 -> 1 right; 1 -> 1.4 wrong; 3 -> 4.5 wrong; 1.4 -> 1 wrong; 4.5 -> 5 right; 5 -> 4.5 right
    assert nearest_neighbour_accuracy(real, fake) == 1 / 2
    assert nearest_neighbour_accuracy(fake, real) == 1 / 2
    assert nearest_neighbour_accuracy(real, fake - 0.9) == 1 / 3  # 0.5, 3.6, 4.1: the last two are right


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 7))
def test_nearest_neighbour_accuracy_leaves_one_out(seed, n, rows):
    """Against the definition: the classifier that has seen all samples but the one that it is asked for."""
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(2, n, 2))
    every, kind = np.concatenate([real, fake]), np.arange(2 * n) < n
    distances = np.linalg.norm(every[:, None] - every, axis=-1)
    np.fill_diagonal(distances, np.inf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{precision_recall.__module__}.ROWS", rows)
        assert nearest_neighbour_accuracy(real, fake) == (kind[distances.argmin(1)] == kind).mean()


@pytest.mark.parametrize("counts", [(60, 5), (1, 1)])
def test_nearest_neighbour_accuracy_needs_as_many_of_each(counts):
    with pytest.raises(ValueError, match=f"at least two, got {counts[1]} and {counts[0]}"):
        nearest_neighbour_accuracy(NEAR[: counts[0]], FAR[: counts[1]])


def test_vendi_score_counts_what_is_different():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1)
    assert vendi_score(np.eye(3).repeat(10, 0)) == pytest.approx(3)  # three kinds, as many of each
    x = np.eye(2)[[0, 0, 0, 1]]  # an entropy of 3/4 and 1/4
    assert vendi_score(x) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_vendi_score_of_any_set(seed, n, d):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    score = vendi_score(x)
    assert 1 - 1e-9 <= score <= min(n, d) + 1e-9
    assert vendi_score(rng.permutation(x) * rng.uniform(1, 5, (n, 1))) == pytest.approx(score)  # only directions count
    assert vendi_score(np.concatenate([x, x])) == pytest.approx(score)


def test_vendi_score_needs_directions():
    with pytest.raises(ValueError, match="have no direction"):
        vendi_score(np.zeros((3, 2)))
