"""The comparison and its table."""

import math

import numpy as np
import pytest

from minigen.metrics import compare, comparison_table, frechet_distance, kernel_distance, precision_recall, vendi_score

pytest.importorskip("scipy")


def test_every_figure_stands_beside_the_floors():
    rng = np.random.default_rng(0)
    real, fake, floor = rng.normal(size=(80, 3)), 0.5 * rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    figures = compare(real, fake, floor)
    names = {"frechet", "kid", "kid_low", "kid_high", "precision", "recall", "density", "coverage", "vendi"}
    assert set(figures) == names | {f"floor_{name}" for name in names}
    assert figures["frechet"] == frechet_distance(real, fake) > 2 * figures["floor_frechet"]
    assert tuple(figures[f"floor_{name}"] for name in ("kid", "kid_low", "kid_high")) == kernel_distance(real, floor)
    assert (figures["precision"], figures["recall"]) == precision_recall(real, fake)
    assert figures["precision"] > figures["floor_precision"] and figures["recall"] < figures["floor_recall"]
    assert figures["floor_vendi"] == vendi_score(floor)
    lines = comparison_table(figures).splitlines()
    assert len(lines) == 6 and f"{figures['frechet']:.3g}" in lines[1] and f"{figures['floor_frechet']:.3g}" in lines[1]
    assert f"{figures['kid']:.4f} ± {figures['kid_high'] - figures['kid']:.4f}" in lines[2]


def test_what_so_few_cannot_say_is_left_open():
    x = np.random.default_rng(0).normal(size=(7, 10))
    figures = compare(x, x, x)
    assert math.isnan(figures["frechet"]) and figures["recall"] == 1 and figures["vendi"] > 1
    assert all(math.isnan(value) for value in compare(x[:5], x, x).values())


def test_the_floor_is_of_the_same_size():
    x = np.zeros((9, 3))
    with pytest.raises(ValueError, match="as many real samples for the floor as fakes, got 8 and 9"):
        compare(x, x, x[:8])
