"""What the launcher of the kernels promises."""

import numpy as np
import pytest

from kernels.cpu.jit import parallel_kernel, share


@parallel_kernel
def _squares(part, parts, x, y):
    for i in range(share(x.size, part, parts), share(x.size, part + 1, parts)):
        y[i] = x[i] * x[i]


@parallel_kernel
def _too_much(part, parts, numbers):
    np.empty(numbers)


@pytest.mark.parametrize("parts", [None, 1, 3, 1000])
@pytest.mark.parametrize("work", [1, 2**40])
def test_every_part_is_done_once(work, parts):
    x = np.arange(257, dtype=np.float32)
    y = np.full_like(x, np.nan)
    _squares(work, x, y, parts=parts)
    np.testing.assert_array_equal(y, x * x)


def test_arrays_must_be_contiguous_and_writable():
    x = np.ones(8, np.float32)
    read_only = x.copy()
    read_only.setflags(write=False)
    for wrong in (x[::2], read_only):
        with pytest.raises(TypeError, match="_squares: kernels take contiguous writable arrays only"):
            _squares(1, wrong, np.ones(8, np.float32))


@pytest.mark.parametrize("work", [1, 2**40])
def test_a_part_without_memory_is_an_error(work):
    with pytest.raises(MemoryError, match="_too_much: there is no memory"):
        _too_much(work, 2**55)
    _too_much(work, 10)
