"""Which array library and which kernels an array uses, and moving arrays between devices.

A device is a property of an array, never of the process: every question here is answered by looking at the
array itself, so CPU and GPU tensors live side by side.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray


def on_gpu(array: Array) -> bool:
    return not isinstance(array, (np.ndarray, np.generic)) and hasattr(array, "__cuda_array_interface__")


def array_module(array: Array) -> ModuleType:
    """The library that `array` belongs to: `numpy` or `cupy` (also written `xp` in the array world)."""
    return importlib.import_module("cupy") if on_gpu(array) else np


def device_of(array: Array) -> str:
    """'cpu', or 'cuda:0' and so on for a CuPy array."""
    return f"cuda:{array.device.id}" if on_gpu(array) else "cpu"


def kernels_for(array: Array) -> ModuleType:
    """The kernels for arrays such as this one: `kernels.cuda` or `kernels.cpu`, or `kernels.reference` where the
    environment says MINIGEN_KERNELS=reference (for reading along, and for bisecting a suspected kernel)."""
    if on_gpu(array):
        return importlib.import_module("kernels.cuda")
    return _cpu_kernels(os.environ.get("MINIGEN_KERNELS"))


@cache
def _cpu_kernels(choice: str | None) -> ModuleType:
    if choice not in (None, "", "reference"):
        raise ValueError(f"MINIGEN_KERNELS={choice!r}: the only choice besides leaving it unset is 'reference'")
    return importlib.import_module("kernels.reference" if choice else "kernels.cpu")


def pays(size: int, *arrays: Any) -> bool:
    """Whether a kernel that takes the place of NumPy's functions takes these arrays, and has enough to do: the first
    has at least `size` numbers. Below that, the call costs more than it saves."""
    first = arrays[0]
    return (
        type(first) is np.ndarray
        and first.size >= size
        and first.dtype in _FLOATS
        and all([type(a) is np.ndarray and a.dtype == first.dtype and a.flags.c_contiguous for a in arrays])
    )


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def to_device(array: Array, device: str) -> Array:
    """A copy of `array` on 'cpu', 'cuda' or 'cuda:1' (the array itself if it is there already)."""
    kind = str(device).partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is unknown: choose 'cpu' or 'cuda'")
    if device in ("cuda" if on_gpu(array) else "cpu", device_of(array)):
        return array
    if kind == "cpu":
        return array.get()
    cupy, number = _cupy(device), str(device).partition(":")[2]
    with cupy.cuda.Device(int(number) if number else None):
        return cupy.asarray(array)


def _cupy(device: str) -> ModuleType:
    """CuPy, or one sentence about what is missing."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise RuntimeError(
            f"device {device!r}: CuPy is not installed ({error}); pip install -e '.[cuda12]' or '.[cuda13]', "
            "whichever the driver supports"
        ) from error
    try:
        gpus = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device {device!r}: there is no GPU, or no driver for it ({error})") from error
    number = str(device).partition(":")[2] or "0"
    if not number.isdigit() or int(number) >= gpus:
        raise RuntimeError(f"device {device!r}: there are {gpus} GPUs, 'cuda:0' to 'cuda:{gpus - 1}'")
    return cupy


def set_num_threads(n: int) -> None:
    """How many threads the CPU kernels use from now on, 1 to the number of cores; results do not depend on it."""
    importlib.import_module("kernels.cpu.jit").set_num_threads(n)


def get_num_threads() -> int:
    """How many threads the CPU kernels use."""
    return importlib.import_module("kernels.cpu.jit").get_num_threads()


def release_memory() -> None:
    """Hands freed memory back to the system: up to 1 GiB of it is kept for the arrays of the next training step."""
    importlib.import_module("kernels.cpu.memory").release_memory()
