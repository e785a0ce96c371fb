"""Samplers against slow transcriptions of their papers, against the exact solution, and in any batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from kernels import reference
from minigen import Tensor
from minigen.diffusion import (
    EDM,
    SAMPLERS,
    Diffusion,
    RectifiedFlow,
    Timetable,
    UNet,
    denoise,
    evaluations,
    invert,
    sample,
)
from minigen.diffusion.samplers import SAMPLING_DRAW
from minigen.diffusion.timetable import alpha_bar_of_sigma, karras_sigmas

from . import textbook
from .exact import Known, MixtureDenoiser

PROCESSES = {
    "eps": Diffusion(1000, "linear", "eps"),
    "x0": Diffusion(1000, "linear", "x0"),
    "v": Diffusion(1000, "scaled_linear", "v"),
    "edm": EDM(0.5),
    "flow": RectifiedFlow(),
}
MIXTURE = MixtureDenoiser([-0.7, 0.4], [0.2, 0.35], [0.4, 0.6])


def network(x, t):
    """Smooth, not linear, and different at every time: as a trained one is."""
    row = np.arange(x[0].size).reshape(x.shape[1:])
    return 0.6 * np.tanh(x + 0.3 * np.roll(x, 1, axis=-1) + 0.1 * np.sin(row)) + 0.2 * np.cos(t / 300 + row)


def as_network(x, t):
    assert np.all(t == t[0])
    return Tensor(network(x.data.astype(np.float64), float(t[0])).astype(x.dtype))


def by_the_book(process, method, x, timetable, seed, eta=0.0):
    """What the textbook makes of the noise x (N, ...)."""
    D = textbook.native_denoisers(network)[type(process).__name__](process)
    abar = timetable.alpha_bars
    sigmas = np.sqrt((1 - abar) / abar)

    def noise(i):
        return reference.normal(x.shape, seed, SAMPLING_DRAW + 1 + i, 0, np.float64)

    if method == "ddpm":
        return textbook.ddpm(D, x, abar, noise)
    if method == "ddim":
        return textbook.ddim(D, x, abar, noise, eta)
    if method == "pndm":
        return textbook.pndm(D, x, abar, timetable.halfway)
    y = x / np.sqrt(abar[0])
    if method == "dpm++2m":
        return textbook.dpm_solver_2m(D, y, sigmas)
    return textbook.heun(D, y, sigmas, second_order=method == "heun")


def timetable_of(process, spacing, steps):
    """Without pure noise, where sigma is infinite and the textbooks have nothing to say."""
    timetable = process.timetable(steps, spacing)
    return timetable.after(1) if timetable.alpha_bars[0] == 0 else timetable


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("spacing", ["uniform", "karras"])
@pytest.mark.parametrize("method, eta", [*((m, 0.0) for m in SAMPLERS), ("ddim", 0.6), ("ddim", 1.0)])
def test_every_sampler_is_its_textbook(name, spacing, method, eta):
    process, seed = PROCESSES[name], 3
    timetable = timetable_of(process, spacing, 12)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-5)):
        x = reference.normal((3, 4, 5), seed, 0, 0, dtype)
        expected = by_the_book(process, method, x.astype(np.float64), timetable, seed, eta)
        got = denoise(process.denoiser(as_network, clip=None), Tensor(x), timetable, method, seed, eta)
        assert got.dtype == dtype
        # noise of float32 is itself within 1e-6 of the reference's, and adds up
        assert np.abs(got.data - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("method", SAMPLERS)
def test_the_network_is_asked_as_often_as_stated(method):
    calls = []
    process = Diffusion(1000, "linear", "v")
    process.sample(lambda x, t: (calls.append(t[0]), x)[1], (1, 4), steps=7, method=method)
    assert len(calls) == evaluations(method, 7)


# ---- the solution ----------------------------------------------------------------------------------------


def solve(method, steps, denoiser=MIXTURE, largest=10.0, smallest=0.05):
    """x at the lesser of two levels, from given x at the greater; evenly in log sigma."""
    sigmas = np.geomspace(largest, smallest, 2 * steps + 1)
    levels = 1 / (1 + sigmas**2)
    x = reference.normal((4, 50), 1, 0, 0, np.float64)
    return denoise(denoiser, Tensor(x), Timetable(levels[::2], levels[1::2]), method).data


@pytest.fixture(scope="module")
def solution():
    """dy / dsigma = (y - D) / sigma by SciPy's method of order 8."""
    integrate = pytest.importorskip("scipy.integrate")

    def slope(log_sigma, y):
        abar = 1 / (1 + np.exp(2 * log_sigma))
        return y - MIXTURE(Tensor(np.sqrt(abar) * y), abar).data

    y = reference.normal((4, 50), 1, 0, 0, np.float64).reshape(-1) * np.sqrt(1 + 10.0**2)
    span = np.log(10.0), np.log(0.05)
    found = integrate.solve_ivp(slope, span, y, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
    return (found / np.sqrt(1 + 0.05**2)).reshape(4, 50)


@pytest.mark.parametrize("method, order", [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm++2m", 2), ("pndm", 2)])
def test_order_of_convergence(solution, method, order):
    errors = [np.abs(solve(method, steps) - solution).mean() for steps in (80, 160, 320)]
    orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(abs(measured - order) < 0.15 for measured in orders), (errors, orders)


@pytest.mark.parametrize("method", ["euler", "ddim", "heun", "dpm++2m", "pndm"])
def test_all_deterministic_samplers_go_to_the_same_place(solution, method):
    assert np.abs(solve(method, 2000) - solution).max() < 5e-3


@pytest.mark.parametrize("method, eta", [*((m, 0.0) for m in SAMPLERS), ("ddim", 0.5)])
def test_samples_follow_the_data(method, eta):
    """40,000 numbers of a mixture: its quantiles are met within six standard errors, and 0.01 for finite steps."""
    levels = [alpha_bar_of_sigma(s) for s in karras_sigmas(799, 0.002, 80)]
    timetable = Timetable([*levels[::2], 1.0], [*levels[1::2], 1 - 1e-7])
    x = sample(MIXTURE, (100, 400), timetable, method, seed=2, eta=eta).data
    share_below = np.mean(x < -0.15)
    assert abs(x.mean() - (0.4 * -0.7 + 0.6 * 0.4)) < 6 * x.std() / 200 + 0.01
    assert abs(share_below - 0.4 * 0.997 - 0.6 * 0.058) < 6 * 0.5 / 200 + 0.01
    assert abs(np.mean(x**2) - (0.4 * (0.49 + 0.04) + 0.6 * (0.16 + 0.1225))) < 0.02


# ---- batches -----------------------------------------------------------------------------------------------


@given(
    name=st.sampled_from(sorted(PROCESSES)),
    method=st.sampled_from(sorted(SAMPLERS)),
    seed=st.integers(0, 2**63),
    cut=st.integers(1, 6),
)
@settings(max_examples=25, deadline=None)
def test_a_sample_does_not_depend_on_its_batch(name, method, seed, cut):
    process = PROCESSES[name]
    whole = process.sample(as_network, (7, 3, 5), seed, 6, method).data
    parts = [
        process.sample(as_network, (n, 3, 5), seed, 6, method, first_sample=f).data
        for f, n in [(0, cut), (cut, 7 - cut)]
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_sample_of_a_unet_does_not_depend_on_its_batch():
    minigen.manual_seed(0)
    unet = UNet(1, channels=8, multipliers=(1, 2), blocks=1, num_groups=2)
    for p in unet.parameters():  # the last layers start at zero: give them something to say
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    for method in SAMPLERS:
        whole = EDM().sample(unet, (5, 8, 8, 1), 5, 4, method).data
        alone = EDM().sample(unet, (1, 8, 8, 1), 5, 4, method, first_sample=3).data
        np.testing.assert_array_equal(alone[0], whole[3])


# ---- inversion ---------------------------------------------------------------------------------------------


def test_inversion_finds_the_noise_again():
    timetable = Diffusion(1000, "cosine", "v").timetable(500)
    x = sample(MIXTURE, (3, 40), timetable, "ddim", seed=1)
    again = denoise(MIXTURE, invert(MIXTURE, x, timetable), timetable, "ddim")
    assert np.abs(again.data - x.data).max() < 0.02
    coarse = Diffusion(1000, "cosine", "v").timetable(20)
    worse = denoise(MIXTURE, invert(MIXTURE, x, coarse), coarse, "ddim")
    assert np.abs(worse.data - x.data).max() > np.abs(again.data - x.data).max()


def test_inversion_of_a_constant_estimate_is_exact():
    """If the denoiser always says c, x at every level is alpha c + beta eps with the same eps."""
    timetable = Diffusion(1000, "linear", "v").timetable(10)
    first, last = timetable.alpha_bars[0], timetable.alpha_bars[-2]
    eps = np.random.default_rng(0).standard_normal((2, 6))
    x = np.sqrt(last) * 0.3 + np.sqrt(1 - last) * eps
    found = invert(Known(lambda x, abar: np.full_like(x, 0.3)), Tensor(x), timetable).data
    np.testing.assert_allclose(found, np.sqrt(first) * 0.3 + np.sqrt(1 - first) * eps, atol=1e-12)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: EDM().sample(as_network, (1, 4), method="rk4"), r"'rk4' is unknown: choose one of \['ddim'"),
        (lambda: EDM().sample(as_network, (1, 4), method="heun", eta=0.5), "eta=0.5 belongs to method 'ddim', not to"),
        (lambda: EDM().sample(as_network, (1, 4), method="pndm", steps=3), "'pndm' takes at least 4 steps, got 3"),
        (
            lambda: sample(MIXTURE, (1, 4), Timetable([0.1, 0.2, 0.3, 0.4, 0.5]), "pndm"),
            "'pndm' needs a timetable with levels halfway",
        ),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
