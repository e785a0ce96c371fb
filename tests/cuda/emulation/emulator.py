"""Runs CUDA C++ on the CPU. README.md says how, and what is checked.

    module = Module(text, ("add<float>",))
    module.launch("add<float>", grid=(4,), block=(256,), args=(x, y, np.int32(1000)))

Pointers are given as NumPy arrays, scalars as NumPy scalars of exactly the parameter's type, structs as NumPy records.
"""

import ctypes
import hashlib
import re

import numpy as np

from . import compiler
from .arguments import Range, array_ranges, cell
from .compiler import EmulatorError

_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w:<>\s]+?)\s*(\w+)\s*\[\s*\]\s*;")
_KERNEL = re.compile(r'extern\s+"C"\s+__global__[^;{(]*?(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(')


class Image(ctypes.Structure):
    """Image of emu.h."""

    _fields_ = [("begin", ctypes.c_size_t), ("end", ctypes.c_size_t)]


class Counts(ctypes.Structure):
    """Counts of checker.h, what a launch did: bytes moved by threads and atomics (in check mode), barriers that blocks
    passed, and exchanges within warps."""

    _fields_ = [
        ("global_read", ctypes.c_uint64),
        ("global_written", ctypes.c_uint64),
        ("shared_read", ctypes.c_uint64),
        ("shared_written", ctypes.c_uint64),
        ("atomics", ctypes.c_uint64),
        ("barriers", ctypes.c_uint64),
        ("collectives", ctypes.c_uint64),
    ]


class Module:
    """Kernels from source: template instances, named by `name_expressions`, and all that are extern "C"."""

    def __init__(self, code, name_expressions=(), mode="check", options=()):
        self.mode = mode
        self.symbols = {name: name for name in _KERNEL.findall(code)}
        self.symbols |= {e: "t" + hashlib.md5(e.encode()).hexdigest()[:12] for e in name_expressions}
        entries = "\n".join(f"EMU_KERNEL({symbol}, {name})" for name, symbol in self.symbols.items())
        self.path = compiler.library(f"{_DYNAMIC_SHARED.sub(_dynamic_shared, code)}\n{entries}\n", mode, options)
        self._library = ctypes.CDLL(str(self.path))
        self._image = Image()
        self._library.emu_image(ctypes.byref(self._image))
        self._shared = [
            Range(self._image.begin + at, self._image.begin + at + size, f"shared array {name}".encode(), True, True, 2)
            for name, at, size in compiler.shared_arrays(self.path)
        ]

    @property
    def static_shared(self):
        """Bytes of static shared memory, of all the kernels together."""
        return sum(r.end - r.begin for r in self._shared)

    def signature(self, name):
        """The kernel's parameters, as arguments.py describes them."""
        text = ctypes.create_string_buffer(4096)
        self._library[f"emu_signature_{self.symbols[name]}"](text)
        return text.value.decode().split()

    def launch(self, name, grid, block, args, shared_mem=0, seed=0, allocations=()):
        """Runs a grid, with blocks and threads in order (seed 0) or in orders drawn from the seed.

        Tables of addresses may point to any of the `allocations`. Returns Counts; EmulatorError tells the finding, its
        block and thread, and the line in the source.
        """
        codes = self.signature(name)
        if len(args) != len(codes):
            raise TypeError(f"{name} takes {len(codes)} arguments ({', '.join(codes)}), got {len(args)}")
        dims = _dims(grid, block)
        cells = [cell(f"{name}: argument {i}", code, value) for i, (code, value) in enumerate(zip(codes, args))]
        pointers = (ctypes.c_void_p * max(len(cells), 1))(*[ctypes.addressof(c) for c in cells])
        memory = np.empty(shared_mem + 128, np.uint8)
        dynamic = memory.ctypes.data + -memory.ctypes.data % 128
        ranges = [*self._shared, *array_ranges(codes, args, allocations)]
        ranges.append(Range(dynamic, dynamic + shared_mem, b"dynamic shared memory", True, True, 2))
        counts, message, fault = Counts(), ctypes.create_string_buffer(4096), ctypes.c_uint64()
        failed = compiler.runtime().emu_launch(
            ctypes.cast(self._library[f"emu_call_{self.symbols[name]}"], ctypes.c_void_p),
            pointers,
            ctypes.byref(self._image),
            (ctypes.c_uint * 6)(*dims),
            ctypes.c_void_p(dynamic),
            ctypes.c_uint64(seed),
            (Range * len(ranges))(*ranges),
            len(ranges),
            self.mode == "check",
            ctypes.byref(counts),
            message,
            ctypes.c_size_t(len(message)),
            ctypes.byref(fault),
        )
        if failed:
            place = f"\n  at {compiler.source_line(self.path, fault.value)}" if fault.value else ""
            raise EmulatorError(f"{name}: {message.value.decode()}{place}")
        return counts


def _dynamic_shared(declaration):
    # no line may be lost: messages tell their numbers
    return f"EMU_DYNAMIC_SHARED({declaration[1]}, {declaration[2]})" + "\n" * declaration[0].count("\n")


def _dims(grid, block):
    """gridDim and blockDim, three numbers each; ValueError if a GPU would refuse them."""
    grid, block = (tuple(int(n) for n in (*sizes, 1, 1)[:3]) for sizes in (grid, block))
    if min(block) < 1 or np.prod(block) > 1024 or block[2] > 64:
        raise ValueError(f"CUDA_ERROR_INVALID_VALUE: a block of {block} threads")
    if min(grid) < 1 or grid[0] > 2**31 - 1 or max(grid[1:]) > 65535:
        raise ValueError(f"CUDA_ERROR_INVALID_VALUE: a grid of {grid} blocks")
    return *grid, *block
