"""The optimiser's kernels on the GPU, on a network's worth of arrays: of all sizes, two dtypes, anywhere in memory."""

from types import SimpleNamespace

import numpy as np
import pytest

from kernels import cpu, cuda, reference
from kernels.cuda import optimizer
from kernels.cuda.launch import Source
from tests.kernels.test_optimizer import CALLS

from .arrays import on_cpu, on_device, scheduled
from .emulation import fake_cupy
from .emulation.emulator import EmulatorError

# Around the numbers of 16 bytes, and around the 4096 that a block of threads takes; then many small ones.
SHAPES = [(), (0, 3), (1,), (3,), (4,), (5,), (4095,), (4096,), (17, 241), (3 * 4096 + 1,), *[(n,) for n in range(40)]]
DTYPES = [np.float64 if i % 3 == 1 else np.float32 for i in range(len(SHAPES))]


def network(lists, seed=0):
    """As many lists of NumPy arrays, alike in shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return [[np.array(rng.standard_normal(s), d) for s, d in zip(SHAPES, DTYPES)] for _ in range(lists)]


def adam(module, lists, **settings):
    parameters, gradients, means, squares, averages = lists
    for s in squares:
        s *= s
    updates = list(range(1, 1 + len(parameters)))
    averages = [None if i % 4 == 2 else a for i, a in enumerate(averages)]
    settings = dict(scale=0.3, averages=averages, average_decay=0.9) | settings
    module.adam_(parameters, gradients, means, squares, updates, 0.1, (0.9, 0.99), 1e-8, 0.1, **settings)


CALLS = CALLS | {
    "adam_": adam,
    "adam_ decoupled": lambda module, lists: adam(module, lists, decoupled=True, averages=None),
}


def after(module, call, lists):
    call(module, lists)
    return [on_cpu(a) for arrays in lists for a in arrays]


@pytest.mark.parametrize("name", CALLS)
def test_agrees_with_the_cpu_in_every_schedule(cupy, name):
    exact = [[a.astype(np.float64) for a in arrays] for arrays in network(5)]
    exact, wanted = after(reference, CALLS[name], exact), after(cpu, CALLS[name], network(5))
    results = []
    for schedule in (0, 1, 2):
        with scheduled(cupy, schedule):
            results.append(after(cuda, CALLS[name], on_device(cupy, network(5))))
    for i, (got, other, truth) in enumerate(zip(results[0], wanted, exact, strict=True)):
        np.testing.assert_array_equal(results[1][i], got)
        np.testing.assert_array_equal(results[2][i], got)
        assert (got.shape, got.dtype) == (other.shape, other.dtype)
        tolerance = 2e-6 if got.dtype == np.float32 else 1e-14
        np.testing.assert_allclose(got, truth, rtol=tolerance, atol=tolerance)
        if name in ("scale_", "add_"):  # one rounding
            np.testing.assert_array_equal(got, other)


@pytest.mark.parametrize("offset", [1, 3])
def test_arrays_that_do_not_begin_at_16_bytes(cupy, offset):
    """Every array one or three numbers into its memory, and what lies around it stays."""
    memories, lists = [], []
    for arrays in network(5):
        lists.append([])
        for a in arrays:
            memory = cupy.full(a.size + 8, 99, a.dtype)
            memory[offset : offset + a.size] = cupy.asarray(a.reshape(-1))
            memories.append((memory, a.size))
            lists[-1].append(memory[offset : offset + a.size].reshape(a.shape))
    got = after(cuda, adam, lists)
    for a, b in zip(got, after(cuda, adam, on_device(cupy, network(5)))):
        np.testing.assert_array_equal(a, b)
    for memory, size in memories:
        around = np.delete(on_cpu(memory), slice(offset, offset + size))
        np.testing.assert_array_equal(around, 99)


def test_gradients_and_targets_may_have_any_layout(cupy):
    gradients = [cupy.asarray(np.arange(12.0).reshape(3, 4)).T, cupy.asarray(np.arange(9.0))[::-2]]
    copies = [cupy.ascontiguousarray(g) for g in gradients]
    assert cuda.global_norm(gradients) == cuda.global_norm(copies) == pytest.approx(np.sqrt(506 + 120))
    for others in (gradients, copies):
        arrays = [cupy.ones_like(c) for c in copies]
        cuda.lerp_(arrays, others, 0.5)
        cuda.add_(arrays, others)
        for a, c in zip(arrays, copies):
            np.testing.assert_array_equal(on_cpu(a), 0.5 + 1.5 * on_cpu(c))


@pytest.mark.parametrize("index", [np.s_[:, 1], np.s_[:, 2:5], np.s_[2], np.s_[::-1], np.s_[..., 1:8]])
def test_adds_to_a_part_of_an_array_and_to_nothing_else(cupy, index):
    x = np.random.default_rng(0).standard_normal((3, 5, 9)).astype(np.float32)
    other = x[index] + 1
    expected, moved = x.copy(), cupy.asarray(x)
    expected[index] += other
    whole = cupy.zeros(7, np.float32)
    cuda.add_([moved[index], whole], [cupy.asarray(other), cupy.ones(7, np.float32)])
    np.testing.assert_array_equal(on_cpu(moved), expected)
    np.testing.assert_array_equal(on_cpu(whole), 1)


def test_one_launch_for_all_arrays_of_a_dtype(cupy, monkeypatch):
    launched, launch = [], optimizer._source.launch
    monkeypatch.setattr(
        optimizer._source, "launch", lambda name, *a, **k: (launched.append(name), launch(name, *a, **k))
    )
    lists = on_device(cupy, network(5))
    adam(cuda, lists)
    assert launched == ["adam<float>", "adam<double>"]
    launched.clear()
    norm = cuda.global_norm(lists[0])
    assert type(norm) is float
    assert launched == ["sum_squares<float>", "sum_squares<double>", "sum_sums"]


def test_nothing_to_do(cupy, monkeypatch):
    def launched(source, kernel, device):
        raise AssertionError(f"{kernel} is launched")

    monkeypatch.setattr(Source, "_function", launched)
    with pytest.raises(AssertionError, match="scale"):
        cuda.scale_([cupy.ones(1, np.float32)], 2.0)
    empty = [cupy.zeros((0, 3), np.float32)]
    for arrays in ([], empty):
        assert cuda.global_norm(arrays) == 0.0
        cuda.scale_(arrays, 2.0)
        cuda.lerp_(arrays, arrays, 0.5)
        cuda.add_(arrays, arrays)
        cuda.adam_(arrays, arrays, arrays, arrays, [1] * len(arrays), 0.1, (0.9, 0.99), 1e-8)


def test_nan_is_passed_on(cupy):
    lists = network(5)
    lists[1][8][2, 3] = np.nan
    lists = on_device(cupy, lists)
    assert np.isnan(cuda.global_norm(lists[1]))
    adam(cuda, lists)
    for changed in (lists[0], lists[2], lists[3], lists[4]):
        assert np.isnan(on_cpu(changed[8])[2, 3]) and sum(int(np.isnan(on_cpu(a)).sum()) for a in changed) == 1


def test_norm_is_summed_in_float64(cupy):
    tenths = cupy.full(2**15, 0.1, np.float32)
    assert cuda.global_norm([tenths] * 8) == pytest.approx(2**9 * float(np.float32(0.1)), rel=1e-14)
    assert cuda.global_norm([cupy.full(4, 1e30, np.float32), cupy.zeros(3)]) == pytest.approx(2e30, rel=1e-6)


def test_arrays_on_two_devices_are_refused():
    arrays = [SimpleNamespace(size=1, device=SimpleNamespace(id=i)) for i in (0, 1)]
    with pytest.raises(ValueError, match=r"on one device; got devices \[0, 1\]"):
        optimizer._table(arrays)


# ---- the checker sees through the table ------------------------------------------------------------------------

POKE = """__global__ void poke(const unsigned long long* __restrict__ table, int at) {
    ((float*)table[threadIdx.x])[at] = 1;
}"""


def poke(addresses, at):
    module = fake_cupy.RawModule(code=POKE, name_expressions=("poke",))
    table = fake_cupy.asarray(np.array(addresses, np.uint64))
    module.get_function("poke")((1,), (len(addresses),), (table, np.int32(at)))


def test_what_a_table_points_to_is_checked():
    arrays = [fake_cupy.zeros((5,), np.float32) for _ in range(300)]
    addresses = [a.data.ptr for a in arrays]
    poke(addresses, at=4)
    assert all(a.get()[4] == 1 for a in arrays)
    with pytest.raises(EmulatorError, match="out of bounds: write of 4 bytes, 0 bytes past the end"):
        poke(addresses, at=5)
    with pytest.raises(EmulatorError, match="race in global memory"):
        poke([addresses[0], *addresses], at=0)
    del arrays[7]
    with pytest.raises(EmulatorError, match=r"out of bounds[\s\S]*thread \(7,0,0\)"):
        poke(addresses, at=0)
