"""The gate: every instance of every kernel, compiled for each kind of GPU, keeps its numbers in registers.

A register that does not fit is spilled to local memory, which lies where global memory lies; so does an array that is
indexed by what the compiler does not know. Neither shows in a kernel's results, and both can cost most of its speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from kernels.cuda.launch import FOLDER, source_text
from kernels.cuda.report.calls import launched_by_calls
from kernels.cuda.report.compiler import Compiled, CompileError, compile_kernel
from kernels.cuda.report.occupancy import occupancy
from kernels.cuda.report.recording import Launch

ARCHS = (70, 80, 90, 100)
# These have as many registers as sm_80 and run its kernels, but give a block 99 KB of shared memory: whether theirs can
# be launched is seen in sm_80's figures.
LIKE_80 = (86, 89, 120)

# Bytes of stack that an instance may have, by the beginning of its name expression, and why.
ALLOWED_STACK: dict[str, tuple[int, str]] = {}


class Variant(NamedTuple):
    """An instance of a kernel for a kind of GPU, as it is launched there at most."""

    file: str
    kernel: str  # the name expression
    arch: int
    threads: int
    shared: int  # bytes of dynamic shared memory


def variants(archs: Sequence[int] = ARCHS) -> list[Variant]:
    """All instances that the wrappers launch on GPUs of these kinds."""
    return [variant for arch in archs for variant in of_launches(launched_by_calls(arch), arch)]


def of_launches(launches: Iterable[Launch], arch: int) -> list[Variant]:
    most: dict[tuple[str, str], Variant] = {}
    for file, kernel, _, threads, shared, _ in launches:
        before = most.get((file, kernel), Variant(file, kernel, arch, 0, 0))
        most[file, kernel] = before._replace(threads=max(threads, before.threads), shared=max(shared, before.shared))
    return list(most.values())


def compiled(variant: Variant) -> Compiled | str:
    """The machine code, or what the compiler complains of."""
    try:
        return compile_kernel(source_text(FOLDER / variant.file), variant.file, variant.kernel, variant.arch)
    except CompileError as error:
        return str(error)


def compile_all(chosen: Sequence[Variant]) -> Iterator[Compiled | str]:
    """The machine code of each, by as many processes as there are cores."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(compiled, chosen)


def findings(variant: Variant, code: Compiled | str) -> list[str]:
    """What is wrong with an instance, each in a line."""
    if isinstance(code, str):
        return [code]
    who = f"{variant.file}: {variant.kernel}, sm_{variant.arch}"
    allowed, _ = next((v for name, v in ALLOWED_STACK.items() if variant.kernel.startswith(name)), (0, ""))
    found = []
    if code.spill_stores or code.spill_loads:
        found.append(
            f"{who}: {code.registers} registers are too few, {code.spill_stores} bytes of stores and "
            f"{code.spill_loads} of loads spill"
        )
    elif code.stack > allowed:
        found.append(f"{who}: {code.stack} bytes of stack, {allowed} are allowed")
    return found + not_launched(variant, code)


def not_launched(variant: Variant, code: Compiled) -> list[str]:
    """What an instance needs that a GPU of its kind does not have, in a line; or nothing."""
    resident = occupancy(variant.arch, variant.threads, code.registers, code.shared + variant.shared)
    if resident.blocks:
        return []
    return [
        f"{variant.file}: {variant.kernel}, sm_{variant.arch}: cannot be launched, too little {resident.limit} for "
        f"{variant.threads} threads with {code.registers} registers and {code.shared + variant.shared} bytes"
    ]


def all_findings(chosen: Sequence[Variant], like_80: Sequence[Variant]) -> Iterator[str]:
    """What is wrong with the chosen instances, compiled, and with what else GPUs like sm_80 launch of them."""
    of_80 = {}
    for variant, code in zip(chosen, compile_all(chosen)):
        yield from findings(variant, code)
        if variant.arch == 80 and isinstance(code, Compiled):
            of_80[variant.file, variant.kernel] = code
    for variant in like_80:
        if (variant.file, variant.kernel) in of_80:  # else it did not compile; what sm_80 never launches, a test finds
            yield from not_launched(variant, of_80[variant.file, variant.kernel])
