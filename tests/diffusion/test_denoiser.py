"""The one denoiser interface: predictions converted, and networks of all three processes asked for x0."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.diffusion import (
    EDM,
    Diffusion,
    RectifiedFlow,
    Timetable,
    convert,
    karras_sigmas,
    linear_schedule,
    zero_terminal_snr,
)
from minigen.diffusion.denoiser import PREDICTIONS
from minigen.random import Generator

PROCESSES = {
    "eps": Diffusion(1000, "linear", "eps"),
    "x0": Diffusion(1000, "cosine", "x0"),
    "v": Diffusion(1000, "sigmoid", "v"),
    "flow": Diffusion(1000, "scaled_linear", "flow"),
    "zero terminal SNR": Diffusion(1000, zero_terminal_snr(linear_schedule(1000)), "v"),
    "EDM": EDM(0.7),
    "RectifiedFlow": RectifiedFlow(),
}


@given(alpha_bar=st.floats(0.01, 0.99), source=st.sampled_from(PREDICTIONS), target=st.sampled_from(PREDICTIONS))
@settings(max_examples=50)
def test_predictions_are_converted_exactly(alpha_bar, source, target):
    """From x0 and eps, which every kind of answer is made of by its definition."""
    x0, eps = np.random.default_rng(0).standard_normal((2, 3, 5))
    alpha, beta = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    answers = {"x0": x0, "eps": eps, "v": alpha * eps - beta * x0, "flow": eps - x0}
    x = alpha * x0 + beta * eps
    got = convert(answers[source], x, alpha_bar, source, target)
    np.testing.assert_allclose(got.data, answers[target], atol=1e-11)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_learned_is_what_is_asked(name, seed):
    """A network that gives just what the loss wants of x0, so that the loss is 0, denoises to x0 at every level.

    What the network sees in training is what it sees in sampling: it finds x0's noise in it, at the time it is told.
    """
    process = PROCESSES[name]
    x0 = minigen.randn(16, 3, dtype=np.float64, generator=Generator(seed))
    seen = []

    def spy(x, t):
        seen.append((x.data, t))
        return Tensor(np.zeros_like(x.data))

    process.loss(spy, x0, Generator(seed + 1))
    x, t = seen[0]
    wanted = wanted_answers(process, x0, seed + 1)
    assert process.loss(lambda x, t: Tensor(wanted), x0, Generator(seed + 1)).item() < 1e-20
    for i in range(16):
        level = level_of(process, float(t[i]))
        asked = process.preconditioning(level)
        assert np.isclose(asked.time, t[i], rtol=1e-6)
        vp = x[i : i + 1] / asked.c_in
        denoiser = process.denoiser(lambda x, t, i=i: Tensor(wanted[i : i + 1]), clip=None)
        np.testing.assert_allclose(denoiser(Tensor(vp), level).data[0], x0.data[i], atol=1e-7)


def wanted_answers(process, x0, seed):
    """What makes the loss 0: minus the gradient of the squared error at an answer of 0, brought to its scale."""
    out = Tensor(np.zeros_like(x0.data), True)
    process.loss(lambda x, t: out, x0, Generator(seed)).backward()
    first = -out.grad.data * out.data.size / 2  # weight times what is wanted
    out.grad = None
    one = Tensor(np.ones_like(x0.data), True)
    process.loss(lambda x, t: one, x0, Generator(seed)).backward()
    weight = one.grad.data * one.data.size / 2 + first
    return first / weight


def level_of(process, time):
    if isinstance(process, Diffusion):
        return process.alpha_bar(time)
    if isinstance(process, EDM):
        return 1 / (1 + np.exp(4 * time / 1000) ** 2)
    return process.alpha_bar(time / 1000)


def test_min_snr_weighs_the_same_error_of_x0_alike():
    """Hang et al. 2023: an error of x0 counts min(SNR, 5) times, however it is predicted."""
    x0, off = minigen.randn(50, 4, dtype=np.float64, generator=Generator(1)), 0.1
    losses = []
    for prediction in PREDICTIONS:
        diffusion = Diffusion(1000, "linear", prediction, weighting="min_snr")

        def network(x, t, diffusion=diffusion, prediction=prediction):
            rows = []
            for i in range(len(x)):
                abar = diffusion.alphas_cumprod[t[i]]
                rows.append(convert(x0.data[i : i + 1] + off, x.data[i : i + 1], abar, "x0", prediction).data)
            return Tensor(np.concatenate(rows))

        losses.append(diffusion.loss(network, x0, Generator(2)).item())
    abar = diffusion.alphas_cumprod[diffusion.random_timesteps(50, Generator(2))]
    np.testing.assert_allclose(losses, off**2 * np.minimum(abar / (1 - abar), 5).mean(), rtol=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_preconditioned_input_and_target_have_unit_variance_for_edm_and_finite_numbers_for_all(name):
    process = PROCESSES[name]
    for spacing in ("uniform", "karras"):
        for level in process.timetable(10, spacing).alpha_bars[:-1].tolist():
            numbers = process.preconditioning(level)
            assert np.all(np.isfinite(numbers))
            if name == "EDM":
                sigma = np.sqrt((1 - level) / level)
                assert np.isclose(numbers.c_in**2 * (0.7**2 + sigma**2) / (1 + sigma**2), 1)


def test_times_between_timesteps_are_between_their_levels():
    diffusion = PROCESSES["eps"]
    for t in (0, 17, 17.25, 998.5, 999):
        level = diffusion.alpha_bar(t)
        assert np.isclose(diffusion.timestep(level), t, atol=1e-6)
        assert diffusion.alphas_cumprod[int(np.ceil(t))] <= level <= diffusion.alphas_cumprod[int(t)]
    assert isinstance(diffusion.timestep(diffusion.alpha_bar(17)), int)


# ---- timetables ----------------------------------------------------------------------------------------------


def test_uniform_timesteps_are_the_last_of_equal_shares():
    timetable = Diffusion(1000, "cosine").timetable(10)
    diffusion = Diffusion(1000, "cosine")
    assert [diffusion.timestep(a) for a in timetable.alpha_bars[:-1]] == list(range(999, 0, -100))
    assert timetable.alpha_bars[-1] == 1
    assert [diffusion.timestep(a) for a in timetable.halfway[:2]] == [949, 849]
    assert len(Diffusion(10).timetable(10)) == 10


def test_karras_sigmas_are_their_formula():
    sigmas = karras_sigmas(5, 0.002, 80)
    expected = [(80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(5)]
    np.testing.assert_allclose(sigmas, expected, rtol=1e-12)
    levels = EDM().timetable(5).alpha_bars
    np.testing.assert_allclose(levels[:-1], 1 / (1 + sigmas**2), rtol=1e-9)
    np.testing.assert_allclose(EDM().timetable(5, "karras").alpha_bars, levels, rtol=1e-9)


def test_a_timetable_is_printed_as_a_table():
    lines = str(Diffusion(1000, "linear").timetable(4)).splitlines()
    assert lines[0].split() == ["step", "time", "alpha_bar", "sigma", "log", "SNR"]
    step, time, alpha_bar, sigma, snr = (float(word) for word in lines[1].split())
    assert (step, time) == (0, 999) and len(lines) == 6
    assert np.isclose(sigma, np.sqrt((1 - alpha_bar) / alpha_bar), rtol=1e-3)
    assert np.isclose(snr, np.log(alpha_bar / (1 - alpha_bar)), rtol=1e-3)
    assert lines[-1].split() == ["4", "1", "0", "inf"]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Timetable([0.5, 0.4]), "rise within"),
        (lambda: Timetable([0.5]), "two or more"),
        (lambda: Timetable([0.5, 1.1]), "rise within"),
        (lambda: karras_sigmas(3, 2.0, 1.0), "0 < smallest < largest < inf, got 2.0 and 1.0"),
        (lambda: EDM(0.0), "must be positive, got 0.0"),
        (lambda: EDM().denoiser(lambda x, t: x)(minigen.randn(2, 3), 0.0), "between 0 and 1, where sigma is finite"),
        (lambda: RectifiedFlow().alpha_bar(1.5), "t must be from 0 to 1, got 1.5"),
        (lambda: convert(np.ones((1, 1)), np.ones((1, 1)), 0.0, "eps", "x0"), "prediction of eps says nothing of x0"),
        (lambda: convert(np.ones((1, 1)), np.ones((1, 1)), 1.0, "x0", "eps"), "do not tell 'eps'"),
        (lambda: convert(np.ones((1, 1)), np.ones((1, 1)), 0.5, "x", "eps"), "prediction 'x' is unknown"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
