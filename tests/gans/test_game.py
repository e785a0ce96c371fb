"""The figures of a step against the arrays they come from, and a diagnosis for each way in which a game goes wrong."""

import math
import re

import numpy as np
import pytest

import minigen
from minigen import Tensor, nn
from minigen.gans import diagnose, diversity, gradient_norm, standing


def healthy(steps=100, **changed):
    curves = {
        "loss: D": [(i, 1.3) for i in range(steps)],
        "loss: G": [(i, 0.8) for i in range(steps)],
        "D is right about: real": [(i, 0.7) for i in range(steps)],
        "D is right about: fake": [(i, 0.7) for i in range(steps)],
        "gradient norm: D": [(i, 0.5) for i in range(steps)],
        "gradient norm: G": [(i, 0.2) for i in range(steps)],
    }
    for name, last in changed.items():
        panel, line = name.split("__")
        name = f"{panel.replace('_', ' ')}: {line}"
        curves[name] = curves[name][: steps // 2] + [(i, last) for i in range(steps // 2, steps)]
    return curves


def test_standing_is_what_the_arrays_say():
    minigen.manual_seed(0)
    d, g = nn.Linear(3, 1), nn.Linear(2, 3)
    fake = d(g(minigen.randn(5, 2)))
    fake.mean().backward()
    real = Tensor(np.array([[1.0], [0.5], [-2.0], [3.0]], np.float32))
    found = standing(real, fake, d, g, minigen.tensor(1.5), minigen.tensor(0.25))
    assert found["loss: D"] == 1.5 and found["loss: G"] == 0.25
    assert found["D is right about: real"] == 0.75
    assert found["D is right about: fake"] == np.mean(fake.numpy() < 0)
    for name, network in (("D", d), ("G", g)):
        squares = sum((p.grad.numpy().astype(np.float64) ** 2).sum() for p in network.parameters())
        np.testing.assert_allclose(found[f"gradient norm: {name}"], math.sqrt(squares), rtol=1e-5)


def test_standing_at_another_boundary():
    d = nn.Linear(1, 1)
    x = minigen.tensor([[1.0], [3.0]])
    found = standing(x, x, d, d, x.mean(), x.mean(), boundary=2.0)
    assert found["D is right about: real"] == found["D is right about: fake"] == 0.5


def test_no_gradient_has_no_norm():
    assert gradient_norm(nn.Linear(2, 2)) == 0


def test_diversity_of_the_same_of_scaled_and_of_one_point():
    x = np.random.default_rng(0).normal(size=(500, 3))
    y = np.random.default_rng(1).normal(size=(400, 3))
    assert diversity(x, y) == pytest.approx(1, abs=0.05)
    assert diversity(x, 0.25 * x + 7) == pytest.approx(0.25)
    assert diversity(x, np.ones((20, 3))) == 0


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (np.zeros((5, 3)), np.zeros((5, 2)), "of one d"),
        (np.zeros((5, 3)), np.zeros((1, 3)), "N >= 2"),
        (np.zeros((5, 3)), np.ones((5, 3)), "all the same"),
    ],
)
def test_diversity_refuses(real, fake, words):
    with pytest.raises(ValueError, match=words):
        diversity(real, fake)


def test_nothing_is_said_of_a_game_that_goes_well():
    assert diagnose(healthy(), modes=(8, 8), diversity=0.97) == []
    assert diagnose({}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loss__G": math.nan}, "diverged: 'loss: G' is not finite from step 50"),
        ({"loss__D": math.inf}, "diverged: 'loss: D'"),
        (
            {"D_is_right_about__real": 1.0, "D_is_right_about__fake": 0.995},
            "D has won.* 100.0% of real and 99.5% of fake",
        ),
        ({"D_is_right_about__real": 0.0, "D_is_right_about__fake": 1.0}, "D is blind: .*fake"),
        ({"D_is_right_about__real": 1.0, "D_is_right_about__fake": 0.0}, "D is blind: .*real"),
        ({"gradient_norm__G": 1e-5}, "^G's gradient has vanished: G's norm is 5e-05 times .*dead units"),
        ({"gradient_norm__D": 0.0}, "^D's gradient has vanished: D's norm is 0 times .*dead units"),
        (
            {"gradient_norm__D": 1e-6, "gradient_norm__G": 0.0},
            "^both gradients have vanished: D's norm is 2e-06 and G's norm is 0 times .*dead units.*learning rate",
        ),
        ({"gradient_norm__D": 1e4}, "D's gradient has exploded"),
    ],
)
def test_each_way_to_fail_has_its_sentence(changed, words):
    (sentence,) = diagnose(healthy(**changed), modes=(8, 8))
    assert re.search(words, sentence) and "likely cause" in sentence and sentence.count(".") >= 2


@pytest.mark.parametrize(("gone", "words"), [("G", "^G's gradient has vanished"), ("DG", "^both gradients have")])
def test_a_gradient_that_vanishes_where_d_is_sure_is_saturation(gone, words):
    sure = {"D_is_right_about__real": 0.99, "D_is_right_about__fake": 1.0}
    won, vanished = diagnose(healthy(**sure, **{f"gradient_norm__{name}": 1e-6 for name in gone}))
    assert won.startswith("D has won") and re.search(words, vanished)
    assert "saturates" in vanished and "dead" not in vanished


def test_a_d_that_calls_all_fakes_fake_but_also_most_of_the_real_is_not_sure():
    curves = healthy(D_is_right_about__real=0.4, D_is_right_about__fake=1.0, gradient_norm__G=0.0)
    (sentence,) = diagnose(curves)
    assert "dead units" in sentence and "saturates" not in sentence


def test_a_gradient_that_was_nothing_from_the_start_or_is_too_short_a_curve_says_nothing():
    assert diagnose({"gradient norm: G": [(i, 0.0) for i in range(100)]}) == []
    assert diagnose({"gradient norm: G": [(i, 0.0 if i else 1.0) for i in range(9)]}) == []


def test_collapse_is_named_from_modes_and_from_diversity():
    (sentence,) = diagnose(healthy(), modes=(2, 8))
    assert "mode collapse" in sentence and "2 of 8" in sentence
    (sentence,) = diagnose(healthy(), diversity=0.2)
    assert "mode collapse" in sentence and "0.2 times" in sentence
    assert diagnose(healthy(), modes=(8, 8), diversity=0.2) == []  # what can be counted, counts


def test_half_of_the_curves_is_no_verdict_on_d():
    assert diagnose({"D is right about: real": [(i, 1.0) for i in range(20)]}) == []


def test_one_bad_step_is_no_verdict_on_the_game():
    curves = healthy()
    curves["D is right about: real"][-1] = curves["D is right about: fake"][-1] = (99, 1.0)
    assert diagnose(curves) == []
