"""What the machine code of each instance of a kernel says: registers, shared memory, occupancy, instructions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kernels.cuda.report import gate
from kernels.cuda.report.disassembly import instruction_counts
from kernels.cuda.report.occupancy import occupancy
from kernels.cuda.report.recording import Launch

ARCHS = (80, 90)  # that the report shows


@dataclass(frozen=True)
class Instance:
    """An instance of a kernel on one kind of GPU, as it is launched there."""

    file: str
    kernel: str
    arch: int
    threads: int  # of a block
    registers: int  # of a thread
    spilled: int  # bytes
    static_shared: int  # bytes of a block
    dynamic_shared: int
    blocks: int  # on a multiprocessor at the same time
    occupancy: float
    limit: str  # what keeps more blocks away
    instructions: dict[str, int]


def instances(launches: Iterable[Launch], arch: int) -> list[Instance]:
    """The instances among the launches. RuntimeError with the compiler's words if one does not compile."""
    chosen = gate.of_launches(launches, arch)
    return [instance(variant, code) for variant, code in zip(chosen, gate.compile_all(chosen))]


def instance(variant: gate.Variant, code: Any) -> Instance:
    if isinstance(code, str):
        raise RuntimeError(code)
    file, kernel, arch, threads, shared = variant
    resident = occupancy(arch, threads, code.registers, code.shared + shared)
    spilled = code.spill_stores + code.spill_loads
    numbers = threads, code.registers, spilled, code.shared, shared
    return Instance(file, kernel, arch, *numbers, *resident, instruction_counts(code.cubin))
