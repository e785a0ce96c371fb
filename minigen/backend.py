"""Which array library and which kernels an array uses, and moving arrays between devices.

A device is a property of an array, never of the process: every question here is answered by looking at the
array itself, so CPU and GPU tensors live side by side.

The code around this file says `np.exp(x)` or `np.where(c, x, y)` for both kinds of arrays: CuPy's arrays tell NumPy's
functions to call CuPy's (by `__array_ufunc__` and `__array_function__`, NEP 13 and 18). `array_module(x)` is for what
no array is handed to: making new arrays. A NumPy array never meets a CuPy array by itself; `to_device` moves it first.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray


def on_gpu(array: Array) -> bool:
    return not isinstance(array, (np.ndarray, np.generic)) and hasattr(type(array), "__cuda_array_interface__")


def array_module(array: Array) -> ModuleType:
    """The library that `array` belongs to: `numpy` or `cupy` (also written `xp` in the array world)."""
    return importlib.import_module("cupy") if on_gpu(array) else np


def device_of(array: Array) -> str:
    """'cpu', or 'cuda:0' and so on for a CuPy array."""
    return f"cuda:{array.device.id}" if on_gpu(array) else "cpu"


def on_device_of(array: Array) -> AbstractContextManager:
    """Context manager: inside, CuPy computes, and makes new arrays, on the device that `array` is on. (It does so on
    the current device, whichever its arguments are on.) For a NumPy array nothing changes."""
    return _ANYWHERE if type(array) is np.ndarray or not on_gpu(array) else array.device


_ANYWHERE = nullcontext()


def kernels_for(array: Array) -> ModuleType:
    """The kernels for arrays such as this one: `kernels.cuda` or `kernels.cpu`; where the environment says
    MINIGEN_KERNELS=reference (for reading along, and for bisecting a suspected kernel), the specification, which GPU
    arrays go to by way of the CPU."""
    return _kernels(on_gpu(array), os.environ.get("MINIGEN_KERNELS"))


def kernels_on(device: str) -> ModuleType:
    """The kernels for 'cpu' or 'cuda', as in `kernels_for`."""
    return _kernels(_kind(device) == "cuda", os.environ.get("MINIGEN_KERNELS"))


@cache
def _kernels(gpu: bool, choice: str | None) -> ModuleType:
    if choice not in (None, "", "reference"):
        raise ValueError(f"MINIGEN_KERNELS={choice!r}: the only choice besides leaving it unset is 'reference'")
    if gpu:
        return importlib.import_module("kernels.cuda.through_reference" if choice else "kernels.cuda")
    return importlib.import_module("kernels.reference" if choice else "kernels.cpu")


def pays(size: int, *arrays: Any) -> bool:
    """Whether a kernel that takes the place of the library's functions takes these arrays, and has enough to do: on the
    CPU, the first has at least `size` numbers, below which the call costs more than it saves. On a GPU there is always
    one call, and the kernel does in it what takes the library several passes over memory."""
    first = arrays[0]
    kind = type(first)
    if kind is not np.ndarray and not on_gpu(first):
        return False
    return (
        (kind is not np.ndarray or first.size >= size)
        and first.dtype in _FLOATS
        and all([type(a) is kind and a.dtype == first.dtype and a.flags.c_contiguous for a in arrays])
    )


def kernels_take(array: Any) -> bool:
    """Whether kernels take this array, of any size and layout. What rounds otherwise in a kernel than in the library
    must not be chosen by size or layout, which a batch has a part in: a sample would depend on how many there are."""
    return (type(array) is np.ndarray or on_gpu(array)) and array.dtype in _FLOATS


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _kind(device: str) -> str:
    """'cpu' or 'cuda'."""
    kind = str(device).partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is unknown: choose 'cpu' or 'cuda'")
    return kind


def is_on(array: Array, device: str) -> bool:
    """Whether `array` is on 'cpu', 'cuda' (any GPU) or 'cuda:1' (that one)."""
    return _kind(device) == "cpu" if not on_gpu(array) else device in ("cuda", device_of(array))


def to_device(array: Array, device: str) -> Array:
    """A copy of `array` on 'cpu', 'cuda' or 'cuda:1' (the array itself if it is there already)."""
    if is_on(array, device):
        return array
    if _kind(device) == "cpu":
        return array.get()
    with using(device):
        return _cupy(device).asarray(array)


def check_one_device(name: str, arrays: Sequence[Array]) -> None:
    """ValueError, naming the operation, if arrays are on different devices: nothing moves unless it is told to."""
    if len({device_of(a) for a in arrays}) > 1:
        devices = ", ".join(f"{a.shape} on {device_of(a)}" for a in arrays)
        raise ValueError(f"{name}: arguments on different devices ({devices}); move them with .to(device)")


def using(device: str) -> AbstractContextManager:
    """Context manager: inside, CuPy makes new arrays on 'cuda:1', if that is the device; 'cpu' changes nothing."""
    if _kind(device) == "cpu":
        return nullcontext()
    number = str(device).partition(":")[2]
    return _cupy(device).cuda.Device(int(number) if number else None)


def _cupy(device: str) -> ModuleType:
    """CuPy, or one sentence about what is missing."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise RuntimeError(
                f"device {device!r}: CuPy is not installed ({error}); pip install -e '.[cuda12]' or '.[cuda13]', "
                "whichever the driver supports"
            ) from error
        raise RuntimeError(f"device {device!r}: CuPy is installed, but cannot be imported ({error})") from error
    try:
        gpus = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device {device!r}: there is no GPU, or no driver for it ({error})") from error
    if gpus == 0:
        raise RuntimeError(f"device {device!r}: there is no GPU")
    number = str(device).partition(":")[2] or "0"
    if not number.isdigit() or int(number) >= gpus:
        known = "there is one GPU, 'cuda:0'" if gpus == 1 else f"there are {gpus} GPUs, 'cuda:0' to 'cuda:{gpus - 1}'"
        raise RuntimeError(f"device {device!r}: {known}")
    return cupy


def set_num_threads(n: int) -> None:
    """How many threads the CPU kernels use from now on, 1 to the number of cores; results do not depend on it."""
    importlib.import_module("kernels.cpu.jit").set_num_threads(n)


def get_num_threads() -> int:
    """How many threads the CPU kernels use."""
    return importlib.import_module("kernels.cpu.jit").get_num_threads()


def release_memory() -> None:
    """Hands freed memory back to the system, of which up to 1 GiB is kept for the arrays of the next training step; and
    what CuPy keeps back to the GPU."""
    importlib.import_module("kernels.cpu.memory").release_memory()
    if cupy := sys.modules.get("cupy"):
        cupy.get_default_memory_pool().free_all_blocks()
