"""The emulator finds the mistakes that a GPU would keep silent about, and lets their correct twins pass."""

import re
from pathlib import Path

import numpy as np
import pytest

from kernels.cuda.launch import source_text

from .emulation import memory_report
from .emulation.compiler import EmulatorError
from .emulation.emulator import Module

PLANTED = source_text(Path(__file__).parent / "planted.cu")
SAMPLES = source_text(Path(__file__).parent / "samples.cu")
RACE, UNWRITTEN, BOUNDS, DEADLOCK = "race in", "uninitialised shared memory", "out of bounds", "deadlock"
FINDINGS = {
    "no_barrier_before_reading": f"{RACE}|{UNWRITTEN}",
    "no_barrier_before_writing_again": RACE,
    "barrier_for_some": DEADLOCK,
    "barrier_after_some_have_left": DEADLOCK,
    "two_different_barriers": DEADLOCK,
    "no_barrier_of_the_warp": f"{RACE}|{UNWRITTEN}",
    "barrier_of_the_warp_for_the_block": f"{RACE}|{UNWRITTEN}",
    "two_blocks_write_one_place": RACE,
    "a_block_reads_what_another_writes": RACE,
    "a_block_writes_what_another_read": RACE,
    "past_the_end_of_x": BOUNDS,
    "past_the_end_of_y": BOUNDS,
    "before_the_beginning_of_x": BOUNDS,
    "past_the_end_of_a_shared_array": BOUNDS,
    "past_the_end_of_a_shared_array_by_pointer": BOUNDS,
    "past_the_end_of_dynamic_shared_memory": BOUNDS,
    "shared_memory_never_written": UNWRITTEN,
    "shared_memory_of_the_last_block": UNWRITTEN,
    "write_through_const": "through a pointer to const",
    "misaligned_vector": "misaligned",
    "no_wait_for_copies": UNWRITTEN,
    "wait_for_too_few_copies": UNWRITTEN,
    "no_commit_of_copies": UNWRITTEN,
    "no_barrier_after_copies": f"{RACE}|{UNWRITTEN}",
    "copies_to_what_is_still_read": RACE,
    "copies_never_waited_for": "asynchronous copies under way",
    "misaligned_copy": "misaligned cp.async",
    "shuffle_from_outside_the_mask": r"reads lane \d+, which is not in mask",
    "shuffle_by_a_lane_outside_the_mask": "lane 31 is not in its own mask",
    "shuffle_for_some": DEADLOCK,
    "different_shuffles_meet": "__shfl.* meets __shfl",
    "tensor_core_for_some": DEADLOCK,
    "integer_overflow": "signed overflow",
    "shift_beyond_the_width": "shift by more than the width",
}
MISTAKES = re.findall(r"__global__ void (\w+)\(const float\* x, float\* y\)", PLANTED)
SAMPLE_KERNELS = (
    *("multiply_tf32<true>", "multiply_tf32<false>", "multiply_half", "copy_wanted<float>", "copy_wanted<__half>"),
    *("sums_of_rows", "transpose<32>", "transpose<33>", "scaled<float>"),
)
random = np.random.default_rng(0)


# ---- mistakes -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def planted():
    """Both versions of every kernel in planted.cu."""
    return Module(PLANTED, [f"{name}<{version}>" for name in MISTAKES for version in ("false", "true")])


def run(module, kernel, seed=0):
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    module.launch(kernel, (2,), (64,), (x, y), 256, seed)
    return y


def test_every_mistake_has_a_test():
    assert set(MISTAKES) == set(FINDINGS)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", FINDINGS)
def test_a_mistake_is_found(planted, name, seed):
    with pytest.raises(EmulatorError, match=FINDINGS[name]) as caught:
        run(planted, f"{name}<true>", seed)
    assert re.search(r"block \(\d,0,0\)", str(caught.value))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", FINDINGS)
def test_its_correct_twin_passes(planted, name, seed):
    assert np.isfinite(run(planted, f"{name}<false>", seed)).all()


def test_a_finding_tells_where(planted):
    with pytest.raises(EmulatorError) as caught:
        run(planted, "past_the_end_of_x<true>")
    line = line_of("past_the_end_of_x(const float* x")
    assert str(caught.value) == (
        "past_the_end_of_x<true>: out of bounds: read of 4 bytes, 0 bytes past the end of argument 0\n"
        f"  in block (1,0,0) thread (63,0,0)\n  at planted.cu:{line}"
    )


def test_a_deadlock_tells_who_waits_where(planted):
    with pytest.raises(EmulatorError) as caught:
        run(planted, "two_different_barriers<true>")
    assert "threads 0-31 in __syncthreads at planted.cu:" + line_of(";  // one") in str(caught.value)
    assert "threads 32-63 in __syncthreads at planted.cu:" + line_of(";  // the other") in str(caught.value)


def line_of(text):
    """The number, as text, of the line of planted.cu that has this in it."""
    lines = (Path(__file__).parent / "planted.cu").read_text().splitlines()
    return str(1 + next(i for i, line in enumerate(lines) if text in line))


@pytest.mark.parametrize("which", range(2))
def test_without_either_barrier_sums_of_a_block_are_found_wrong(which):
    """Those of numbers.cuh: the text of the kernels themselves, each barrier removed in turn."""
    begin, end = [m.span() for m in re.finditer(r"__syncthreads\(\);", SAMPLES)][which]
    module = Module(SAMPLES[:begin] + ";" + SAMPLES[end:], ["sums_of_rows"])
    found = 0
    for seed in range(5):
        try:
            sums(module, seed)
        except EmulatorError as error:
            found += bool(re.search(f"({RACE} shared|{UNWRITTEN}).*of_warp", str(error)))
    assert found


# ---- arguments ------------------------------------------------------------------------------------------------------
x32, y32, one, n = np.ones(4, np.float32), np.empty(4, np.float32), np.float32(1), np.int32(4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((x32, y32, one, n), "takes 5 arguments"),
        ((x32, y32, 1.0, n, np.False_), "argument 2 must be a NumPy scalar for f4, got 1.0 .float"),
        ((x32, y32, np.float64(1), n, np.False_), "argument 2 must be a NumPy scalar for f4"),
        ((x32, y32, one, 4, np.False_), "argument 3 must be a NumPy scalar for i4"),
        ((x32, y32, one, np.int64(4), np.False_), "argument 3 must be a NumPy scalar for i4"),
        ((x32, y32, one, np.uint32(4), np.False_), "argument 3 must be a NumPy scalar for i4"),
        ((x32, y32, one, n, np.int32(0)), "argument 4 must be a NumPy scalar for u1"),
        ((x32.astype(np.float64), y32, one, n, np.False_), "argument 0 must be an array for cf4., got one of float64"),
        ((x32.astype(np.int32), y32, one, n, np.False_), "argument 0 must be an array for cf4., got one of int32"),
        ((one, y32, one, n, np.False_), "argument 0 must be an array"),
    ],
)
def test_arguments_that_the_kernel_would_misread(samples, args, message):
    with pytest.raises(TypeError, match=message):
        samples.launch("scaled<float>", (1,), (4,), args)


def test_half_precision_arrays_are_told_by_their_dtype(samples):
    for dtype in (np.uint16, np.int16, np.float32):
        with pytest.raises(TypeError, match=f"argument 0 must be an array for cf2., got one of {dtype.__name__}"):
            samples.launch("copy_wanted<__half>", (1,), (32,), (np.ones(128, dtype), np.ones(128, np.float16), n))


@pytest.mark.parametrize(
    ("grid", "block"), [((0,), (32,)), ((1, 65536), (32,)), ((1,), (1025,)), ((1,), (0,)), ((1,), (1, 1, 65))]
)
def test_grids_and_blocks_that_no_gpu_takes(samples, grid, block):
    with pytest.raises(ValueError, match="CUDA_ERROR_INVALID_VALUE"):
        samples.launch("scaled<float>", grid, block, (x32, y32, one, n, np.False_))


# ---- what GPUs have and CPUs have not -------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["check", "fast"])
def samples(request):
    return Module(SAMPLES, SAMPLE_KERNELS, request.param)


def tf32(x, rounded):
    """x with the 10 bits of fraction that tensor cores read: the nearest such number (ties away from 0), or cut off."""
    return ((x.view(np.uint32) + np.uint32(0x1000 * rounded)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("rounded", [True, False])
def test_tensor_cores_on_tf32(samples, rounded):
    a, b, d = (random.standard_normal(shape, np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    samples.launch(f"multiply_tf32<{str(rounded).lower()}>", (1,), (32,), (a, b, d))
    np.testing.assert_allclose(d, tf32(a, rounded) @ tf32(b, rounded), rtol=0, atol=2e-6)


def test_tensor_cores_on_halves_that_ldmatrix_brought(samples):
    a, b = (random.standard_normal(shape).astype(np.float16) for shape in ((16, 16), (16, 8)))
    d = np.empty((16, 8), np.float32)
    samples.launch("multiply_half", (1,), (32,), (a, b, d), seed=1)
    np.testing.assert_allclose(d, a.astype(np.float32) @ b.astype(np.float32), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("ctype", "dtype"), [("float", np.float32), ("__half", np.float16)])
def test_asynchronous_copies_of_what_is_not_wanted_are_zeros(samples, ctype, dtype):
    x, y = np.arange(1, 129).astype(dtype), np.empty(128, dtype)
    samples.launch(f"copy_wanted<{ctype}>", (1,), (32,), (x, y, np.int32(52)))
    np.testing.assert_array_equal(y, np.where(np.arange(128) < 52, x, 0))


def test_what_is_not_wanted_need_not_be_there(samples):
    x, y = np.ones(52, np.float32), np.empty(128, np.float32)
    samples.launch("copy_wanted<float>", (1,), (32,), (x, y, np.int32(52)))
    np.testing.assert_array_equal(y, np.arange(128) < 52)


def sums(module, seed=0):
    x = np.random.default_rng(1).standard_normal((3, 100), np.float32)
    y = np.empty((3, 2), np.float32)
    return x, y, module.launch("sums_of_rows", (3,), (64,), (x, y, np.int32(100)), seed=seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sums_of_a_block(samples, seed):
    x, y, _ = sums(samples, seed)
    np.testing.assert_allclose(y, np.stack([x.sum(1), (x**2).sum(1)], 1), rtol=1e-5)


def test_both_modes_and_all_schedules_give_the_same_bits():
    modules = [Module(SAMPLES, SAMPLE_KERNELS, mode) for mode in ("check", "fast")]
    first, *others = [sums(module, seed)[1] for module in modules for seed in (0, 1, 2)]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_what_a_launch_does_is_counted():
    x, _, counts = sums(Module(SAMPLES, SAMPLE_KERNELS))
    assert counts.global_read == x.nbytes and counts.global_written == 3 * 2 * 4
    assert counts.shared_written == 3 * 2 * 2 * 4  # blocks, sums, warps
    assert counts.shared_read == 3 * 2 * 64 * 2 * 4  # and every thread reads those of both warps
    assert counts.barriers == 3 * 2 * 2 and counts.collectives == 3 * 2 * 2 * 5
    assert counts.atomics == 0


# ---- the memory report ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("pitch", "passes"), [(33, 1), (32, 32)])
def test_bank_conflicts_and_scattered_accesses_show(pitch, passes):
    module = Module(SAMPLES, SAMPLE_KERNELS)
    x, y = random.standard_normal((32, 32), np.float32), np.empty((32, 32), np.float32)
    rows = memory_report.accesses(module, lambda: module.launch(f"transpose<{pitch}>", (1,), (32,), (x, y)))
    np.testing.assert_array_equal(y, x.T)
    found = {(row.space, row.kind): row for row in rows}
    assert found["shared", "read"].cost == passes * found["shared", "read"].ideal == passes * 32
    assert found["shared", "write"].cost == 32
    for kind in ("read", "write"):
        assert found["global", kind].cost == found["global", kind].ideal == 32 * 4
        assert found["global", kind].requests == 32 and found["global", kind].line.startswith("samples.cu:")
