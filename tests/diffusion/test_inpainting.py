"""RePaint against a transcription of it, against an exact conditional distribution, and its promises to the bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from kernels import reference
from minigen import Tensor
from minigen.diffusion import Denoiser, Diffusion, Timetable, inpaint, outpaint, walk, walk_evaluations
from minigen.diffusion.inpainting import growth
from minigen.diffusion.samplers import SAMPLING_DRAW

from .exact import Known, MixtureDenoiser

MIXTURE = MixtureDenoiser([-0.7, 0.4], [0.2, 0.35], [0.4, 0.6])
TIMETABLE = Diffusion(1000, "cosine", "v").timetable(12)


def images(*shape, dtype=np.float32):
    return np.tanh(reference.normal(shape, 7, 0, 0, dtype))


def smooth(x, alpha_bar):
    """Not linear, and what it says of a pixel depends on its neighbours."""
    return 0.6 * np.tanh(x + 0.5 * np.roll(x, 1, axis=2) - 0.2 * np.roll(x, 1, axis=1)) + 0.1 * alpha_bar


# ---- the walk ----------------------------------------------------------------------------------------------


def jump_schedule(timesteps, jump, resamplings):
    """The times of the paper's appendix B.2, from timesteps - 1 down to -1, which is clean data."""
    jumps = dict.fromkeys(range(0, timesteps - jump, jump), resamplings - 1)
    t, times = timesteps, []
    while t >= 1:
        t -= 1
        times.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump):
                t += 1
                times.append(t)
    return [*times, -1]


@given(steps=st.integers(1, 40), resamplings=st.integers(1, 5), jump=st.integers(1, 12))
def test_walk_is_the_papers(steps, resamplings, jump):
    times = jump_schedule(steps, jump, resamplings)
    # the paper goes back one time after another, here it is one jump
    turns = [t for i, t in enumerate(times) if not 0 < i < len(times) - 1 or not times[i - 1] < t < times[i + 1]]
    assert [steps - 1 - level for level in walk(steps, resamplings, jump)] == turns


def test_walk_of_the_picture():
    assert walk(4, 3, 2) == [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4]
    assert walk(3, 2, 1) == [0, 1, 0, 1, 2, 1, 2, 3]
    assert walk(3, 1, 2) == [0, 1, 2, 3]


@given(steps=st.integers(1, 30), resamplings=st.integers(1, 4), jump=st.integers(1, 8))
def test_the_denoiser_is_asked_as_often_as_stated(steps, resamplings, jump):
    calls = []

    def count(x, alpha_bar):
        calls.append(alpha_bar)
        return x

    timetable = Diffusion(1000, "linear", "v").timetable(steps)
    inpaint(Known(count), Tensor(images(1, 2, 2, 1)), np.ones((2, 2, 1), bool), timetable, resamplings, jump)
    assert len(calls) == walk_evaluations(walk(steps, resamplings, jump))


# ---- inpainting --------------------------------------------------------------------------------------------


def by_the_book(D, known, mask, abar, visited, noise, from_noise):
    """Lugmayr et al. 2022, algorithm 1, in float64: m x_known + (1 - m) x_unknown.

    It begins with noise, or with all of `known`, noisy (Meng et al. 2022)."""
    x = noise() if from_noise else 0
    first = np.sqrt(abar[0]) * known + np.sqrt(1 - abar[0]) * noise()
    x = mask * first + (1 - mask) * x if from_noise else first
    for i, j in itertools.pairwise(visited):
        if j > i:
            alpha = abar[i] / abar[j]
            x0 = D(x, abar[i])
            mean = np.sqrt(abar[j]) * (1 - alpha) * x0 + np.sqrt(alpha) * (1 - abar[j]) * x
            unknown = mean / (1 - abar[i]) + np.sqrt((1 - abar[j]) / (1 - abar[i]) * (1 - alpha)) * noise()
            pasted = known if abar[j] == 1 else np.sqrt(abar[j]) * known + np.sqrt(1 - abar[j]) * noise()
            x = mask * pasted + (1 - mask) * unknown
        else:
            kept = abar[j] / abar[i]
            x = np.sqrt(kept) * x + np.sqrt(1 - kept) * noise()
    return x


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize("resamplings, jump", [(1, 1), (3, 1), (2, 4)])
@pytest.mark.parametrize("strength, somewhere", [(1, True), (0.5, True), (0.5, False)])
def test_repaint_is_its_textbook(dtype, tolerance, resamplings, jump, strength, somewhere):
    known, mask = images(2, 4, 5, 1, dtype=dtype), somewhere & (images(2, 4, 5, 1) > 0)
    draws, levels = itertools.count(SAMPLING_DRAW + 1), TIMETABLE.alpha_bars
    levels = levels[round((len(levels) - 1) * (1 - strength)) :]
    expected = by_the_book(
        smooth,
        known.astype(np.float64),
        mask,
        levels,
        walk(len(levels) - 1, resamplings, jump),
        lambda: reference.normal(known.shape, 3, next(draws), 0, np.float64),
        from_noise=strength == 1,
    )
    got = inpaint(Known(smooth), Tensor(known), mask, TIMETABLE, resamplings, jump, seed=3, strength=strength)
    assert got.dtype == dtype
    assert np.abs(got.data - expected).max() < tolerance * np.abs(expected).max()


def test_of_no_strength_nothing_is_changed():
    known = Tensor(images(2, 4, 5, 1))
    nowhere = np.zeros((1, 1, 1, 1), bool)
    assert np.array_equal(inpaint(Known(smooth), known, nowhere, TIMETABLE, strength=0).data, known.data)
    with pytest.raises(ValueError, match="strength must be from 0 to 1, got -1"):
        inpaint(Known(smooth), known, nowhere, TIMETABLE, strength=-1)


class Pairs(Denoiser):
    """E[x0 | x] for pairs of numbers (N, 2) whose sum and difference over sqrt(2) are independent: the first is a
    mixture of two Gaussians, the second a narrow Gaussian."""

    narrow = MixtureDenoiser([0.0], [0.15], [1.0])

    def __call__(self, x, alpha_bar):
        root = np.sqrt(2)
        s, d = MIXTURE((x[:, :1] + x[:, 1:]) / root, alpha_bar), self.narrow((x[:, :1] - x[:, 1:]) / root, alpha_bar)
        return minigen.concatenate([(s + d) / root, (s - d) / root], axis=1)


def conditional_moments(known):
    """Mean and variance of the second number given the first, by the density on a grid."""
    y = np.linspace(-3, 3, 6001)
    s, d = (known + y) / np.sqrt(2), (known - y) / np.sqrt(2)
    density = np.exp(MIXTURE.log_density(Tensor(s), 1.0).data - 0.5 * (d / 0.15) ** 2)
    density /= density.sum()
    mean = (density * y).sum()
    return mean, (density * (y - mean) ** 2).sum()


@pytest.mark.parametrize("value", [-0.4, 0.3])
def test_resampling_brings_samples_to_the_conditional_distribution(value):
    """Half of a pair is known. RePaint draws the other half as it is distributed given the first; a variance that is up
    to a quarter too small is that of 40 ancestral steps (with 200, a twentieth). Replacement is far from it."""
    known, mask = np.tile([value, 0.0], (2000, 1)), np.array([True, False])
    timetable = Diffusion(1000, "cosine", "v").timetable(40)
    mean, variance = conditional_moments(value)
    errors = []
    for resamplings in (1, 10):
        drawn = inpaint(Pairs(), Tensor(known), mask, timetable, resamplings, jump=2, seed=1).data[:, 1]
        errors.append((abs(drawn.mean() - mean), abs(drawn.var() / variance - 1)))
    (replaced_mean, replaced_variance), (mean_error, variance_error) = errors
    assert mean_error < 0.03 and variance_error < 0.25, errors
    assert replaced_mean > 0.08 and replaced_variance > 0.4, errors


@given(seed=st.integers(0, 2**63), dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=20, deadline=None)
def test_known_pixels_are_kept_to_the_bit(seed, dtype):
    """Also values that arithmetic would change (-0.0, subnormal numbers, infinities); what is unknown may be NaN."""
    rng = np.random.default_rng(seed)
    known, mask = images(3, 4, 4, 2, dtype=dtype), rng.random((3, 4, 4, 1)) < 0.5
    special = np.array([-0.0, 0.0, 5e-324, np.finfo(dtype).tiny, np.finfo(dtype).max], dtype)
    known = np.where(rng.random(known.shape) < 0.3, rng.choice(special, known.shape), known)
    known[~np.broadcast_to(mask, known.shape)] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        got = inpaint(Known(lambda x, abar: np.clip(x, -1, 1)), Tensor(known), mask, TIMETABLE, 2, 3, seed).data
    kept = np.broadcast_to(mask, known.shape)
    assert got.dtype == dtype and got[kept].tobytes() == known[kept].tobytes()
    assert np.isfinite(got[~kept]).all()


@given(
    seed=st.integers(0, 2**63),
    cut=st.integers(1, 6),
    resamplings=st.integers(1, 3),
    strength=st.sampled_from([0.5, 1]),
)
@settings(max_examples=20, deadline=None)
def test_a_sample_does_not_depend_on_its_batch(seed, cut, resamplings, strength):
    known, mask = images(7, 4, 5, 1), images(7, 4, 5, 1) > 0

    def some(part, first):
        x = Tensor(known[part])
        return inpaint(
            Known(smooth), x, mask[part], TIMETABLE, resamplings, 2, seed, first_sample=first, strength=strength
        ).data

    whole, parts = some(slice(None), 3), [some(slice(0, cut), 3), some(slice(cut, 7), 3 + cut)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


# ---- outpainting -------------------------------------------------------------------------------------------


def test_the_canvas_grows_from_what_is_there():
    mask = np.zeros((4, 10), bool)
    mask[:, 4:8] = True
    lefts = [columns.start for _, columns in growth(mask, (4, 4), (4, 2))]
    assert lefts == [2, 0, 6]  # each has two known columns by then; that at 4 has nothing to draw
    assert [columns.start for _, columns in growth(np.zeros((4, 10), bool), (4, 4), (4, 3))] == [0, 3, 6]
    order = [(rows.start, columns.start) for rows, columns in growth(np.zeros((6, 6), bool), (4, 4), (2, 2))]
    assert order == [(0, 0), (0, 2), (2, 0), (2, 2)]


def test_outpainting_inpaints_one_window_after_another():
    """The first window is as if nothing was known, the second as `inpaint` with the overlap known; each has draws of
    its own, and pixels that are there are kept to the bit."""
    canvas, mask = np.full((2, 4, 9, 1), np.nan, np.float32), np.zeros((4, 9), bool)
    canvas[:, 1, 0], mask[1, 0] = -0.0, True
    windows = []

    def watch(x, alpha_bar):
        windows.append(x.copy())
        return smooth(x, alpha_bar)

    got = outpaint(Known(watch), Tensor(canvas), mask, (4, 5), (4, 4), TIMETABLE, 2, 3, seed=5).data
    assert got.shape == canvas.shape and np.isfinite(got).all()
    assert np.all(np.signbit(got[:, 1, 0])) and np.all(got[:, 1, 0] == 0)
    first = inpaint(Known(smooth), Tensor(canvas[:, :, :5]), mask[:, :5, None], TIMETABLE, 2, 3, seed=5).data
    np.testing.assert_array_equal(got[:, :, :5], first)
    asked = walk_evaluations(walk(len(TIMETABLE), 2, 3))
    assert len(windows) == 2 * asked
    assert not np.any(windows[0][:, :, 1:] == windows[asked][:, :, 1:])  # other noise
    np.testing.assert_array_equal(canvas[:, :, 1:], np.nan)  # what was given is as it was


def test_a_canvas_does_not_depend_on_its_batch():
    canvas, mask = images(5, 4, 8, 1), np.zeros((4, 8), bool)
    mask[:, :2] = True
    settings = dict(window=(4, 4), stride=(4, 2), timetable=TIMETABLE, resamplings=2, jump=3, seed=9)
    whole = outpaint(Known(smooth), Tensor(canvas), mask, **settings).data
    alone = outpaint(Known(smooth), Tensor(canvas[3:4]), mask, **settings, first_sample=3).data
    np.testing.assert_array_equal(alone[0], whole[3])
    np.testing.assert_array_equal(whole[:, :, :2], canvas[:, :, :2])


# ---- errors ------------------------------------------------------------------------------------------------

X, ALL = Tensor(images(2, 4, 8, 1)), np.ones((4, 8, 1), bool)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: inpaint(MIXTURE, X, ALL.astype(int), TIMETABLE), TypeError, "must be an array of bool, got int64"),
        (lambda: inpaint(MIXTURE, X, ALL[:3], TIMETABLE), ValueError, r"\(3, 8, 1\) does not broadcast to images \(2,"),
        (lambda: inpaint(MIXTURE, X, ALL[None].repeat(3, 0), TIMETABLE), ValueError, "does not broadcast"),
        (lambda: inpaint(MIXTURE, X, ALL, Timetable([0.1, 0.9])), ValueError, "end with clean data, got alpha_bar 0.9"),
        (lambda: inpaint(MIXTURE, X, ALL, TIMETABLE, resamplings=0), ValueError, "at least 1, got 12, 0 and 10"),
        (
            lambda: outpaint(MIXTURE, X, ALL, (4, 4), (4, 2), TIMETABLE),
            ValueError,
            r"a mask \(H, W\), got shapes \(2, 4, 8, 1\) and \(4, 8, 1\)",
        ),
        (
            lambda: outpaint(MIXTURE, X, ALL[..., 0], (4, 4), (4, 3), TIMETABLE),
            ValueError,
            r"windows of \(4, 4\), one every \(4, 3\) pixels, do not cover a canvas of \(4, 8\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
