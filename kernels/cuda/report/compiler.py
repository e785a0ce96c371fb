"""Compiles kernels with NVRTC where there is no GPU, and tells what they need of one.

NVRTC is a C library of some ten functions, called here as it is. Each of its versions knows some kinds of GPUs: CUDA 12
those from sm_50 on, CUDA 13 those from sm_75 on. The newest one installed that knows a kind compiles for it.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from kernels.cuda.launch import OPTIONS

INSTALL = 'pip install -e ".[report]"'
CUPYS_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")  # CuPy adds these to everyone's


class Compiled(NamedTuple):
    """A kernel's machine code for one kind of GPU, and what a thread or a block of it needs."""

    cubin: bytes
    symbol: str  # the kernel's name in there
    registers: int
    shared: int  # bytes of static shared memory
    stack: int  # bytes of local memory, spilled registers included
    spill_stores: int  # bytes, counted in the instructions
    spill_loads: int


class CompileError(RuntimeError):
    pass


def compile_kernel(text: str, name: str, kernel: str, arch: int) -> Compiled:
    """`kernel`, a name expression of the CUDA C++ source `text`, for GPUs of the kind `arch` (80: sm_80).

    CompileError with the compiler's words; RuntimeError if there is no compiler for this kind.
    """
    nvrtc = compiler_for(arch)
    options = (*OPTIONS, *CUPYS_OPTIONS, f"--gpu-architecture=sm_{arch}", "--ptxas-options=-v", f"-I{nvrtc.headers}")
    program = ctypes.c_void_p()
    nvrtc.call("CreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        nvrtc.call("AddNameExpression", program, kernel.encode())
        failed = nvrtc.library.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        )
        log = nvrtc.text(program, "ProgramLog").decode(errors="replace").rstrip("\0 \n")
        if failed:
            raise CompileError(f"{name}: {kernel} does not compile for sm_{arch}:\n{log}")
        symbol = ctypes.c_char_p()
        nvrtc.call("GetLoweredName", program, kernel.encode(), ctypes.byref(symbol))
        lowered = (symbol.value or b"").decode()
        return Compiled(nvrtc.text(program, "CUBIN"), lowered, *resources(log, lowered))
    finally:
        nvrtc.call("DestroyProgram", ctypes.byref(program))


_RESOURCES = re.compile(
    r"Function properties for (?P<symbol>\S+)\s*\n"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\s*\n"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)"
)
_SHARED = re.compile(r"(\d+) bytes smem")


def resources(log: str, symbol: str) -> tuple[int, int, int, int, int]:
    """(registers, shared, stack, spill_stores, spill_loads) of a kernel, from what ptxas -v says."""
    for match in _RESOURCES.finditer(log):
        if match["symbol"] == symbol:
            shared = _SHARED.search(match["rest"])
            numbers = match["registers"], shared[1] if shared else 0, match["stack"], match["stores"], match["loads"]
            registers, *others = map(int, numbers)
            return (registers, *others)  # type: ignore[return-value]
    raise ValueError(f"the compiler's output tells nothing of {symbol}:\n{log}")


# ---- NVRTC ---------------------------------------------------------------------------------------------


class Nvrtc:
    """One version of the library, with the headers (cuda_fp16.h) that belong to it."""

    def __init__(self, path: Path, headers: Path):
        self.library: Any = ctypes.CDLL(str(path))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.headers = headers
        major, minor, kinds = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self.call("Version", ctypes.byref(major), ctypes.byref(minor))
        self.call("GetNumSupportedArchs", ctypes.byref(kinds))
        archs = (ctypes.c_int * kinds.value)()
        self.call("GetSupportedArchs", archs)
        self.version, self.archs = (major.value, minor.value), tuple(archs)

    def call(self, function: str, *args: Any) -> None:
        failed = getattr(self.library, f"nvrtc{function}")(*args)
        if failed:
            raise RuntimeError(f"nvrtc{function}: {self.library.nvrtcGetErrorString(failed).decode()}")

    def text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self.call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"Get{what}", program, buffer)
        return buffer.raw


def compiler_for(arch: int) -> Nvrtc:
    known = [nvrtc for nvrtc in compilers() if arch in nvrtc.archs]
    if not known:
        versions = ", ".join("{}.{}".format(*nvrtc.version) for nvrtc in compilers()) or "none"
        raise RuntimeError(f"no NVRTC that compiles for sm_{arch} is installed (there is {versions}): {INSTALL}")
    return max(known, key=lambda nvrtc: nvrtc.version)


@cache
def compilers() -> tuple[Nvrtc, ...]:
    """What NVIDIA's Python packages have brought: for CUDA 12 in nvidia/cuda_nvrtc, for CUDA 13 in nvidia/cu13."""
    places = ("cuda_nvrtc/lib", "cuda_runtime/include"), ("cu13/lib", "cu13/include")
    return tuple(
        Nvrtc(path, folder / headers)
        for folder in nvidias_packages()
        for library, headers in places
        for path in sorted((folder / library).glob("libnvrtc.so.*"))
        if (folder / headers / "cuda_fp16.h").exists()
    )


def nvidias_packages() -> list[Path]:
    """The folders `nvidia` that Python's packages are installed in."""
    found = find_spec("nvidia")
    return [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
