"""Frechet and kernel distance against closed forms, and what must not change them."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.metrics import frechet_distance, kernel_distance


def whitened(n, d, seed=0):
    """n points whose mean is exactly 0 and whose covariance is exactly 1."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def spread(seed, d=4):
    """A random positive definite matrix and its symmetric root."""
    a = np.random.default_rng(seed).normal(size=(d, d))
    values, vectors = np.linalg.eigh(a @ a.T)
    return a @ a.T, (vectors * np.sqrt(values)) @ vectors.T


def test_equal_covariances_leave_the_distance_of_the_means():
    x = whitened(50, 4) @ spread(1)[1]
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + [3, 0, 4, 0]) == pytest.approx(25)


def test_one_scaled_normal_distribution_and_another():
    # (a - b)^2 for each of d dimensions of standard deviations a and b
    assert frechet_distance(2 * whitened(50, 4), 5 * whitened(30, 4, seed=1)) == pytest.approx(4 * 9)
    scales = np.array([1.0, 2.0, 3.0])
    assert frechet_distance(whitened(50, 3) * scales, whitened(60, 3, 1)) == pytest.approx(0 + 1 + 4)


def test_against_the_root_of_the_plain_product():
    linalg = pytest.importorskip("scipy.linalg")
    (s_x, root_x), (s_y, root_y) = spread(2), spread(3)
    expected = np.trace(s_x + s_y - 2 * linalg.sqrtm(s_x @ s_y).real)
    assert frechet_distance(whitened(50, 4) @ root_x, whitened(70, 4, 1) @ root_y) == pytest.approx(expected)


def test_features_that_lie_in_a_plane_are_no_trouble():
    x = whitened(50, 4)
    x[:, 2:] = x[:, :2]  # a singular covariance
    assert frechet_distance(x, x + 1) == pytest.approx(4)
    assert frechet_distance(x[:, :1], 3 * x[:, :1]) == pytest.approx(4)  # and a single number is enough


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 3))
def test_both_are_symmetric_and_no_order_changes_them(seed, scale):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, 3)), scale * rng.normal(size=(9, 3)) + 1
    for distance in (frechet_distance, kernel_distance):
        expected = distance(x, y)
        np.testing.assert_allclose(distance(y, x), expected, rtol=1e-9)
        np.testing.assert_allclose(distance(rng.permutation(x), rng.permutation(y)), expected, rtol=1e-9)


def test_kernel_distance_is_the_estimate_of_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.5

    def estimate(x, y):
        def k(a, b):
            return (a @ b / 3 + 1) ** 3

        def within(z):
            pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
            return np.mean([k(z[i], z[j]) for i, j in pairs])

        return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])

    value, low, high = kernel_distance(x, y)
    assert value == pytest.approx(estimate(x, y))
    left_out_x = [estimate(np.delete(x, i, 0), y) for i in range(7)]
    left_out_y = [estimate(x, np.delete(y, i, 0)) for i in range(5)]
    error = np.sqrt(6 * np.var(left_out_x) + 4 * np.var(left_out_y))  # the jackknife's
    np.testing.assert_allclose((low, high), (value - 1.96 * error, value + 1.96 * error))


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    expected = kernel_distance(x, y)
    monkeypatch.setattr(sys.modules[kernel_distance.__module__], "ROWS", 3)
    np.testing.assert_allclose(kernel_distance(x, y), expected, rtol=1e-12)


def expected_kernel(a, b, d):
    """E (x.y / d + 1)^3 of independent x and y, their d numbers normal with means a and b and variance 1."""
    first, second, third = a * b, (a * a + 1) * (b * b + 1), (a**3 + 3 * a) * (b**3 + 3 * b)  # moments of x_1 y_1
    mean, variance = d * first, d * (second - first**2)  # cumulants of x.y
    skewness = d * (third - 3 * first * second + 2 * first**3)
    moments = [1, mean, variance + mean**2, skewness + 3 * mean * variance + mean**3]
    return sum(binomial * moment / d**i for i, (binomial, moment) in enumerate(zip([1, 3, 3, 1], moments)))


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_interval_holds_the_truth_as_often_as_it_says(shift):
    rng = np.random.default_rng(0)
    truth = expected_kernel(0, 0, 16) + expected_kernel(shift, shift, 16) - 2 * expected_kernel(0, shift, 16)
    found = [kernel_distance(rng.normal(size=(80, 16)), rng.normal(size=(60, 16)) + shift) for _ in range(300)]
    values, low, high = np.transpose(found)
    assert ((low <= truth) & (truth <= high)).mean() >= 0.93
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(300)  # no bias


def test_too_few_samples_are_refused():
    few, enough = np.zeros((3, 4)), np.ones((9, 4))
    with pytest.raises(ValueError, match="as many samples as dimensions, got 3 and 9 of 4 numbers"):
        frechet_distance(few, enough)
    with pytest.raises(ValueError, match="at least two samples of each"):
        frechet_distance(few[:1, :1], enough[:, :1])
    with pytest.raises(ValueError, match="at least three samples of each, got 2 and 9"):
        kernel_distance(few[:2], enough)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_what_are_no_features_is_refused(distance):
    x = np.zeros((5, 2))
    for other in (np.zeros((5, 3)), np.zeros(5), np.zeros((0, 2))):
        with pytest.raises(ValueError, match=r"needs features \(N, d\), of one d, got shapes \(5, 2\), "):
            distance(x, other)
    with pytest.raises(ValueError, match="not finite numbers: did the model diverge"):
        distance(x, np.full((5, 2), np.nan))
