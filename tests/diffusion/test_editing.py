"""SDEdit and interpolation against their equations and exact denoisers, and in any batch."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from minigen import Tensor
from minigen.diffusion import Diffusion, denoise, edit, interpolate, invert, sample, slerp
from minigen.diffusion.samplers import SAMPLING_DRAW

from .exact import MixtureDenoiser

MIXTURE = MixtureDenoiser([-0.7, 0.4], [0.2, 0.35], [0.4, 0.6])
PROCESS = Diffusion(1000, "cosine", "v")


def noise(*shape, seed=0, dtype=np.float64):
    return reference.normal(shape, seed, 0, 0, dtype)


# ---- SDEdit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ddim", "dpm++2m", "ddpm"])
@pytest.mark.parametrize("strength, steps", [(0.29, 6), (0.5, 10), (1.0, 20)])
def test_an_edit_is_noise_and_the_samplers_last_steps(method, strength, steps):
    timetable, x0 = PROCESS.timetable(20), 0.5 * noise(3, 4)
    rest = timetable.after(20 - steps)
    alpha_bar = rest.alpha_bars[0]
    noisy = np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * reference.normal((3, 4), 9, SAMPLING_DRAW, 2, np.float64)
    expected = denoise(MIXTURE, Tensor(noisy), rest, method, 9, first_sample=2).data
    got = edit(MIXTURE, Tensor(x0), timetable, strength, method, 9, first_sample=2).data
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_strength_0_changes_nothing_and_strength_1_forgets_almost_all():
    timetable, x0 = PROCESS.timetable(50), Tensor(0.5 * noise(3, 4))
    assert edit(MIXTURE, x0, timetable, 0.0) is x0
    np.testing.assert_allclose(
        edit(MIXTURE, x0, timetable, 1.0, seed=4).data, sample(MIXTURE, (3, 4), timetable, seed=4).data, atol=1e-2
    )


def test_the_stronger_the_edit_the_less_is_kept_and_the_more_follows_the_data():
    """Numbers that no data have, 1.6, move to the mixture: its quantiles are met at strength 1, within six standard
    errors and 0.01 for finite steps."""
    timetable, x0 = PROCESS.timetable(100), Tensor(np.full((4, 5000), 1.6))
    moved = [edit(MIXTURE, x0, timetable, s, "ddpm", seed=1).data for s in (0.1, 0.3, 0.5, 0.7, 1.0)]
    distances = [np.mean((x - 1.6) ** 2) for x in moved]
    assert all(a < b for a, b in itertools.pairwise(distances)), distances
    share_below = np.mean(moved[-1] < -0.15)
    assert abs(share_below - 0.4 * 0.997 - 0.6 * 0.058) < 6 * 0.5 / math.sqrt(20_000) + 0.01


@given(
    seed=st.integers(0, 2**63),
    cut=st.integers(1, 4),
    strength=st.floats(0, 1),
    method=st.sampled_from(["ddim", "ddpm"]),
)
@settings(max_examples=20, deadline=None)
def test_an_edit_does_not_depend_on_its_batch(seed, cut, strength, method):
    timetable, x0 = PROCESS.timetable(10), noise(5, 3, 2, dtype=np.float32)
    whole = edit(MIXTURE, Tensor(x0), timetable, strength, method, seed, first_sample=6).data
    parts = [
        edit(MIXTURE, Tensor(x0[part]), timetable, strength, method, seed, first_sample=first).data
        for part, first in ((slice(0, cut), 6), (slice(cut, 5), 6 + cut))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


# ---- interpolation -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**63), share=st.floats(0, 1))
def test_slerp_goes_along_the_arc(seed, share):
    """Of two samples of one length: the length stays, and the angle to the first grows in proportion."""
    a, b = noise(3, 4, 5, seed=seed), noise(3, 4, 5, seed=seed ^ 1)
    a, b = (x / np.linalg.norm(x.reshape(3, -1), axis=1).reshape(3, 1, 1) for x in (a, b))
    between = slerp(Tensor(a), Tensor(b), share).data
    np.testing.assert_allclose(np.linalg.norm(between.reshape(3, -1), axis=1), 1, atol=1e-12)
    angle, part = (np.arctan2(*sine_and_cosine(a, x)) for x in (b, between))
    np.testing.assert_allclose(part, share * angle, atol=1e-7)


def sine_and_cosine(a, b):
    dot = (a * b).sum((1, 2))
    return np.linalg.norm((b - dot.reshape(3, 1, 1) * a).reshape(3, -1), axis=1), dot


def test_slerp_of_special_directions():
    a = noise(2, 6)
    np.testing.assert_allclose(slerp(Tensor(a), Tensor(3 * a), 0.25).data, 1.5 * a, rtol=1e-6)  # the same: a line
    np.testing.assert_array_equal(slerp(Tensor(0 * a), Tensor(0 * a), 0.5).data, 0)
    with pytest.raises(ValueError, match="opposite directions have no one arc"):
        slerp(Tensor(a), Tensor(-a), 0.5)
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 6\) and \(3, 6\)"):
        slerp(Tensor(a), Tensor(noise(3, 6)), 0.5)


@given(share=st.floats(0, 1), dtype=st.sampled_from([np.float32, np.float64]))
def test_slerp_of_a_sample_does_not_depend_on_its_batch(share, dtype):
    a, b = noise(5, 7, 3, dtype=dtype), noise(5, 7, 3, seed=1, dtype=dtype)
    whole, alone = slerp(Tensor(a), Tensor(b), share).data, slerp(Tensor(a[2:3]), Tensor(b[2:3]), share).data
    assert whole.dtype == dtype
    np.testing.assert_array_equal(alone[0], whole[2])


def test_interpolation_begins_and_ends_with_the_images_and_follows_the_data_between():
    timetable = PROCESS.timetable(200)
    first, second = (sample(MIXTURE, (3, 2000), timetable, seed=s) for s in (1, 2))
    ends_and_middle = interpolate(MIXTURE, first, second, (0.0, 0.5, 1.0), timetable)
    for x, expected in zip(ends_and_middle[::2], (first, second), strict=True):
        reconstructed = denoise(MIXTURE, invert(MIXTURE, expected, timetable), timetable, "ddim").data
        np.testing.assert_allclose(x.data, reconstructed, atol=1e-6)
        assert np.abs(x.data - expected.data).max() < 0.05
    middle, faded = ends_and_middle[1].data, (first.data + second.data) / 2
    share_below = np.mean(middle < -0.15)
    assert abs(share_below - 0.4 * 0.997 - 0.6 * 0.058) < 6 * 0.5 / math.sqrt(6000) + 0.01
    assert abs(middle.std() - first.data.std()) < 0.02 and faded.std() < 0.75 * first.data.std()


def test_an_interpolation_does_not_depend_on_its_batch():
    timetable = PROCESS.timetable(10)
    a, b = (Tensor(0.5 * noise(4, 6, 2, seed=s, dtype=np.float32)) for s in (0, 1))
    whole = interpolate(MIXTURE, a, b, (0.3, 0.8), timetable)
    alone = interpolate(MIXTURE, a[1:2], b[1:2], (0.3, 0.8), timetable)
    for x, y in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(y.data[0], x.data[1])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: edit(MIXTURE, x, PROCESS.timetable(10), 1.2), "strength must be from 0 to 1, got 1.2"),
        (lambda x: edit(MIXTURE, x, PROCESS.timetable(10), 0.5, "rk4"), "'rk4' is unknown"),
        (lambda x: interpolate(MIXTURE, x, x[:1], (0.5,), PROCESS.timetable(10)), r"got \(2, 4\) and \(1, 4\)"),
        (lambda x: interpolate(MIXTURE, x, x, (), PROCESS.timetable(10)), "at least one share"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(Tensor(noise(2, 4)))
