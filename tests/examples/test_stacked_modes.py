"""How stacks are made and their modes counted."""

from types import SimpleNamespace

import numpy as np
import pytest

from minigen.data import Dataset
from minigen.random import Generator

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "skimage"):
    pytest.importorskip(module)


@pytest.fixture
def stacked(load_example):
    return load_example("stacked_modes")


def test_coverage_in_closed_form(stacked):
    assert stacked.coverage(np.arange(1000).repeat(3), 1000) == (1000, pytest.approx(0, abs=1e-9))
    assert stacked.coverage(np.full(50, 7), 1000) == (1, pytest.approx(np.log(1000)))
    assert stacked.coverage(np.array([0, 0, 0, 5]), 8) == (2, pytest.approx(0.75 * np.log(6) + 0.25 * np.log(2)))


def test_a_stack_is_three_digits_and_its_mode_their_classes(stacked):
    digits = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    images = stacked.stacks(digits, 500, Generator(0))
    assert images.shape == (500, 4, 4, 3) and images.dtype == np.uint8
    assert len(np.unique(images[:, 0, 0], axis=0)) > 150  # of 216

    classifier = SimpleNamespace(values={"label": np.arange(10, 16)})  # class 10 is dark, 15 bright
    features = SimpleNamespace(classifier=classifier, read=lambda images: images[:, 0, 0, 0] + 10)
    found = stacked.modes(features, images)
    red, green, blue = images[:, 0, 0].astype(int).T
    assert (found == 36 * red + 6 * green + blue).all()


def test_halving_averages_and_pads_to_multiples_of_four(stacked):
    images = np.random.default_rng(0).integers(0, 255, (2, 28, 24, 1)).astype(np.uint8)
    small = stacked.halved(Dataset(images, np.arange(2))).images
    assert small.shape == (2, 16, 12, 1)
    assert small[1, 1, 0, 0] == round(images[1, :2, :2].mean())
    assert not small[:, [0, 15]].any()
