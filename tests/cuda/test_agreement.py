"""Every CUDA kernel against the specification, as in tests/kernels/test_agreement.py for those of the CPU.

Under emulation, arrays that the kernels make hold NaN until they are written, and every access is checked.
"""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import cuda, reference
from tests.kernels.kernel_calls import CALLS, in_float64
from tests.kernels.test_agreement import EXACT, TOLERANCE, assert_close, outputs

from .arrays import on_cpu, on_device, scheduled


def device_outputs(cupy, name, args, kwargs):
    """The arrays that a kernel gives, or changes, as NumPy arrays; asserts that what it gives is contiguous."""
    args, kwargs = on_device(cupy, list(args)), {key: on_device(cupy, value) for key, value in kwargs.items()}
    before = [on_cpu(a).copy() if hasattr(a, "get") else None for a in args]
    result = getattr(cuda, name)(*args, **kwargs)
    if name.endswith("_"):
        assert result is None
        lists = [value for value in (*args, *kwargs.values()) if isinstance(value, list)]
        return [on_cpu(array) for arrays in lists for array in arrays if hasattr(array, "get")]
    for array, original in zip(args, before):
        if original is not None:
            np.testing.assert_array_equal(on_cpu(array), original, err_msg="an input was modified")
    arrays = [a for a in (result if isinstance(result, tuple) else (result,)) if a is not None]
    assert all(isinstance(a, float) or a.flags.c_contiguous for a in arrays)
    return [np.array(a) if isinstance(a, float) else on_cpu(a) for a in arrays]


@pytest.mark.parametrize("name", cuda.__all__)
def test_signatures_are_the_same(name):
    spec, fast = (inspect.signature(getattr(module, name)).parameters for module in (reference, cuda))
    assert list(spec) == list(fast)
    assert [p.default for p in spec.values()] == [p.default for p in fast.values()]


def test_every_kernel_is_there():
    assert set(cuda.__all__) == set(kernels.KERNELS)


@pytest.mark.parametrize("schedule", [0, 1, 2])
@pytest.mark.parametrize("name", cuda.__all__)
@settings(max_examples=10)
@given(data=st.data())
def test_agrees_with_the_reference(cupy, name, schedule, data):
    args, kwargs = data.draw(CALLS[name])
    wide_args, wide_kwargs = in_float64(name, args, kwargs)
    exact = outputs(reference, name, wide_args, wide_kwargs)
    spec = outputs(reference, name, args, kwargs)
    with scheduled(cupy, schedule):
        got = device_outputs(cupy, name, args, kwargs)
    assert len(got) == len(spec) == len(exact)
    for fast, slow, truth in zip(got, spec, exact):
        assert (fast.shape, fast.dtype) == (slow.shape, slow.dtype)
        if name in EXACT:
            np.testing.assert_array_equal(fast, slow)
        else:
            assert_close(fast, truth, TOLERANCE[str(fast.dtype)])
