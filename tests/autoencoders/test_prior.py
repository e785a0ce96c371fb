"""The prior over codes: it looks only backwards, its probabilities add up to 1, and it samples from them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import CodePrior
from minigen.nn import init


def prior(num_codes=5, length=6, num_classes=2, seed=0):
    """A prior with random weights, in all layers."""
    minigen.manual_seed(seed)
    made = CodePrior(num_codes, length, num_classes, channels=8, heads=2, blocks=2)
    for parameter in made.parameters():
        init.normal_(parameter, std=0.5)
    return made


def codes(n, length=6, num_codes=5, seed=0):
    return np.random.default_rng(seed).integers(0, num_codes, (n, length))


@given(place=st.integers(0, 4), seed=st.integers(0, 100))
def test_a_code_changes_the_logits_after_it_and_none_before(place, seed):
    made, before = prior(seed=seed), codes(3, 5, seed=seed)
    changed = before.copy()
    changed[:, place] = (changed[:, place] + 1) % 5
    old, new = (made(c, np.array([0, 1, 1])).numpy() for c in (before, changed))
    assert old.shape == (3, 6, 5)
    np.testing.assert_array_equal(new[:, : place + 1], old[:, : place + 1])
    assert (np.abs(new[:, place + 1 :] - old[:, place + 1 :]).max((1, 2)) > 1e-4).all()


def test_the_class_changes_all_logits():
    old, new = (prior()(codes(1, 5), np.array([y])).numpy() for y in (0, 1))
    assert (np.abs(old - new).max(-1) > 1e-4).all()


def test_every_place_has_an_embedding_of_its_own():
    made = prior()
    made.loss(codes(2), np.zeros(2, int)).backward()
    assert (np.abs(made.position.weight.grad.numpy()).max(1) > 0).all()


def test_logits_of_a_beginning_are_those_of_the_whole():
    made, whole = prior(), codes(4, 5)
    expected = made(whole, np.zeros(4, int)).numpy()
    for length in range(5):
        logits = made(whole[:, :length], np.zeros(4, int)).numpy()
        np.testing.assert_allclose(logits, expected[:, : length + 1], rtol=1e-4, atol=1e-5)


def test_the_probabilities_of_all_sentences_add_up_to_1():
    every = np.array(list(itertools.product(range(3), repeat=4)))
    loss = prior(3, 4).loss(every, np.zeros(len(every), int), "none")
    assert loss.shape == every.shape
    np.testing.assert_allclose(np.exp(-loss.numpy().sum(1)).sum(), 1, rtol=1e-5)


def test_an_untrained_prior_finds_all_codes_equally_likely():
    loss = CodePrior(5, 6).loss(codes(3), np.zeros(3, int), "none")
    np.testing.assert_allclose(loss.numpy(), np.log(5), rtol=1e-5)


def test_samples_come_as_often_as_they_are_likely():
    made, side = prior(3, 2), 100
    u = (np.arange(side) + 0.5) / side  # every pair of numbers, spread evenly
    uniform = np.stack(np.meshgrid(u, u), -1).reshape(-1, 2)
    drawn = made.sample(np.ones(len(uniform), int), uniform)
    every = np.array(list(itertools.product(range(3), repeat=2)))
    likely = np.exp(-made.loss(every, np.ones(9, int), "none").numpy().sum(1))
    often = [(drawn == pair).all(1).mean() for pair in every]
    np.testing.assert_allclose(often, likely, atol=2 / side)


def test_a_sample_depends_on_its_own_numbers_alone():
    made, classes = prior(), np.arange(7) % 2
    uniform = np.random.default_rng(0).random((7, 6), np.float32)
    together = made.sample(classes, uniform)
    np.testing.assert_array_equal(together[2:4], made.sample(classes[2:4], uniform[2:4]))
    assert together.dtype == np.int64 and len(np.unique(together, axis=0)) > 1


def test_the_largest_random_number_still_is_a_code():
    uniform = np.full((1, 6), np.nextafter(np.float32(1), np.float32(0)))
    for seed in range(5):
        assert prior(seed=seed).sample(np.zeros(1, int), uniform).max() <= 4


def test_learns_which_codes_follow_which():
    """The first code is 2 y or 2 y + 1, as chance has it, in class y; each next code is one more."""
    minigen.manual_seed(0)
    made = CodePrior(4, 5, 2, channels=32, heads=2, blocks=1)
    optimizer = optim.Adam(made.parameters(), lr=1e-2)
    classes, chance = np.arange(64) % 2, np.arange(64) // 2 % 2
    sentences = ((2 * classes + chance)[:, None] + np.arange(5)) % 4
    for _ in range(40):
        loss = made.loss(Tensor(sentences), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    per_code = made.loss(sentences, classes, "none").numpy().mean(0)
    np.testing.assert_allclose(per_code[0], np.log(2), rtol=0.05)
    assert per_code[1:].max() < 0.05
    drawn = made.sample(classes, np.random.default_rng(0).random((64, 5)))
    assert (drawn[:, 0] // 2 == classes).mean() > 0.95 and (np.diff(drawn, axis=1) % 4 == 1).mean() > 0.95


def test_on_a_gpu_it_draws_the_same_codes(cupy):
    made = prior()
    uniform = np.random.default_rng(0).random((3, 6), np.float32)
    expected = made.sample(np.array([0, 1, 1]), uniform)
    np.testing.assert_array_equal(made.to("cuda").sample(np.array([0, 1, 1]), uniform), expected)


def test_too_many_codes_and_uneven_heads_are_refused():
    with pytest.raises(ValueError, match=r"at most 5 codes come before another, got \(2, 6\)"):
        prior()(codes(2), np.zeros(2, int))
    with pytest.raises(ValueError, match="heads=3 does not divide channels=8"):
        CodePrior(5, 6, channels=8, heads=3)


@pytest.mark.parametrize("shape", [(2, 6), (3, 5), (3,)])
def test_random_numbers_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"uniform must be \(3, 6\), got shape \("):
        prior().sample(np.zeros(3, int), np.zeros(shape))
