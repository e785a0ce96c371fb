"""Attributes kept, and values that are exchanged for others."""

import numpy as np
import pytest

from minigen.data import shapes
from minigen.data.shapes import COLOURS
from minigen.metrics import exchanged, shares_kept

NAMES = ("shape", "colour", "size")


def test_real_pictures_keep_all():
    true = shapes(200).attributes
    assert shares_kept(true, true, NAMES) == {"shape": 1, "colour": 1, "size": 1, "all at once": 1}
    assert exchanged(true["colour"], true["colour"], COLOURS) == []


def test_a_picture_counts_only_if_it_keeps_everything_and_what_is_not_asked_does_not_count():
    true = {name: np.zeros(10, int) for name in (*NAMES, "background")}
    read = {name: values.copy() for name, values in true.items()}
    read["shape"][:2] = 1
    read["size"][1:4] = 2
    read["background"][:] = 1
    assert shares_kept(read, true, NAMES) == pytest.approx({"shape": 0.8, "colour": 1, "size": 0.7, "all at once": 0.6})


def test_colours_that_are_swapped_are_found_and_named():
    true = shapes(500).attributes["colour"]
    swapped = np.array([5, 1, 2, 3, 4, 0, 6, 7])[true]  # red and blue
    assert exchanged(swapped, true, COLOURS) == ["red for blue", "blue for red"]
    few = np.where(np.arange(500) % 3 == 0, swapped, true)  # of each colour a third
    assert exchanged(few, true, COLOURS) == []
    most = np.where(np.arange(500) % 3 == 0, true, swapped)
    assert exchanged(most, true, COLOURS) == ["red for blue", "blue for red"]
    assert exchanged(np.full(500, 7), true, COLOURS) == [f"{colour} for pink" for colour in COLOURS[:-1]]


def test_what_cannot_be_compared_is_refused():
    true = {"shape": np.zeros(3, int)}
    with pytest.raises(ValueError, match="both read and true, got size"):
        shares_kept({"shape": np.zeros(3, int), "size": np.zeros(3, int)}, true, ("shape", "size"))
    with pytest.raises(ValueError, match=r"shape must be \(N,\), .*got shapes \(2,\) and \(3,\)"):
        shares_kept({"shape": np.zeros(2, int)}, true, ("shape",))
    with pytest.raises(ValueError, match=r"of one N >= 1, got shapes \(0,\) and \(0,\)"):
        exchanged([], [], COLOURS)
