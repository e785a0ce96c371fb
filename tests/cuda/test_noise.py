"""Random numbers and the noise steps on the GPU: the CPU's bits, whatever the shape, the split or the schedule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import cpu, cuda, reference
from tests.kernels.test_agreement import TOLERANCE, assert_close

from .arrays import on_cpu, on_device, scheduled

# Numbers of a row: around a block of Philox (4), and around the 256 of those that a block of threads makes.
ELEMENTS = [0, 1, 3, 4, 5, 8, 1023, 1024, 1025, 1028]
SHAPES = [(0, 4), (1, 1), (3, 0), (130,), (2, 9, 113), *[(3, n) for n in ELEMENTS]]
ADDRESS = (2**64 - 5, 2**40 + 3, 2**32 - 200)  # seed, draw, first row: 64, 64 and 32 bits wide


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_numbers_are_the_same_and_normal_ones_nearly(cupy, shape, dtype):
    uniform, normal = (on_cpu(getattr(cuda, name)(shape, *ADDRESS, dtype)) for name in ("uniform", "normal"))
    assert uniform.dtype == normal.dtype == dtype
    np.testing.assert_array_equal(uniform, reference.uniform(shape, *ADDRESS, dtype))
    exact = reference.normal(shape, *ADDRESS, np.float64)
    np.testing.assert_allclose(normal, exact, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("blocks", [0, 1, 255, 256, 257])
def test_words_are_the_same(cupy, blocks):
    np.testing.assert_array_equal(on_cpu(cuda.philox(*ADDRESS, blocks)), cpu.philox(*ADDRESS, blocks))


@st.composite
def steps(draw):
    """(name, arguments, settings) of a call of one of the noise steps, of either dtype."""
    shape, dtype = draw(st.sampled_from(SHAPES)), np.dtype(draw(st.sampled_from(["float32", "float64"])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def array(*shape):
        return rng.standard_normal(shape).astype(dtype)

    name = draw(st.sampled_from(["add_noise", "ddpm_step", "ddim_step", "linear_step", "gaussian_step"]))
    if name == "add_noise":
        return name, (array(*shape), array(shape[0]), array(shape[0]), *ADDRESS), {}
    if name == "linear_step":
        count = draw(st.integers(1, 5))
        coefficients = [0.5, -1.5, 2.0, 0.25, -0.7][:count]
        bounds = dict(deviation=draw(st.sampled_from([0.0, 0.5])), clip=draw(st.sampled_from([None, 0.5])))
        return name, ([array(*shape) for _ in range(count)], coefficients, *ADDRESS), bounds
    if name == "gaussian_step":
        return name, (array(*shape), array(*shape), *ADDRESS), {}
    settings = dict(prediction=draw(st.sampled_from(["eps", "x0", "v"])), clip=draw(st.sampled_from([None, 0.5])))
    if draw(st.booleans()):
        settings.update(out_uncond=array(*shape), guidance=2.5)
    if name == "ddim_step":
        settings.update(eta=draw(st.sampled_from([0.0, 0.7])))
    return name, (array(*shape), array(*shape), 0.4, draw(st.sampled_from([0.7, 1.0])), *ADDRESS), settings


@settings(max_examples=60)
@given(call=steps())
def test_steps_agree_with_the_cpu_in_every_schedule(cupy, call):
    name, args, given = call
    expected = getattr(cpu, name)(*args, **given)
    results = []
    for schedule in (0, 1, 2):
        with scheduled(cupy, schedule):
            moved = {key: on_device(cupy, value) for key, value in given.items()}
            got = getattr(cuda, name)(*on_device(cupy, args), **moved)
        results.append([on_cpu(a) for a in (got if isinstance(got, tuple) else (got,))])
    for first, second, third, wanted in zip(*results, expected if isinstance(expected, tuple) else (expected,)):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
        assert_close(first, wanted, TOLERANCE[str(wanted.dtype)])


@pytest.mark.parametrize("elements", [7, 8])
def test_steps_use_the_bits_of_normal(cupy, elements):
    zero = cupy.zeros((3, elements), np.float32)
    x_t, noise = cuda.add_noise(zero, cupy.ones(3, np.float32), cupy.ones(3, np.float32), *ADDRESS)
    normal = on_cpu(cuda.normal((3, elements), *ADDRESS))
    np.testing.assert_array_equal(on_cpu(noise), normal)
    np.testing.assert_array_equal(on_cpu(x_t), normal)
    deviation = np.float32(np.sqrt((1 - 0.7) / (1 - 0.4) * (1 - 0.4 / 0.7)))
    np.testing.assert_array_equal(on_cpu(cuda.ddpm_step(zero, zero, 0.4, 0.7, *ADDRESS)), deviation * normal)


def test_a_batch_may_be_split_anywhere(cupy):
    x, out = (cupy.asarray(a) for a in np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32))
    seed, draw, first = ADDRESS
    whole = on_cpu(cuda.ddpm_step(x, out, 0.4, 0.7, seed, draw, first))
    parts = [on_cpu(cuda.ddpm_step(x[a:b], out[a:b], 0.4, 0.7, seed, draw, first + a)) for a, b in ((0, 2), (2, 5))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_arrays_that_do_not_begin_at_16_bytes(cupy):
    """Rows of whole quads, contiguous, but one number into their memory."""
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    memory = cupy.zeros(25, np.float32)
    memory[1:] = cupy.asarray(x.reshape(-1))
    shifted = memory[1:].reshape(3, 8)
    assert shifted.data.ptr % 16 == 4
    moved = cupy.asarray(x)
    for args in ((shifted, moved), (moved, shifted)):
        got = on_cpu(cuda.ddpm_step(*args, 0.4, 0.7, *ADDRESS))
        np.testing.assert_array_equal(got, on_cpu(cuda.ddpm_step(moved, moved, 0.4, 0.7, *ADDRESS)))


def test_nan_is_passed_on(cupy):
    """Through the clipping too: the last step, to alpha_bar 1, gives the clipped estimate and nothing else of x."""
    out = np.ones((1, 6), np.float32)
    out[0, 1] = np.nan
    got = on_cpu(cuda.ddim_step(cupy.ones((1, 6), np.float32), cupy.asarray(out), 0.5, 1.0, 0, 0, clip=1.0))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(out))
