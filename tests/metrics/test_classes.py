"""Histograms of classes, and the share of images that read as one."""

import numpy as np
import pytest

from minigen.metrics import class_histogram_kl, share_read


def test_equal_histograms_have_no_divergence():
    labels = np.arange(10).repeat(50)
    assert class_histogram_kl(labels, labels) == pytest.approx(0, abs=1e-12)
    assert class_histogram_kl(labels[::-1], np.tile(labels, 3)) == pytest.approx(0, abs=1e-12)


def test_one_class_of_k_is_log_k():
    assert class_histogram_kl(np.full(30, 4), np.arange(8).repeat(100)) == pytest.approx(np.log(8))


def test_by_hand_with_half_an_image_added_to_each_class_of_the_reference():
    read, reference = ["a", "b", "b", "b"], ["a", "a", "b"]
    expected = 0.25 * np.log(0.25 / (2.5 / 4)) + 0.75 * np.log(0.75 / (1.5 / 4))
    assert class_histogram_kl(read, reference) == pytest.approx(expected)
    never_seen = class_histogram_kl([7, 7], [5, 5, 5], classes=[5, 7])
    assert never_seen == pytest.approx(np.log(1 / (0.5 / 4)))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match=r"read holds a class that is not among \[0, 1\]"):
        class_histogram_kl([2], [0, 1])
    with pytest.raises(ValueError, match=r"reference must be \(N,\) with N >= 1, got shape \(0,\)"):
        class_histogram_kl([2], [])


def test_share_read():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.15, 0.85], [0.5, 0.5]])
    assert share_read(probabilities) == 0.5
    assert share_read(probabilities, confidence=0.6) == 0.75
    with pytest.raises(ValueError, match=r"needs probabilities \(N, classes\), got shape \(0,\)"):
        share_read([])
