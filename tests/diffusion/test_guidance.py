"""Guided denoisers against exact ones: a mixture of two Gaussians, whose parts are its classes."""

from functools import partial

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import (
    ClassifierFree,
    ClassifierGuided,
    Diffusion,
    EstimateGuided,
    Thresholded,
    UNet,
    Watched,
    drop_labels,
    guided,
    sample,
)
from minigen.random import Generator

from .exact import Known, MixtureDenoiser

BOTH = MixtureDenoiser([-0.6, 0.5], [0.2, 0.3], [0.5, 0.5])
SECOND = MixtureDenoiser([0.5], [0.3], [1.0])


def noisy(*shape):
    return minigen.randn(*shape, dtype=np.float64, generator=Generator(0))


@pytest.mark.parametrize("alpha_bar", [0.02, 0.4, 0.97])
def test_the_exact_classifier_makes_the_unconditional_denoiser_the_conditional_one(alpha_bar):
    """grad log p(x | y) = grad log p(x) + grad log p(y | x): Bayes' rule, differentiated."""

    def log_probability(x, level):
        _, (second, _) = BOTH.terms(x, level)
        return (second - BOTH.log_density(x, level)).sum(axis=1)

    x = noisy(4, 6)
    guided = ClassifierGuided(BOTH, log_probability)
    np.testing.assert_allclose(guided(x, alpha_bar).data, SECOND(x, alpha_bar).data, atol=1e-10)
    twice = ClassifierGuided(BOTH, log_probability, scale=2.0)(x, alpha_bar).data
    np.testing.assert_allclose(
        twice - SECOND(x, alpha_bar).data, (SECOND(x, alpha_bar) - BOTH(x, alpha_bar)).data, atol=1e-9
    )


@pytest.mark.parametrize("alpha_bar", [0.02, 0.4, 0.97, 1.0])
def test_a_push_of_the_estimate_samples_from_the_tilted_distribution(alpha_bar):
    """exp(a x0) times the density of N(m, s^2) is, up to a factor, that of N(m + a s^2, s^2)."""
    x, f = noisy(4, 6), lambda x0: 3.0 * x0.sum(axis=1)
    tilted = MixtureDenoiser([-0.6 + 2 * 3 * 0.2**2], [0.2], [1.0])
    guided = EstimateGuided(MixtureDenoiser([-0.6], [0.2], [1.0]), f, scale=2.0)
    np.testing.assert_allclose(guided(x, alpha_bar).data, tilted(x, alpha_bar).data, atol=1e-12)


def test_a_push_is_bounded_and_left_out_where_there_is_no_signal():
    x, asked = noisy(4, 6), []
    first = MixtureDenoiser([-0.6], [0.2], [1.0])
    guided = EstimateGuided(first, lambda x0: asked.append(0) or 100 * x0.sum(axis=1), clip=0.5)
    assert (guided(x, 0.4).data == 0.5).all() and len(asked) == 1
    for level in (0.0, 0.0001):
        np.testing.assert_allclose(guided(x, level).data, np.clip(first(x, level).data, -0.5, 0.5), atol=1e-12)
    assert len(asked) == 1


def test_classifier_free_guidance_extrapolates():
    x = noisy(3, 5)
    cond, uncond = SECOND(x, 0.3).data, BOTH(x, 0.3).data
    for scale, expected in ((0.0, uncond), (1.0, cond), (3.0, 3 * cond - 2 * uncond)):
        np.testing.assert_allclose(ClassifierFree(SECOND, BOTH, scale)(x, 0.3).data, expected, atol=1e-12)


@pytest.mark.parametrize("rescale", [0.4, 1.0])
def test_rescaling_brings_the_contrast_back(rescale):
    x = noisy(3, 50)
    cond, guided = SECOND(x, 0.3).data, ClassifierFree(SECOND, BOTH, 4.0)(x, 0.3).data
    got = ClassifierFree(SECOND, BOTH, 4.0, rescale)(x, 0.3).data
    wanted = rescale * cond.std(1) + (1 - rescale) * guided.std(1)
    np.testing.assert_allclose(got.std(1), wanted, rtol=1e-9)
    np.testing.assert_allclose(got / guided, (got / guided)[:, :1] * np.ones((1, 50)), rtol=1e-9)


def test_dynamic_thresholds_are_the_percentile_of_each_sample():
    estimates = np.concatenate([np.linspace(-3, 3, 101)[None], np.linspace(-0.5, 0.5, 101)[None]])
    got = Thresholded(Known(lambda x, abar: estimates), 80)(noisy(2, 101), 0.5).data
    np.testing.assert_allclose(got[0], np.clip(estimates[0], -2.4, 2.4) / 2.4, atol=1e-12)  # 80% of |x| are below 2.4
    np.testing.assert_allclose(got[1], estimates[1], atol=1e-12)  # within bounds already


def test_guided_samples_are_of_the_class():
    """The class is of a whole sample here: all its numbers are from the second part, or all from the first."""
    diffusion = Diffusion(1000, "cosine", "v")
    guided = Thresholded(ClassifierFree(SECOND, BOTH, 2.0), 100, bound=3.0)
    x = sample(guided, (50, 40), diffusion.timetable(50), "dpm++2m").data
    assert x.mean() > 0.5 and np.mean(x > 0) > 0.97


class Conditional:
    """A network whose answer is its label everywhere: 2 means no class."""

    null_class = 2

    def __call__(self, x, t, labels):
        return Tensor(np.broadcast_to(labels.reshape(-1, 1), x.shape).astype(x.dtype))


@pytest.mark.parametrize(("scale", "expected"), [(1.25, (-0.5, 0.75)), (1.75, (-1, 0.25)), (1, (0, 1)), (0, (1, 1))])
def test_a_conditional_network_is_guided_away_from_no_class_and_clipped(scale, expected):
    """From 2 past 0 and past 1: 2 + 1.25 (0 - 2) = -0.5, and 2 + 1.25 (1 - 2) = 0.75."""
    denoiser = guided(Diffusion(100, "cosine", "x0"), Conditional(), np.array([0, 1]), scale)
    np.testing.assert_allclose(denoiser(noisy(2, 5), 0.5).data, np.repeat([expected], 5, axis=0).T, atol=1e-12)


def test_labels_are_dropped_with_their_chance_and_not_otherwise():
    labels = np.arange(20_000) % 7
    told = drop_labels(labels, 7, 0.1, Generator(3))
    dropped = told == 7
    assert abs(dropped.mean() - 0.1) < 6 * np.sqrt(0.1 * 0.9 / 20_000)
    np.testing.assert_array_equal(told[~dropped], labels[~dropped])
    np.testing.assert_array_equal(drop_labels(labels, 7, 0.0, Generator(3)), labels)


def test_a_watched_denoiser_says_the_same_and_keeps_it():
    watched, x = Watched(BOTH), noisy(2, 3)
    answers = [watched(x, 0.3).data, watched(2 * x, 0.6).data]
    np.testing.assert_array_equal(answers, [BOTH(x, 0.3).data, BOTH(2 * x, 0.6).data])
    np.testing.assert_array_equal(watched.said, answers)
    np.testing.assert_array_equal(watched.seen, [x.data, 2 * x.data])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ClassifierFree(BOTH, BOTH, 2.0, rescale=1.5), "rescale must be from 0 to 1, got 1.5"),
        (lambda: Thresholded(BOTH, 0), r"percentile in \(0, 100\]"),
        (lambda: Thresholded(BOTH, 99, bound=0), "bound above 0, got 99 and 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_device_of_a_guided_denoiser_is_its_networks():
    network = minigen.nn.Linear(3, 3)
    inner = Diffusion(10).denoiser(lambda x, t: network(x))
    assert Thresholded(ClassifierFree(inner, inner, 2.0)).device == "cpu"
    assert isinstance(Thresholded(ClassifierFree(inner, inner, 2.0))(Tensor(np.ones((2, 3), np.float32)), 0.5), Tensor)


def test_a_network_that_is_told_labels_is_asked_on_its_device(device):
    network = UNet(1, channels=8, num_classes=2).to(device)
    diffusion, labels = Diffusion(10), np.array([0, 1])
    where = next(network.parameters()).device
    assert diffusion.denoiser(partial(network, labels=labels)).device == where
    assert guided(diffusion, network, labels, 2.0).device == where
