"""Augmentation inside the game: what it does to an image, with which probability, and that gradients pass through."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans.augment import AdaptiveProbability, augment, colour, cutout, translation
from minigen.random import Generator

CHANGES = (colour, translation, cutout)


def images(n=6, height=16, width=8, channels=3, dtype=np.float64):
    return np.random.default_rng(0).uniform(-1, 1, (n, height, width, channels)).astype(dtype)


def test_with_probability_0_nothing_changes_and_nothing_is_drawn():
    x, generator = Tensor(images()), Generator(0)
    assert augment(x, generator, 0.0) is x
    assert generator.state_dict() == Generator(0).state_dict()


def test_images_change_one_by_one_with_the_probability_given():
    x = Tensor(np.repeat(images(1), 2000, axis=0))
    for probability in (0.25, 1.0):
        y = augment(x, Generator(1), probability).numpy()
        untouched = (y == x.numpy()).all((1, 2, 3)).mean()
        assert untouched == pytest.approx((1 - probability) ** 3, abs=0.03)
    assert len(np.unique(y.reshape(2000, -1)[:, ::7], axis=0)) > 1800  # each in its own way


@pytest.mark.parametrize("shape", [(6, 16, 8, 3), (6, 8, 8, 1)])
@pytest.mark.parametrize("change", [*CHANGES, augment])
def test_gradients_pass_through(change, shape):
    """d/dt of a weighted sum of the changed images, along a direction: by the tape, and by differences."""
    rng = np.random.default_rng(1)
    start, direction, weight = (rng.uniform(-1, 1, shape) for _ in range(3))

    def at(t):
        x = minigen.tensor(start + t * direction, requires_grad=True)
        return x, (change(x, Generator(3)) * Tensor(weight)).sum()

    x, loss = at(0.0)
    loss.backward()
    numeric = (at(1e-5)[1].item() - at(-1e-5)[1].item()) / 2e-5
    assert numeric == pytest.approx((x.grad.numpy() * direction).sum(), rel=1e-7)
    assert x.grad.numpy().any()


def test_the_same_numbers_change_any_two_batches_alike():
    """What is done depends on the generator alone: so D sees real and generated images changed by the same lot."""
    a, b = images(), np.zeros_like(images())
    both = [cutout(Tensor(x + 1), Generator(5)).numpy() == 0 for x in (a + 2, b)]
    np.testing.assert_array_equal(*both)


def test_translation_moves_whole_images_and_brings_in_grey():
    x = images(300)
    y = translation(Tensor(x), Generator(0)).numpy()
    moves = set()
    for before, after in zip(x, y, strict=True):
        padded = np.pad(before, [(2, 2), (1, 1), (0, 0)])
        found = [(i, j) for i in range(5) for j in range(3) if np.array_equal(padded[i : i + 16, j : j + 8], after)]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) == 15  # up to 2 rows of 16 and 1 column of 8 each way


def test_cutout_cuts_one_rectangle_of_at_most_half_the_sides():
    y = cutout(Tensor(np.ones((300, 16, 8, 3))), Generator(0)).numpy()
    assert set(np.unique(y)) == {0, 1}
    holes = y[..., 0] == 0
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), heights * widths)
    assert heights.max() == 8 and widths.max() == 4 and holes.any((1, 2)).all()
    assert holes.any(0).all()  # each pixel is cut out of some image


def test_colour_moves_brightness_saturation_and_contrast_within_their_bounds():
    x = images(2000)
    y = colour(Tensor(x), Generator(0)).numpy()
    mean_x, mean_y = x.mean((1, 2, 3)), y.mean((1, 2, 3))
    assert np.abs(mean_y - mean_x).max() <= 0.5 + 1e-9 and np.ptp(mean_y - mean_x) > 0.95
    grey_x, grey_y = (v.mean(-1) - v.mean((1, 2, 3))[:, None, None] for v in (x, y))
    contrast = (grey_y / grey_x).reshape(2000, -1)
    np.testing.assert_allclose(contrast, contrast[:, :1] * np.ones((1, 128)), rtol=1e-6)  # one number an image
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5
    saturation = ((y - y.mean(-1, keepdims=True)) / (x - x.mean(-1, keepdims=True))).reshape(2000, -1)[:, 0]
    assert saturation.min() >= -1e-9 and saturation.max() <= 2 * 1.5 and saturation.max() > 2


# ADA


def test_p_rises_while_d_is_sure_of_the_real_images_and_falls_while_it_is_not():
    ada = AdaptiveProbability(target=0.6, images=1000, every=4)
    sure, unsure = Tensor(np.ones(25)), Tensor(np.tile([1.0, -1.0], 13)[:25])
    for k in range(1, 41):
        ada.update(sure)
        assert ada.p == pytest.approx(min(k // 4 * 0.1, 1))  # 4 batches of 25 are a tenth of 1,000 images
    assert ada.p == pytest.approx(1) and ada.r == 1
    for _ in range(20):
        ada.update(unsure)
    assert ada.r == pytest.approx(1 / 25) and ada.p == pytest.approx(0.5)
    for _ in range(40):
        ada.update(unsure)
    assert ada.p == 0


def test_p_follows_the_target():
    for target, rises in ((0.4, True), (0.6, False)):
        ada = AdaptiveProbability(target, images=100, every=1)
        ada.p = 0.5
        ada.update(Tensor(np.array([1.0, 1, 1, -1])))  # r = 0.5
        assert (ada.p > 0.5) == rises


def test_the_state_of_ada_is_kept():
    ada = AdaptiveProbability(images=100)
    for value in (1.0, 1.0, 1.0, 1.0, -1.0):
        ada.update(Tensor(np.full(7, value)))
    resumed = AdaptiveProbability(images=100)
    resumed.load_state_dict(ada.state_dict())
    assert vars(resumed) == vars(ada) and ada.batches == 1 and ada.p > 0
