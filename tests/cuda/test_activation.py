"""Activations on the GPU: every function at sizes around a vector and a block, and at the ends of the number line."""

import numpy as np
import pytest

from kernels import cuda, reference
from kernels.checks import ACTIVATIONS
from tests.kernels.test_agreement import TOLERANCE

from .arrays import scheduled

SIZES = (0, 1, 3, 4, 5, 1023, 1024, 1025)  # 4 float32 are a vector, 256 vectors a block
FAR = dict(sigmoid=[0, 1e-30, 1], tanh=[-1, 0, 1], exp=[-1e4, 0, 80])  # the others: see below; the first two: outputs


def calls(name, x):
    """(what a function of the kernels gives for x) for the function called `name` and its derivative."""
    slope = dict(slope=0.2) if name == "leaky_relu" else {}
    g = np.linspace(1, 2, x.size).astype(x.dtype).reshape(x.shape)
    yield lambda kernels, move: kernels.activation(move(x), name, **slope)
    yield lambda kernels, move: kernels.activation_backward(move(g), move(x), name, **slope)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_sizes_around_a_vector_and_a_block(cupy, name, dtype):
    for size in SIZES:
        x = np.random.default_rng(size).normal(scale=3, size=size).astype(dtype)
        for call in calls(name, x):
            y = call(cuda, cupy.asarray).get()
            truth = call(reference, lambda a: a.astype(np.float64))
            assert (y.shape, y.dtype) == (x.shape, x.dtype)
            np.testing.assert_allclose(y, truth, rtol=0, atol=TOLERANCE[dtype] * np.abs(truth).max(initial=1))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_part_of_an_array_that_no_vector_begins_at(cupy, name):
    x = np.linspace(-3, 3, 1030, dtype=np.float32)
    for call in calls(name, x[1:]):
        y = call(cuda, lambda a: cupy.asarray(np.append(a[:1], a))[1:]).get()
        np.testing.assert_allclose(y, call(reference, np.asarray), rtol=0, atol=2e-5 * 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_out_and_not_a_number(cupy, name, dtype):
    x = np.array([*FAR.get(name, [-1e4, -200, -100, -0.0, 0, 80, 1e4]), np.nan], dtype)
    forward, backward = calls(name, x)
    for call in (forward, backward):
        y = call(cuda, cupy.asarray).get()
        truth = call(reference, lambda a: a.astype(np.float64))
        assert np.isfinite(y[:-1]).all()
        np.testing.assert_allclose(y, truth, rtol=TOLERANCE[dtype], atol=1e-30)
    assert np.isnan(forward(cuda, cupy.asarray).get()[-1])


def test_a_gradient_that_is_not_a_number_stays(cupy):
    x = np.array([-1.0, 0, 1], np.float32)
    for name in ACTIVATIONS:
        slope = dict(slope=0.2) if name == "leaky_relu" else {}
        dx = cuda.activation_backward(cupy.asarray(np.full_like(x, np.nan)), cupy.asarray(x), name, **slope)
        assert np.isnan(dx.get()).all()


def test_the_order_of_threads_does_not_matter(cupy):
    x = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    for call in calls("gelu", x):
        results = []
        for seed in range(3):
            with scheduled(cupy, seed):
                results.append(call(cuda, cupy.asarray).get())
        assert all(np.array_equal(results[0], other) for other in results[1:])
