"""From CUDA C++ to a library on the CPU, with g++, kept on disk under a hash of everything that went into it."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("MINIGEN_EMULATION_CACHE", HERE / "build"))
COMMON = ("-std=c++17", "-fPIC")
RUNTIME = (*COMMON, "-O2", "-shared")
KERNELS = (
    *COMMON,
    "-g1",  # the lines of code addresses
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-include",
    str(HERE / "cuda_emu.h"),
    f"-I{HERE / 'include'}",
    f"-I{HERE}",
)
MODES = {
    "fast": ("-O2",),
    "check": (
        "-O1",
        "-fsanitize=thread,bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero",
        "-fno-tree-loop-distribute-patterns",  # else loops become calls of memset, which nobody checks
        "-fno-tree-vectorize",
    ),
}


class EmulatorError(RuntimeError):
    """A kernel does not compile, or the checks found something."""


def library(code, mode, options=()):
    """The path of a library of kernels, which need the runtime's."""
    flags = (*KERNELS, *MODES[mode], *options)
    runtime = _runtime_path()

    def build(folder, out):
        source, compiled = folder / "kernel.cpp", folder / "kernel.o"
        source.write_text(f'#line 1 "<code>"\n{code}')
        _run("g++", *flags, "-c", source, "-o", compiled)
        # without -fsanitize: it would bring its own runtime library
        _run("g++", "-shared", compiled, f"-L{CACHE}", f"-l:{runtime.name}", "-Wl,-rpath,$ORIGIN", "-o", out)

    return _kept((code, *flags, runtime.name), build)


@cache
def runtime():
    """The library of the scheduler and the checker."""
    return ctypes.CDLL(str(_runtime_path()))


@cache
def _runtime_path():
    headers = [p.read_text() for p in sorted([*HERE.glob("*.h"), *HERE.glob("include/*.h"), *HERE.glob("*.cpp")])]
    sources = HERE / "scheduler.cpp", HERE / "checker.cpp"
    return _kept((*headers, *RUNTIME), lambda folder, out: _run("g++", *RUNTIME, *sources, "-o", out))


def shared_arrays(path, begin, end):
    """The static __shared__ arrays between two addresses of a library: (name, address, bytes) each."""
    found = []
    for line in _run("nm", "-C", "-S", "--defined-only", path).splitlines():
        address, size, _, name = [*line.split(" ", 3), ""][:4]
        if name and len(size) > 1 and begin <= int(address, 16) < end:
            found.append((name.rpartition("::")[2], int(address, 16), int(size, 16)))
    return found


def source_line(path, address):
    """file:line of the call that returns to this address of a library."""
    return _run("addr2line", "-e", path, hex(address - 1)).split()[0].rpartition("/")[2]


def _kept(key, build):
    path = CACHE / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.so"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            built = Path(folder, path.name)
            build(Path(folder), built)
            built.rename(path)  # at once: another process may be doing the same
    return path


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EmulatorError(f"{' '.join(map(str, command))}\n{done.stderr[:4000]}")
    return done.stdout
