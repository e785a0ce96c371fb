"""Byte pairs: any text comes back, frequent words become one piece, and what does not fit is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.contrastive import END, PADDING, START, Tokenizer
from minigen.data import shapes

CAPTIONS = shapes(200).captions
TOKENIZER = Tokenizer.learn(CAPTIONS, context=48)


def test_captions_take_one_piece_a_word():
    tokens = TOKENIZER(CAPTIONS)
    assert tokens.shape == (200, 48) and tokens.dtype == np.int64
    words = np.array([len(caption.replace(",", " ,").split()) for caption in CAPTIONS])
    np.testing.assert_array_equal((tokens != PADDING).sum(1), words + 2)
    assert (tokens[:, 0] == START).all() and ((tokens == END).sum(1) == 1).all()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8))
@settings(deadline=None)
def test_any_text_comes_back_in_lower_case(text):
    lower = "".join(letter.lower() for letter in text)  # of a word, Python would lower a final sigma in its own way
    assert TOKENIZER.decode(TOKENIZER(text)) == [lower]


def test_case_does_not_matter_and_one_text_is_a_batch_of_one():
    np.testing.assert_array_equal(TOKENIZER("A Red STAR"), TOKENIZER(["a red star"]))


def test_names_of_special_pieces_are_text_like_any_other():
    tokens = TOKENIZER("a [padding] star [end] [start]")
    assert TOKENIZER.decode(tokens) == ["a [padding] star [end] [start]"]
    assert (tokens == END).sum() == 1 and (tokens[0, : np.argmax(tokens[0] == END)] != PADDING).all()


def test_it_comes_back_from_its_rules():
    again = Tokenizer(TOKENIZER.rules, TOKENIZER.context)
    np.testing.assert_array_equal(again(CAPTIONS), TOKENIZER(CAPTIONS))
    assert len(again) == len(TOKENIZER) <= 512


def test_a_text_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"Tokenizer: a text may have 46 pieces, got 60: 'red red"):
        TOKENIZER(["a star", "red " * 60])
