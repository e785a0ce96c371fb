"""examples/clip_guidance.py: what is asked for, and what is counted as right."""

import numpy as np
import pytest

from minigen import Tensor
from minigen.data import shapes
from minigen.data.captions import VALUES

for module in ("tqdm", "matplotlib", "PIL", "tokenizers"):
    pytest.importorskip(module)


@pytest.fixture
def guidance(load_example):
    return load_example("clip_guidance")


def test_each_value_of_each_attribute_is_asked_for_by_turns(guidance):
    wanted = guidance.one_attribute(4 * 72)
    for name in guidance.ASKED:
        asked = [values[name] for values in wanted if name in values]
        assert len(asked) == 72 and all(asked.count(value) == 72 // len(VALUES[name]) for value in VALUES[name])


def test_edits_ask_for_what_is_not_there(guidance):
    data = shapes(60, seed=3)
    known = {name: [VALUES[name][i] for i in data.attributes[name]] for name in ("shape", "colour")}
    recoloured, other = guidance.other_colours(data), guidance.other_shapes(data)
    assert [w["shape"] for w in recoloured] == known["shape"]
    for wanted in (recoloured, other):
        assert all(w["colour"] != colour for w, colour in zip(wanted, known["colour"], strict=True))
        assert {w["colour"] for w in wanted} == set(VALUES["colour"])
    assert all(w["shape"] != shape for w, shape in zip(other, known["shape"], strict=True))
    assert {w["shape"] for w in other} == set(VALUES["shape"])


def test_only_pictures_of_which_it_is_asked_for_count(guidance):
    read = {"colour": np.array([0, 5, 2]), "shape": np.array([1, 1, 1])}
    wanted = [{"colour": "red"}, {"shape": "square"}, {"colour": "red"}]
    assert guidance.right(read, wanted, "colour") == 0.5 and guidance.right(read, wanted, "shape") == 1


def test_a_frame_is_known(guidance):
    known = guidance.frame(32, 32)
    assert known.shape == (32, 32, 1) and known.sum() == 32**2 - (32 - 2 * guidance.FRAME) ** 2
    assert known[0].all() and known[:, -1].all() and not known[16, 16]


def test_each_picture_is_pushed_towards_its_own_sentence_in_any_batches(guidance, monkeypatch):
    """The parts of a guide are stood in for: a picture is the number of its sentence."""
    guide, wanted = object.__new__(guidance.Guide), guidance.one_attribute(10)
    monkeypatch.setattr(guide, "denoiser", lambda some: [wanted.index(w) for w in some], raising=False)

    def how(numbers, which):
        assert numbers == list(range(which.start, which.stop))
        return Tensor((np.array(numbers, np.float32) / 127.5 - 1).reshape(-1, 1, 1, 1))

    for batch in (3, 50):
        monkeypatch.setattr(guidance, "BATCH", batch)
        made = guide.make(how, 10, wanted)
        assert made.shape == (10, 1, 1, 1) and made.ravel().tolist() == list(range(10))
