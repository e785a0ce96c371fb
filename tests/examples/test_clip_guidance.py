"""examples/clip_guidance.py: what is asked for, what is counted as right, and that pictures are pushed there."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from minigen import Tensor
from minigen.data import shapes, to_float
from minigen.data.captions import HELD_OUT_PAIRS, VALUES
from minigen.diffusion import Denoiser, Diffusion
from minigen.diffusion.timetable import signal_and_noise

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


def test_edits_ask_for_what_is_not_there_and_was_seen(guidance):
    data = shapes(60, seed=3)
    known = {name: [VALUES[name][i] for i in data.attributes[name]] for name in ("shape", "colour", "position")}
    edited, inpainted = guidance.other_shapes(data), guidance.other_shapes_and_colours(data)
    for name, asked in (("shape", edited), ("shape", inpainted), ("colour", inpainted)):
        assert all(w[name] != value for w, value in zip(asked, known[name], strict=True))
        assert {w[name] for w in asked} == set(VALUES[name])
    assert all([w[name] for w in edited] == known[name] for name in ("colour", "position"))
    assert not {(w["shape"], w["colour"]) for w in edited + inpainted} & set(HELD_OUT_PAIRS)


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


class StandardNormal(Denoiser):
    """E[x0 | x] of latents that are independent and of variance 1."""

    device = "cpu"

    def __call__(self, x, alpha_bar):
        return x * signal_and_noise(alpha_bar)[0]


@pytest.fixture
def guide(guidance, monkeypatch):
    """A guide whose latents are pictures of 2 x 2 pixels, any are as likely, and whose CLIP sees their mean colour."""
    guide, process = object.__new__(guidance.Guide), Diffusion(1000, "cosine", "x0")
    guide.network, guide.seed, guide.device, guide.latent_shape = None, 0, "cpu", (2, 2, 3)
    guide.autoencoder = SimpleNamespace(decode=lambda z: z, encode=lambda x: SimpleNamespace(mean=x))
    guide.diffusion = SimpleNamespace(timetable=process.timetable, denoiser=lambda network, clip: StandardNormal())

    def encode_image(x):
        mean = x.mean(axis=(1, 2))
        return mean / (mean**2).sum(axis=1, keepdims=True).sqrt()

    guide.clip = SimpleNamespace(encode_image=encode_image)
    monkeypatch.setattr(guidance, "prompts", lambda clip, wanted: np.stack([RGB[w["colour"]] for w in wanted]))
    return guide


RGB = {"red": np.eye(3, dtype=np.float32)[0], "blue": np.eye(3, dtype=np.float32)[2]}
RED_AND_BLUE = [{"colour": colour} for colour in ("red", "blue") for _ in range(8)]


def nearness(guide, images, wanted):
    """The cosine of each uint8 picture and its sentence."""
    told = np.stack([RGB[w["colour"]] for w in wanted])
    return (guide.clip.encode_image(Tensor(to_float(images))).numpy() * told).sum(1)


def test_each_picture_is_pushed_towards_its_own_sentence_in_any_batches(guidance, guide, monkeypatch):
    unled = guide.make(guide.draw, len(RED_AND_BLUE), None)
    assert abs(nearness(guide, unled, RED_AND_BLUE).mean()) < 0.4
    monkeypatch.setattr(guidance, "SCALE", 30.0)
    led = guide.make(guide.draw, len(RED_AND_BLUE), RED_AND_BLUE)
    assert np.all(nearness(guide, led, RED_AND_BLUE) > 0.8)
    monkeypatch.setattr(guidance, "BATCH", 3)
    np.testing.assert_array_equal(guide.make(guide.draw, len(RED_AND_BLUE), RED_AND_BLUE), led)


def test_edits_go_from_the_picture_as_far_as_their_strength(guidance, guide, monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (len(RED_AND_BLUE), 2, 2, 3)).astype(np.uint8)
    how, away = partial(guide.edit, images), []
    monkeypatch.setattr(guidance, "SCALE", 1.0)
    for strength in (0.0, 0.1, 0.8):
        monkeypatch.setattr(guidance, "STRENGTH", strength)
        made = guide.make(how, len(images), RED_AND_BLUE)
        away.append(np.abs(made.astype(float) - images).mean())
    assert away[0] == 0 < 2 * away[1] < away[2]
    monkeypatch.setattr(guidance, "BATCH", 3)
    np.testing.assert_array_equal(guide.make(how, len(images), RED_AND_BLUE), made)


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
