"""From CUDA C++ to a library on the CPU, with g++, kept on disk under a hash of everything that went into it."""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("MINIGEN_EMULATION_CACHE", HERE / "build"))
COMMON = ("-std=c++20", "-fPIC")
RUNTIME = (*COMMON, "-O2", "-fno-semantic-interposition", "-shared")
KERNELS = (
    *COMMON,
    "-g1",  # the lines of code addresses, in the words that addr2line understands
    "-gdwarf-4",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-fno-zero-initialized-in-bss",  # all static variables in the same words, for _SHARED
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

# A function's static array in assembly. Zeros are put behind it, or one past its end would be in the next.
_SHARED = re.compile(r"^(_ZZ\w+:\n\s*\.zero\s+)(\d+)", re.MULTILINE)
GAP = 256


class EmulatorError(RuntimeError):
    """A kernel does not compile, or the checks found something."""


def library(code, mode, options=()):
    """The path of a library of kernels, which need the runtime's."""
    flags = (*KERNELS, *MODES[mode], *options)
    runtime = _runtime_path()

    def build(folder, out):
        source, assembly = folder / "kernel.cpp", folder / "kernel.s"
        source.write_text(f'#line 1 "<code>"\n{code}')
        _run("g++", *flags, "-S", source, "-o", assembly)
        assembly.write_text(_SHARED.sub(lambda m: f"{m[1]}{int(m[2]) + GAP}", assembly.read_text()))
        # without -fsanitize: it would bring its own runtime library
        _run(
            "g++",
            "-shared",
            "-Wa,--gdwarf-5",
            assembly,
            f"-L{CACHE}",
            f"-l:{runtime.name}",
            "-Wl,-rpath,$ORIGIN",
            "-o",
            out,
        )

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


def shared_arrays(path):
    """The static __shared__ arrays of a library of kernels: (name, address, bytes) each.

    They are its only writable variables of functions. (A section to themselves they cannot have: g++ forgets that of a
    template's variables.)
    """
    found = []
    for line in _run("nm", "-C", "-S", "--defined-only", path).splitlines():
        symbol = re.match(r"([0-9a-f]+) ([0-9a-f]+) [bdBD] .*::(\w+)$", line)
        if symbol:
            found.append((symbol[3], int(symbol[1], 16), int(symbol[2], 16)))
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
