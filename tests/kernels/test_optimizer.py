"""The optimiser's kernels on a network's worth of numbers, and what they rely on."""

import copy
import ctypes

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cpu import jit
from kernels.cpu import optimizer as compiled

SHAPES = [(300, 257), (1,), (), (0, 3), (5, 7), (2**16,), (2**14,), (100_001,)]


def arrays(lists, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [[np.array(rng.standard_normal(shape), dtype) for shape in SHAPES] for _ in range(lists)]


def adam(module, lists):
    parameters, gradients, means, squares, averages = lists
    squares = [np.abs(s, out=s) for s in squares]
    settings = dict(scale=0.3, averages=averages, average_decay=0.9)
    module.adam_(parameters, gradients, means, squares, list(range(1, 9)), 0.1, (0.9, 0.99), 1e-8, 0.1, **settings)


CALLS = {
    "adam_": adam,
    "global_norm": lambda module, lists: lists.append([np.array(module.global_norm(lists[0]))]),
    "scale_": lambda module, lists: module.scale_(lists[0], 0.3),
    "lerp_": lambda module, lists: module.lerp_(lists[0], lists[1], 0.3),
    "add_": lambda module, lists: module.add_(lists[0], lists[1]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_does_not_depend_on_the_number_of_threads(call):
    most, results = jit.get_num_threads(), []
    for threads in (1, most):
        lists = arrays(5)
        try:
            jit.set_num_threads(threads)
            call(cpu, lists)
        finally:
            jit.set_num_threads(most)
        results.append(lists)
    for one, many in zip(*results, strict=True):
        for a, b in zip(one, many, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_agrees_with_the_reference(call):
    got = arrays(5)
    expected = copy.deepcopy(got)
    call(cpu, got)
    call(reference, expected)
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_nan_is_passed_on():
    for module in (cpu, reference):
        lists = arrays(5)
        lists[1][4][2, 3] = np.nan
        assert np.isnan(module.global_norm(lists[1]))
        adam(module, lists)
        for changed in (lists[0], lists[2], lists[3], lists[4]):
            assert np.isnan(changed[4][2, 3]) and sum(int(np.isnan(a).sum()) for a in changed) == 1


def test_norm_is_summed_in_float64():
    """A million equal numbers, whose float32 sum would be off, and numbers whose squares float32 cannot hold."""
    assert cpu.global_norm([np.full(2**20, 0.1, np.float32)]) == pytest.approx(
        2**10 * float(np.float32(0.1)), rel=1e-14
    )
    assert cpu.global_norm([np.full(4, 1e30, np.float32), np.zeros(3)]) == pytest.approx(2e30, rel=1e-6)
    assert cpu.global_norm([]) == 0


def test_where_numpy_keeps_the_address_of_the_numbers():
    x = np.arange(5.0)
    assert ctypes.c_ssize_t.from_address(id(x) + compiled._HEADER).value == x.ctypes.data


@pytest.mark.parametrize("index", [np.s_[:, 1], np.s_[:, 2:9], np.s_[:, :, 3], np.s_[2], np.s_[::-1], np.s_[..., 1:18]])
def test_adds_to_a_part_of_an_array_and_to_nothing_else(index):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal((7, 11, 5, 33)).astype(dtype)
        expected, other = x.copy(), rng.standard_normal(x[index].shape).astype(dtype)
        expected[index] += other
        cpu.add_([x[index]], [other])
        np.testing.assert_array_equal(x, expected)
