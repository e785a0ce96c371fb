"""How well a warp's accesses fit the memory of a GPU: 32-byte sectors of global memory, 32 banks of shared memory.

    for row in accesses(module, lambda: module.launch(...)):
        print(row.line, row.cost / row.ideal)

The k-th execution of an instruction by each lane is taken for one request of the warp: right where the warp does not
diverge.
"""

import ctypes
from typing import NamedTuple

import numpy as np

from . import compiler

LOGGED = np.dtype(
    [("pc", "u8"), ("address", "u8"), ("bytes", "u4"), ("lane", "u4"), ("kind", "u4"), ("shared", "u4")]
)  # Logged of checker.cpp


class Row(NamedTuple):
    """What one line of the source asks of one memory. Cost, and the least there could be: sectors of global memory, or
    passes over the banks of shared memory."""

    line: str
    space: str  # global or shared
    kind: str  # read, write or atomic
    bytes: int  # that a lane moves at once
    requests: int
    cost: int
    ideal: int


def accesses(module, run, block=0, warp=0):
    """A Row for every line whose accesses by one warp the emulator saw during run(), which launches from the module."""
    runtime = compiler.runtime()
    runtime.emu_log(ctypes.c_int64(block), ctypes.c_int64(warp))
    run()
    runtime.emu_logged.restype = ctypes.c_size_t
    data = ctypes.c_void_p()
    count = runtime.emu_logged(ctypes.byref(data))
    logged = np.frombuffer(ctypes.string_at(data, count * LOGGED.itemsize), LOGGED).tolist()
    runtime.emu_log(ctypes.c_int64(-1), ctypes.c_int64(0))

    executed, requests = {}, {}
    for pc, address, size, lane, kind, shared in logged:
        k = executed[pc, lane] = executed.get((pc, lane), 0) + 1
        requests.setdefault((pc, k, size, kind, shared), {})[lane] = address
    sums = {}
    for (pc, _, size, kind, shared), address_of in requests.items():
        key = pc, ("global", "shared")[shared], ("read", "write", "atomic")[kind], size
        cost, ideal = (passes if shared else sectors)(address_of, size)
        sums[key] = sums.get(key, 0) + np.array([1, cost, ideal])
    line_of = {pc: compiler.source_line(module.path, pc) for pc in {key[0] for key in sums}}
    return [Row(line_of[pc], *key, *map(int, total)) for (pc, *key), total in sums.items()]


def sectors(address_of, size):
    """How many sectors of 32 bytes the lanes touch, and how few the same bytes would fit."""
    addresses = set(address_of.values())
    touched = {a // 32 for first in addresses for a in (first, first + size - 1)}
    return len(touched), -(-len(addresses) * size // 32)


def passes(address_of, size):
    """How often the banks are read: once per 128 bytes, and again for every further word that lies in the same bank."""
    lanes_at_once = 32 // max(1, size // 4)
    words_in_bank = {}
    for lane, address in address_of.items():
        for word in range(address // 4, (address + size - 1) // 4 + 1):
            words_in_bank.setdefault((lane // lanes_at_once, word % 32), set()).add(word)
    groups = {lane // lanes_at_once for lane in address_of}
    cost = sum(max(len(words) for (g, _), words in words_in_bank.items() if g == group) for group in groups)
    return cost, len(groups)
