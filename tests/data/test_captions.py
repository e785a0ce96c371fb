"""Captions: what is told is there, what is not is left out, and what does not exist is refused."""

import itertools
import re

import pytest

from minigen.data.captions import VALUES, WORDINGS, describe

GIVEN = {
    "shape": "star",
    "colour": "orange",
    "size": "small",
    "position": "top left",
    "background": "striped",
    "background_colour": "grey",
}


@pytest.mark.parametrize("wording", range(WORDINGS))
def test_exactly_what_is_given_is_told(wording):
    for count in range(len(GIVEN) + 1):
        for names in itertools.combinations(GIVEN, count):
            sentence = describe({name: GIVEN[name] for name in names}, wording)
            for name, value in GIVEN.items():
                assert (re.search(rf"\b{value}\b", sentence) is not None) == (name in names), sentence
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  |, ,|,$|^,", sentence), sentence


def test_examples():
    assert describe({"size": "small", "colour": "red", "shape": "star", "position": "top left"}) == (
        "a small red star in the top left"
    )
    assert describe({"position": "top"}) == "a shape at the top"
    assert describe({"colour": "red", "background": "plain"}, 2) == "a plain background with a red shape"
    assert describe({}) == "a shape"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"describe: colour='gold' is not among .*'red'"):
        describe({"colour": "gold"})
    with pytest.raises(ValueError, match=r"describe: taste='sweet' is not among .*'shape'"):
        describe({"taste": "sweet"})
    with pytest.raises(ValueError, match="wording must be from 0 to 3, got 4"):
        describe({}, WORDINGS)
    assert set(GIVEN) == set(VALUES)
