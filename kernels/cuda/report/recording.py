"""What the kernels' wrappers launch, found out without a GPU: they run on arrays that have a shape and no contents.

    with recording(arch=80) as (cupy, launches):
        kernels.cuda.upsample(cupy.empty((8, 16, 16, 64), "float32"), (2, 2))
    launches                                   # [Launch("rearrange.cu", "upsample<float, 4>", (512,), 256, ...)]

Everything but the kernels themselves runs as it does on a GPU of that kind, the launcher and its checks included. So
which instance of a template is launched, on how many threads and with how much shared memory, is written down nowhere
but in the wrappers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock
from weakref import WeakValueDictionary

import numpy as np

from kernels.cuda import launch
from kernels.cuda.launch import Source
from kernels.cuda.report.occupancy import MULTIPROCESSOR

# Of V100, A100, RTX 3090, RTX 4090, H100, B200 and RTX 5090.
MULTIPROCESSORS = {70: 80, 80: 108, 86: 82, 89: 128, 90: 132, 100: 148, 120: 170}


class Launch(NamedTuple):
    file: str
    kernel: str  # the name expression
    grid: tuple[int, ...]
    threads: int  # of a block
    shared: int  # bytes of dynamic shared memory of a block
    moved: int  # bytes of all arrays that it was given, also through a table of addresses


@contextmanager
def recording(arch: int) -> Iterator[tuple[ModuleType, list[Launch]]]:
    """(cupy, launches): inside, `import cupy` gives this stand-in, whose arrays are on a GPU of the kind `arch` (80:
    sm_80), and launches are not made but appended to the list."""
    launches: list[Launch] = []

    def function(source: Source, kernel: str, device: Device) -> Recorder:
        return Recorder(source, kernel, launches)

    cupy = stand_in(Device(arch))
    with (
        mock.patch.dict(sys.modules, cupy=cupy),
        mock.patch.object(Source, "_function", function),
        mock.patch.object(launch, "_attributes", {}),
    ):
        yield cupy, launches


class Recorder:
    """In the place of a compiled kernel."""

    shared_size_bytes = max_dynamic_shared_size_bytes = 0

    def __init__(self, source: Source, kernel: str, launches: list[Launch]):
        self.source, self.kernel, self.launches = source, kernel, launches

    def __call__(self, grid: tuple[int, ...], block: tuple[int], values: Sequence[Any], shared_mem: int) -> None:
        moved = 0
        for parameter, value in zip(self.source.signature(self.kernel).parameters, values):
            if isinstance(value, Array):
                moved += value.nbytes
                if parameter.ctype == "unsigned long long":  # a table of addresses: what lies there is given, too
                    moved += sum(_memory[at].nbytes for at in value.get().ravel().tolist() if at in _memory)
        self.launches.append(Launch(self.source.path.name, self.kernel, grid, block[0], shared_mem, moved))


# ---- the stand-in for CuPy -------------------------------------------------------------------------------


class Device:
    """A GPU, as far as wrappers ask for it."""

    id = 0

    def __init__(self, arch: int):
        self.compute_capability = str(arch)
        self.attributes = {
            "MultiProcessorCount": MULTIPROCESSORS[arch],
            "MaxSharedMemoryPerBlockOptin": MULTIPROCESSOR[arch].shared_of_block,
        }

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


_memory: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()  # by address, while it lives


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """A CuPy array of zeros. They lie in a NumPy array that the system gives no memory until someone touches it."""

    def __init__(self, numbers: np.ndarray, device: Device):
        self._numbers, self.device = numbers, device
        if numbers.base is None and numbers.size:
            _memory[numbers.ctypes.data] = numbers

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(ptr=self._numbers.ctypes.data, numbers=self._numbers)

    @property
    def __cuda_array_interface__(self) -> dict:
        return self._numbers.__array_interface__

    def get(self) -> np.ndarray:
        return self._numbers

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._numbers, name)
        return on_device(value, self.device) if callable(value) else wrapped(value, self.device)

    def __getitem__(self, key: Any) -> Any:
        return wrapped(self._numbers[unwrapped(key)], self.device)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __len__(self) -> int:
        return len(self._numbers)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **settings: Any) -> Any:
        return on_device(getattr(ufunc, method), self.device)(*args, **settings)


def stand_in(device: Device) -> ModuleType:
    """A module `cupy` whose arrays are on this device: NumPy's functions, of which some have less to do."""
    cupy = ModuleType("cupy")

    def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        return Array(np.zeros(shape, dtype, order), device)

    def like(x: Array, dtype: Any = None) -> Array:
        return zeros(x.shape, x.dtype if dtype is None else dtype)

    def over(shape: tuple[int], dtype: Any, memory: SimpleNamespace) -> Array:
        """What `cupy.ndarray` makes of another array's memory."""
        return Array(np.lib.stride_tricks.as_strided(memory.numbers, shape, (np.dtype(dtype).itemsize,)), device)

    def other(name: str) -> Any:
        value = getattr(np, name)
        return value if isinstance(value, type) else on_device(value, device)

    cupy.__dict__.update(
        empty=zeros, zeros=zeros, empty_like=like, zeros_like=like, ascontiguousarray=like, ndarray=over,
        cuda=SimpleNamespace(Device=lambda number=None: device), __getattr__=other,
    )  # fmt: skip
    return cupy


def on_device(function: Callable, device: Device) -> Callable:
    """A function of NumPy as one that takes and gives arrays on this device."""

    def call(*args: Any, **settings: Any) -> Any:
        result = function(*unwrapped(args), **{name: unwrapped(value) for name, value in settings.items()})
        return wrapped(result, device)

    return call


def unwrapped(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(unwrapped(v) for v in value)
    return value._numbers if isinstance(value, Array) else value


def wrapped(value: Any, device: Device) -> Any:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return Array(value, device) if isinstance(value, np.ndarray) else value
