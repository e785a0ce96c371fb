"""Every fast kernel against the specification: values, dtypes, shapes, and what it must leave alone."""

import copy
import inspect
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import checks, cpu, reference
from kernels.cpu import jit

from .kernel_calls import CALLS, in_float64

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # of the largest number in the output
EXACT = {"philox", "uniform"}


def outputs(module, name, args, kwargs):
    """The arrays that a kernel gives, or changes: then those of its lists, copied for it."""
    if name.endswith("_"):
        args, kwargs = copy.deepcopy((args, kwargs))
        assert getattr(module, name)(*args, **kwargs) is None
        lists = [value for value in (*args, *kwargs.values()) if isinstance(value, list)]
        return [array for arrays in lists for array in arrays if isinstance(array, np.ndarray)]
    result = getattr(module, name)(*args, **kwargs)
    arrays = result if isinstance(result, tuple) else (result,)
    return [np.array(a) if isinstance(a, float) else a for a in arrays if a is not None]


def poisoned_empty(shape, dtype=float, **kwargs):
    """np.empty, but an element that is never written is seen."""
    array = np.ones(shape, dtype, **kwargs)
    array.fill(np.nan if array.dtype.kind == "f" else 171)
    return array


def assert_close(got, expected, tolerance, usual=1.0):
    """To a tolerance relative to the largest expected number, or to the `usual` one: 1, the size of the inputs."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(got), finite)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    error = np.abs(got[finite] - expected[finite]).max(initial=0)
    scale = max(usual, np.abs(expected[finite]).max(initial=0))
    assert error <= tolerance * scale, f"off by {error / scale:.1e} of the largest output"


def test_every_kernel_has_its_calls():
    assert set(CALLS) == set(kernels.KERNELS)


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_signatures_are_the_same(name):
    spec, fast = (inspect.signature(getattr(module, name)).parameters for module in (reference, cpu))
    assert list(spec) == list(fast)
    assert [p.default for p in spec.values()] == [p.default for p in fast.values()]


@pytest.mark.parametrize("name", kernels.KERNELS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_agrees_with_the_reference(name, data):
    args, kwargs = data.draw(CALLS[name])
    wide_args, wide_kwargs = in_float64(name, args, kwargs)
    exact = outputs(reference, name, wide_args, wide_kwargs)
    spec = outputs(reference, name, args, kwargs)
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    outputs(cpu, name, args, kwargs)  # compiled now, while np.empty is itself
    with mock.patch.object(np, "empty", poisoned_empty):
        got = outputs(cpu, name, args, kwargs)
    assert len(got) == len(spec) == len(exact)
    for fast, slow, truth in zip(got, spec, exact):
        assert (fast.shape, fast.dtype) == (slow.shape, slow.dtype)
        if not name.endswith("_"):
            assert fast.flags.c_contiguous and fast.flags.writeable and slow.flags.c_contiguous
        if name in EXACT:
            np.testing.assert_array_equal(fast, slow)
        else:
            assert_close(fast, truth, TOLERANCE[str(fast.dtype)])
            assert_close(slow, truth, TOLERANCE[str(fast.dtype)])
    for array, original in zip(args, before):
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array, original, err_msg="an input was modified")


@pytest.mark.parametrize("name", kernels.KERNELS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_does_not_depend_on_the_number_of_threads(name, data):
    args, kwargs = data.draw(CALLS[name])
    most = jit.get_num_threads()
    if most == 1:
        pytest.skip("one thread only")
    try:
        jit.set_num_threads(1)
        one = outputs(cpu, name, args, kwargs)
    finally:
        jit.set_num_threads(most)
    many = outputs(cpu, name, args, kwargs)
    for a, b in zip(one, many):
        np.testing.assert_array_equal(a, b)


def test_nan_is_passed_on():
    x = np.ones((1, 4, 4, 2), np.float32)
    x[0, 1, 1, 0] = np.nan
    ones = np.ones((1, 1, 2, 2), np.float32)
    for module in (reference, cpu):
        assert np.isnan(module.conv(x, ones)[0, 1, 1]).all()
        assert np.isnan(module.group_norm(x, 2, silu=True)[0][0, :, :, 0]).all()
        assert np.isnan(module.softmax(x)[0, 1, 1]).all() and np.isnan(module.softmax(x)).sum() == 2
        assert np.isnan(module.softmax_backward(x, np.ones_like(x))).sum() == 2
        assert np.isnan(module.attention(x, x, x)[0][0, 1]).any()
        assert np.isnan(module.ddim_step(x, x, 0.5, 0.6, 0, 0, clip=1.0)[0, 1, 1, 0])
        for name in set(checks.ACTIVATIONS) - {"leaky_relu"}:
            y = module.activation(x, name)
            assert np.isnan(y[0, 1, 1, 0]) and np.isnan(y).sum() == 1, name
            assert np.isnan(module.activation_backward(x, np.ones_like(x), name)).sum() == 1, name
        assert np.isnan(module.activation(x, "leaky_relu", 0.1)).sum() == 1
        for name in checks.ARITHMETIC:
            assert np.isnan(module.arithmetic(x, np.ones_like(x), name)).sum() == 1
        assert np.isnan(module.sum_positions(x[0])).sum() == 1


def test_large_silu_inputs_do_not_overflow():
    x = np.array([[-1e4, 0, 1e4, 3e38]], np.float32)
    bias = x[0].copy()
    for module in (reference, cpu):
        with np.errstate(over="raise", invalid="raise"):
            y, *_ = module.group_norm(np.zeros_like(x), 4, np.ones(4, np.float32), bias, silu=True)
        np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_softmax_of_infinities_is_numpys():
    x = np.zeros((4, 20), np.float32)
    x[0], x[1, 1:], x[2, 3] = -np.inf, -np.inf, np.inf
    with np.errstate(invalid="ignore"):
        expected = reference.softmax(x)
    assert np.isnan(expected[[0, 2]]).all() and expected[1, 0] == 1
    np.testing.assert_allclose(cpu.softmax(x), expected, rtol=1e-6)
