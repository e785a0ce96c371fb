"""cupy.RawModule and cupy.RawKernel of the stand-in: kernels run on the emulator, with its checks."""

import os

import numpy as np

from . import emulator, fake_cuda
from .fake_array import allocations, ndarray, stats, unwrap

MODE = os.environ.get("MINIGEN_EMULATION_MODE", "check")
UNASKED_SHARED = 48 << 10  # bytes of shared memory that a block may have unasked


class RawModule:
    def __init__(
        self,
        code=None,
        *,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=None,
    ):
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if path is not None:
            raise NotImplementedError("the stand-in for CuPy compiles source only")
        if not isinstance(options, tuple):
            raise TypeError("Expected tuple for options")
        self.code, self.options, self.backend, self.name_expressions = code, options, backend, name_expressions
        self._emulated = None

    def compile(self, log_stream=None):
        if self._emulated is None:
            defines = tuple(o for o in self.options if o.startswith("-D"))  # the other options are NVRTC's
            self._emulated = emulator.Module(self.code, self.name_expressions or (), MODE, defines)

    def get_function(self, name):
        self.compile()
        if name not in self._emulated.symbols:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self.code, name, self.options, _module=self)


class RawKernel:
    def __init__(
        self,
        code,
        name,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        *,
        enable_cooperative_groups=False,
        jitify=None,
        _module=None,
    ):
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self._module = _module or RawModule(code=code, options=options)
        self._asked_shared = 0

    @property
    def shared_size_bytes(self):
        self.compile()
        return self._module._emulated.static_shared

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._asked_shared or UNASKED_SHARED - self.shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, bytes):
        if bytes + self.shared_size_bytes > fake_cuda.Device.attributes["MaxSharedMemoryPerBlockOptin"]:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._asked_shared = bytes

    def compile(self, log_stream=None):
        self._module.compile()

    def __call__(self, grid, block, args, *, shared_mem=0):
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError("grid and block must be tuples")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: more shared memory than was asked for")
        values = tuple(_argument(f"{self.name}: argument {i}", value) for i, value in enumerate(args))
        self._module._emulated.launch(
            self.name, grid, block, values, shared_mem, _schedule_seed(), list(allocations.values())
        )
        stats["launches"] += 1


def _schedule_seed():
    from . import fake_cupy  # which imports this module

    return fake_cupy.schedule_seed


def _argument(what, value):
    """An argument as the real one turns it into bytes: what C++ reads is the emulator's concern."""
    if isinstance(value, ndarray):
        if not value.flags.c_contiguous:
            raise ValueError(f"{what} is not contiguous, and a kernel sees only its address")
        return unwrap(value)
    if isinstance(value, np.ndarray) and value.dtype.names is None:
        raise TypeError(f"{what} is a host array")
    if type(value) in (int, float, bool, complex):
        return np.asarray(value)[()]  # int64, float64: not what the kernel takes, and often not what was meant
    return value
