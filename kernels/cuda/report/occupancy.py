"""How many blocks of a kernel fit a multiprocessor at the same time, by the rules of the CUDA programming guide.

A multiprocessor has 65,536 registers and some shared memory, and room for so many warps and blocks. The more warps are
there, the better it hides that memory answers late; a kernel whose threads keep many sums in registers needs fewer.
"""

from __future__ import annotations

from typing import NamedTuple

REGISTERS = 65536


class Multiprocessor(NamedTuple):
    """CUDA C++ Programming Guide, "Technical specifications per compute capability"."""

    warps: int
    blocks: int
    shared: int  # bytes
    shared_of_block: int  # bytes that one block may have
    reserved: int  # bytes of shared memory that the system takes for each block


MULTIPROCESSOR = {
    70: Multiprocessor(64, 32, 96 << 10, 96 << 10, 0),
    80: Multiprocessor(64, 32, 164 << 10, 163 << 10, 1 << 10),
    86: Multiprocessor(48, 16, 100 << 10, 99 << 10, 1 << 10),
    89: Multiprocessor(48, 24, 100 << 10, 99 << 10, 1 << 10),
    90: Multiprocessor(64, 32, 228 << 10, 227 << 10, 1 << 10),
    100: Multiprocessor(64, 32, 228 << 10, 227 << 10, 1 << 10),
    120: Multiprocessor(48, 24, 100 << 10, 99 << 10, 1 << 10),
}


class Occupancy(NamedTuple):
    blocks: int  # at the same time on a multiprocessor; 0: the kernel cannot be launched
    share: float  # of the warps that there is room for
    limit: str  # what there is too little of for one block more


def occupancy(arch: int, threads: int, registers: int, shared: int) -> Occupancy:
    """For blocks of so many threads, registers of each thread, and bytes of shared memory, static and dynamic."""
    sm = MULTIPROCESSOR[arch]
    warps = -(-threads // 32)
    if shared > sm.shared_of_block:
        return Occupancy(0, 0.0, "shared memory")
    # A warp's registers are given out in units of 256, and its warps to four schedulers in turn.
    warps_by_registers = REGISTERS // round_up(32 * registers, 256) // 4 * 4
    fits = {
        "warps": sm.warps // warps,
        "registers": warps_by_registers // warps,
        "shared memory": sm.shared // max(1, round_up(shared + sm.reserved, 128)),
        "blocks": sm.blocks,
    }
    limit = min(fits, key=fits.__getitem__)
    return Occupancy(fits[limit], fits[limit] * warps / sm.warps, limit)


def round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
