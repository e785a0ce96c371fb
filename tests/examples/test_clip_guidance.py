"""examples/clip_guidance.py: what is asked for, and what is counted as right."""

import numpy as np
import pytest

from minigen import Tensor
from minigen.data import shapes, to_float
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
    known = {name: [VALUES[name][i] for i in data.attributes[name]] for name in ("shape", "colour", "position")}
    edited, inpainted = guidance.other_shapes(data), guidance.other_shapes_and_colours(data)
    for name, asked in (("shape", edited), ("shape", inpainted), ("colour", inpainted)):
        assert all(w[name] != value for w, value in zip(asked, known[name], strict=True))
        assert {w[name] for w in asked} == set(VALUES[name])
    assert all([w[name] for w in edited] == known[name] for name in ("colour", "position"))


def test_the_frames_of_what_is_inpainted_show_background_only(guidance):
    data = guidance.in_the_middle(60, seed=3)
    assert len(data) == 60 and len(np.unique(data.attributes["shape"])) == len(VALUES["shape"])
    plain = data.subset(data.attributes["background"] == VALUES["background"].index("plain"))
    known = guidance.frame(32, 32)[..., 0]
    assert all(len(np.unique(image[known], axis=0)) == 1 for image in plain.images)
    assert all(len(np.unique(image[~known], axis=0)) > 1 for image in plain.images)


def test_only_pictures_of_which_it_is_asked_for_count(guidance):
    read = {"colour": np.array([0, 5, 2]), "shape": np.array([1, 1, 1])}
    wanted = [{"colour": "red"}, {"shape": "square"}, {"colour": "red"}]
    assert guidance.right(read, wanted, "colour") == 0.5 and guidance.right(read, wanted, "shape") == 1


def test_a_frame_is_known(guidance):
    known = guidance.frame(32, 32)
    assert known.shape == (32, 32, 1) and known.sum() == 32**2 - (32 - 2 * guidance.FRAME) ** 2
    assert known[0].all() and known[:, -1].all() and not known[16, 16]


def test_each_picture_is_pushed_towards_its_own_sentence_in_any_batches(guidance, monkeypatch):
    """What draws is stood in for: a picture is the number of its sentence."""
    guide, wanted = object.__new__(guidance.Guide), guidance.one_attribute(10)

    def how(some, which):
        numbers = [wanted.index(w) for w in some]
        assert numbers == list(range(which.start, which.stop))
        return Tensor((np.array(numbers, np.float32) / 127.5 - 1).reshape(-1, 1, 1, 1))

    for batch in (3, 50):
        monkeypatch.setattr(guidance, "BATCH", batch)
        made = guide.make(how, 10, wanted)
        assert made.shape == (10, 1, 1, 1) and made.ravel().tolist() == list(range(10))


def test_pictures_fit_that_agree_where_they_are_known(guidance):
    """What samples is stood in for: it gives grey pictures, and keeps what is asked of them."""
    guide, asked = object.__new__(guidance.Guide), []
    guide.device, guide.clip = "cpu", None
    images, known = shapes(5, seed=3).images, guidance.frame(32, 32)
    grey = Tensor(np.zeros((2, 32, 32, 3), np.float32))
    guide.sample = lambda fits, which: asked.extend(fits) or grey
    made = guide.fill(images, known, None, slice(1, 3)).numpy()
    assert np.array_equal(made, np.where(known, to_float(images[1:3]), 0))
    (fit,) = asked
    changed = np.where(known, made, 1.0)
    assert fit(Tensor(changed)).numpy().tolist() == [0, 0]
    changed[1, 0, 0, 0] += 0.5
    assert np.allclose(fit(Tensor(changed)).numpy(), [0, -guidance.KNOWN / 4], atol=1e-5)
