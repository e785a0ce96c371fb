"""The one launcher of the CUDA kernels: compiles what a .cu file defines, checks what it is given, and starts it.

    _source = Source("upsample.cu")
    _source.launch(f"upsample<{ctype(x.dtype)}>", (x, y, n, channels), over=(y.size,), tile=(256,), threads=256)

A kernel sees only addresses and bits: a float64 array where float32 is due, a transposed view, or a Python float where
the kernel has a `float` would be read as nonsense, and silently. So the launcher reads the kernel's signature in its
source, and

    pointers   must be given CuPy arrays of exactly that type, contiguous, on one device (or None: a null pointer),
    scalars    are cast to exactly that C type, and must fit,
    structs    are given as NumPy records, whose fields the source lists (see `Source`).

The grid is what it takes for tiles of this size to cover `over`. Nothing is launched if that is empty.

CuPy compiles with NVRTC, at the first launch of each kernel for a kind of GPU, and keeps the machine code on disk.

A kernel's own faults, such as a wrong address, come to light at some later call; with CUDA_LAUNCH_BLOCKING=1 in the
environment each launch waits for its kernel, and the error is that launch's, which names the kernel.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernels.cuda.arrays import on_gpu
from kernels.precision import tf32_allowed

FOLDER = Path(__file__).parent
OPTIONS = ("--std=c++17",)
LARGEST_GRID = (2**31 - 1, 65535, 65535)
UNASKED_SHARED = 48 * 1024  # bytes of shared memory that a block may have without asking

# The C types of the kernels' parameters. float4 and the like are arrays of float with addresses that 16 bytes divide.
SCALARS = {
    "float": "float32",
    "double": "float64",
    "__half": "float16",
    "int": "int32",
    "unsigned": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "bool": "bool",
    "unsigned char": "uint8",
}
_DTYPES = {ctype: np.dtype(name) for ctype, name in SCALARS.items()}
_CTYPES = {dtype: ctype for ctype, dtype in _DTYPES.items()}


def ctype(dtype: Any) -> str:
    """What C++ calls a NumPy dtype: 'float' for float32."""
    return _CTYPES[np.dtype(dtype)]


class Parameter(NamedTuple):
    """One parameter of a kernel: its name, and its type as written (of what it points to, for a pointer)."""

    name: str
    ctype: str
    pointer: bool
    const: bool


class Signature(NamedTuple):
    templates: tuple[str, ...]  # the names of the template's parameters
    parameters: tuple[Parameter, ...]


_SIGNATURE = re.compile(
    r"(?:template\s*<(?P<templates>[^>]*)>\s*)?"
    r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)\s*\{"
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


@cache
def source_text(path: Path) -> str:
    """A .cu file with the files that it includes from this folder in their places, each once.

    CuPy's cache of compiled kernels looks at the text alone: included files would be compiled once and never again.
    """
    seen: set[str] = set()

    def inlined(path: Path) -> str:
        def insert(match: re.Match) -> str:
            if match[1] in seen:
                return ""
            seen.add(match[1])
            next_line = match.string.count("\n", 0, match.start()) + 2
            return f'{inlined(FOLDER / match[1])}\n#line {next_line} "{path.name}"'

        return f'#line 1 "{path.name}"\n' + _INCLUDE.sub(insert, path.read_text())

    return inlined(path)


def signatures(text: str) -> dict[str, Signature]:
    """The kernels that CUDA C++ source defines, by name."""
    found = {}
    for match in _SIGNATURE.finditer(_COMMENT.sub("", text)):
        templates = [part.split()[-1] for part in (match["templates"] or "").split(",") if part.strip()]
        parameters = [_parameter(part) for part in match["parameters"].split(",") if part.strip()]
        found[match["name"]] = Signature(tuple(templates), tuple(parameters))
    return found


def _parameter(text: str) -> Parameter:
    words = text.replace("*", " * ").split()
    words = [w for w in words if w != "__restrict__"]
    *kind, name = words
    pointer, const = "*" in kind, "const" in kind
    return Parameter(name, " ".join(w for w in kind if w not in ("*", "const")), pointer, const)


class Source:
    """A .cu file of this folder (or at another path). `structs` gives the NumPy dtype of each struct that its kernels
    take by value; fields must be in the same order and of the same sizes as in the file."""

    def __init__(self, name: str | Path, structs: dict[str, np.dtype] | None = None):
        self.path = FOLDER / name
        self.structs = structs or {}
        self._functions: dict[tuple, Any] = {}
        self._signatures: dict[str, Signature] = {}

    @property
    def text(self) -> str:
        return source_text(self.path)

    def launch(
        self,
        kernel: str,
        args: Sequence[Any],
        over: Sequence[int],
        tile: Sequence[int],
        threads: int,
        shared: int = 0,
        aligned: int = 1,
    ) -> None:
        """Starts `kernel`, a name expression such as 'add<float, 4>', on the arrays' device and CuPy's current stream.

        over, tile    one to three sizes each: the grid has ceil(over / tile) blocks along each axis
        threads       of a block
        shared        bytes of dynamic shared memory of a block
        aligned       how many bytes must divide every array's address, where a kernel moves several numbers at once

        TypeError or ValueError, naming the kernel and the parameter, before anything is launched; RuntimeError if the
        launch itself fails.
        """
        if 0 in over:
            return
        grid = tuple(-(-n // t) for n, t in zip(over, tile, strict=True))
        for axis, blocks, most in zip("xyz", grid, LARGEST_GRID):
            if blocks > most:
                raise ValueError(f"{kernel}: {over} in tiles of {tile} takes {blocks} blocks along {axis}, over {most}")
        values, device = self._checked(kernel, args, aligned)
        with device:
            function = self._function(kernel, device)
            try:
                if shared and shared + function.shared_size_bytes > UNASKED_SHARED:
                    function.max_dynamic_shared_size_bytes = shared
                function(grid, (threads,), values, shared_mem=shared)
            except Exception as error:
                given = ", ".join(f"{p.name}={_told(a)}" for p, a in zip(self.signature(kernel).parameters, args))
                raise RuntimeError(
                    f"{kernel} of {self.path.name}: the launch failed ({error}); grid {grid}, {threads} threads, "
                    f"{shared} bytes of shared memory, {given}"
                ) from error

    def signature(self, kernel: str) -> Signature:
        """The signature of a name expression, with the template's arguments put in."""
        if kernel not in self._signatures:
            name, _, arguments = kernel.partition("<")
            known = _signatures_of(self.path)
            if name not in known:
                raise ValueError(f"{self.path.name} has no kernel {name!r}; it has {', '.join(known)}")
            templates, parameters = known[name]
            given = dict(zip(templates, [a.strip() for a in arguments.removesuffix(">").split(",")]))
            resolved = tuple(p._replace(ctype=given.get(p.ctype, p.ctype)) for p in parameters)
            self._signatures[kernel] = Signature((), resolved)
        return self._signatures[kernel]

    def _checked(self, kernel: str, args: Sequence[Any], aligned: int) -> tuple[tuple, Any]:
        """The arguments as the kernel takes them, and the device that the arrays are on."""
        parameters = self.signature(kernel).parameters
        if len(args) != len(parameters):
            names = ", ".join(p.name for p in parameters)
            raise TypeError(f"{kernel} takes {len(parameters)} arguments ({names}), got {len(args)}")
        values, devices = [], {}
        for parameter, value in zip(parameters, args):
            what = f"{kernel}: {parameter.name}"
            if not parameter.pointer:
                values.append(self._scalar(what, parameter.ctype, value))
            elif value is None:
                values.append(np.uint64(0))
            else:
                values.append(_checked_array(what, parameter, value, aligned))
                devices[value.device.id] = value.device
        if len(devices) != 1:
            raise ValueError(f"{kernel}: needs arrays on one device, got devices {sorted(devices)}")
        return tuple(values), *devices.values()

    def _scalar(self, what: str, ctype: str, value: Any) -> Any:
        if ctype in self.structs:
            if getattr(value, "dtype", None) != self.structs[ctype] or value.size != 1:
                raise TypeError(f"{what} must be one record of dtype {self.structs[ctype]}, got {_told(value)}")
            return np.asarray(value)
        dtype = _dtype(what, ctype)
        if not _fits(value, dtype):
            raise TypeError(f"{what} must be a number that fits `{ctype}`, got {_told(value)}")
        return dtype.type(value)

    def _function(self, kernel: str, device: Any) -> Any:
        key = kernel, device.id
        if key not in self._functions:
            import cupy

            _announce(self.path, device)
            module = cupy.RawModule(code=self.text, options=OPTIONS, name_expressions=(kernel,))
            self._functions[key] = module.get_function(kernel)
        return self._functions[key]


@cache
def _signatures_of(path: Path) -> dict[str, Signature]:
    return signatures(source_text(path))


def _checked_array(what: str, parameter: Parameter, array: Any, aligned: int) -> Any:
    dtype = _dtype(what, parameter.ctype)
    if not on_gpu(array):
        raise TypeError(f"{what} must be an array on the GPU, got {_told(array)}")
    if array.dtype != dtype:
        raise TypeError(f"{what} must be {dtype}, got {_told(array)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{what} must be contiguous, got a view of shape {array.shape} with strides {array.strides}")
    if array.size and array.data.ptr % aligned:
        raise ValueError(f"{what} must begin at a multiple of {aligned} bytes, got address {array.data.ptr:#x}")
    return array


def _fits(value: Any, dtype: np.dtype) -> bool:
    if dtype.kind == "b":
        return isinstance(value, (bool, np.bool_))
    if dtype.kind == "f":
        whole, real = isinstance(value, (int, np.integer)), isinstance(value, (float, np.floating))
        fits = (whole or real) and bool(abs(value) <= _LARGEST[dtype])
        return fits or (real and not math.isfinite(value))
    return isinstance(value, (int, np.integer)) and bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


_LARGEST = {np.dtype(name): float(np.finfo(name).max) for name in ("float16", "float32", "float64")}


def _dtype(what: str, ctype: str) -> np.dtype:
    """The dtype of a C type, or of the numbers of a vector such as float4."""
    dtype = _DTYPES.get(ctype) or _DTYPES.get(ctype.rstrip("234"))
    if dtype is None:
        raise TypeError(f"{what} has the type `{ctype}`; the launcher knows {', '.join(SCALARS)}")
    return dtype


def _told(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape != ():
        return f"{type(value).__module__.partition('.')[0]} array {value.shape} of {value.dtype}"
    return f"{value!r:.60} ({type(value).__name__})"


_announced: set[tuple] = set()


def _announce(path: Path, device: Any) -> None:
    """Says on the terminal, once for each file and kind of GPU, what is being compiled or loaded."""
    key = path, device.compute_capability
    if key not in _announced:
        _announced.add(key)
        print(
            f"minigen: kernels/cuda/{path.name} for sm_{device.compute_capability} (compiled once, then kept on disk)",
            file=sys.stderr,
        )


def compute_capability(array: Any) -> int:
    """The kind of GPU that an array is on: 80 for an A100, 90 for an H100. Tensor cores take TF32 from 80 on."""
    return int(array.device.compute_capability)


_attributes: dict[tuple, dict[str, int]] = {}  # CuPy asks the driver for all of them each time


def attribute(array: Any, name: str) -> int:
    """What CUDA says of the GPU that an array is on: 'MultiProcessorCount' is its cudaDevAttrMultiProcessorCount."""
    kind = array.device.id, array.device.compute_capability
    if kind not in _attributes:
        _attributes[kind] = array.device.attributes
    return _attributes[kind][name]


def shared_memory(array: Any) -> int:
    """How many bytes of shared memory a block may have, static and dynamic, if it asks for them."""
    return attribute(array, "MaxSharedMemoryPerBlockOptin")


def on_tensor_cores(array: Any) -> bool:
    """Whether products of this array's numbers are taken on tensor cores, rather than in its own arithmetic."""
    rounded = array.dtype == np.float16 or (array.dtype == np.float32 and tf32_allowed())
    return rounded and compute_capability(array) >= 80


def vector_width(length: int, *arrays: Any) -> int:
    """How many numbers a kernel may move at once along contiguous runs of `length` numbers of these arrays: as many as
    fit 16 bytes, or 1 if they do not divide the run, or an array does not begin at a multiple of 16 bytes."""
    width = 16 // arrays[0].dtype.itemsize
    return width if length % width == 0 and all([a.data.ptr % 16 == 0 for a in arrays if a is not None]) else 1
