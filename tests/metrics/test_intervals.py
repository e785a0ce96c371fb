"""Student's interval: against its closed form, against scipy's, and how often it holds the mean."""

import math

import numpy as np
import pytest

from minigen.metrics import mean_interval

stats = pytest.importorskip("scipy.stats")


def test_two_values_in_closed_form():
    # one degree of freedom is Cauchy's distribution, whose quantile is tan(pi (p - 1/2)); s / sqrt(2) = |a - b| / 2
    mean, low, high = mean_interval([1, 4], confidence=0.9)
    assert mean == 2.5 and (high - mean) == pytest.approx(1.5 * math.tan(0.45 * math.pi)) == (mean - low)


@pytest.mark.parametrize("n", [2, 3, 5, 40])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_agrees_with_scipy(n, confidence):
    x = np.random.default_rng(n).normal(3, 2, n)
    mean, *found = mean_interval(x, confidence)
    wanted = stats.t.interval(confidence, n - 1, loc=x.mean(), scale=stats.sem(x))
    np.testing.assert_allclose([mean, *found], [x.mean(), *wanted], rtol=1e-12)


def test_holds_the_mean_as_often_as_it_says():
    x = np.random.default_rng(0).normal(1, 3, (2000, 5))
    held = sum(low <= 1 <= high for _, low, high in map(mean_interval, x))
    assert abs(held / 2000 - 0.95) < 0.02  # 4 standard deviations


def test_values_that_are_all_the_same_leave_no_doubt():
    assert mean_interval([2.0, 2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize(
    "values, confidence, words",
    [
        ([1.0], 0.95, r"at least two values \(N,\), got shape \(1,\)"),
        ([[1.0, 2.0]], 0.95, r"got shape \(1, 2\)"),
        ([1.0, math.nan], 0.95, "not finite"),
        ([1.0, 2.0], 95, "confidence must be between 0 and 1, got 95"),
    ],
)
def test_what_will_not_do(values, confidence, words):
    with pytest.raises(ValueError, match=words):
        mean_interval(values, confidence)
