"""Probes: they tell apart what can be told apart, a plane only what a plane separates, and scale does not matter."""

import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

from minigen.metrics import linear_probe, nearest_neighbours


def blobs(n, middles, seed):
    """n codes around each middle; the class of middle i is i mod 2."""
    middles = np.asarray(middles, float)
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(middles), n, middles.shape[1]))
    return (middles[:, None] + noise).reshape(-1, middles.shape[1]), np.arange(len(middles)).repeat(n) % 2


APART = [(0, 0), (1, 1)]
CROSSED = [(0, 0), (0, 1), (1, 1), (1, 0)]  # exclusive or: no plane separates them


@pytest.mark.parametrize("scale", [1, (1000, 1)])
@pytest.mark.parametrize("probe", [linear_probe, nearest_neighbours])
def test_classes_that_are_apart_are_told_apart_at_any_scale(probe, scale):
    codes, labels = blobs(30, APART, seed=0)
    others, other_labels = blobs(30, APART, seed=1)
    assert probe().fit(codes * scale, labels).score(others * scale, other_labels) == 1


def test_only_neighbours_tell_apart_what_no_plane_separates():
    codes, labels = blobs(30, CROSSED, seed=0)
    others, other_labels = blobs(30, CROSSED, seed=1)
    assert nearest_neighbours().fit(codes, labels).score(others, other_labels) == 1
    assert linear_probe().fit(codes, labels).score(others, other_labels) < 0.8


def test_neighbours_standardise_where_it_helps_and_only_there():
    codes, labels = blobs(30, APART, seed=0)
    drowned = np.column_stack([codes, np.random.default_rng(2).normal(0, 100, len(codes))])
    assert nearest_neighbours().fit(drowned, labels).best_params_["scale"] != "passthrough"
    faint = np.column_stack([codes, np.random.default_rng(2).normal(0, 1e-3, (len(codes), 300))])
    assert nearest_neighbours().fit(faint, labels).best_params_["scale"] == "passthrough"


@pytest.mark.parametrize("probe", [linear_probe, nearest_neighbours])
def test_the_missing_package_is_named_with_the_mend(probe, monkeypatch):
    for module in ("linear_model", "neighbors", "pipeline", "model_selection", "preprocessing"):
        monkeypatch.setitem(sys.modules, f"sklearn.{module}", None)
    with pytest.raises(ImportError, match=r"a probe needs the package scikit-learn: pip install minigen\[examples\]"):
        probe()
