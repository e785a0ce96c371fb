"""The emulator finds the mistakes that a GPU would keep silent about, and lets their correct twins pass."""

import re
from pathlib import Path

import numpy as np
import pytest

from kernels.cuda.launch import source_text

from .emulation.compiler import EmulatorError
from .emulation.emulator import Module

TEXT = source_text(Path(__file__).parent / "planted.cu")
RACE, UNWRITTEN, BOUNDS, DEADLOCK = "race in", "uninitialised memory", "out of bounds", "deadlock"
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
KERNELS = re.findall(r"__global__ void (\w+)\(const float\* x, float\* y\)", TEXT)


@pytest.fixture(scope="module")
def planted():
    """All of planted.cu, both versions of every kernel, compiled once for each mode."""
    names = [f"{name}<{version}>" for name in KERNELS for version in ("false", "true")]
    return Module(TEXT, names, mode="check")


def run(module, kernel, seed=0):
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    module.launch(kernel, (2,), (64,), (x, y), 256, seed)
    return y


def test_every_mistake_has_a_test():
    assert set(KERNELS) == set(FINDINGS)


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
