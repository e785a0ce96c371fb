"""A strict stand-in for CuPy on a machine without a GPU: after `install()`, `import cupy` gives this module.

What the real one refuses is refused: implicit conversion to NumPy, NumPy arrays as operands, names and keywords that it
does not have (cupy_api.json), dtypes that a GPU does not know. Kernels run on the emulator. Stricter than the real one
is fine here, laxer would be a bug.
"""

import sys
import types

import numpy as np

from . import fake_array, real_cupy
from . import fake_cuda as cuda
from .fake_array import ndarray, stats
from .fake_kernels import RawKernel as RawKernel
from .fake_kernels import RawModule as RawModule

__version__ = real_cupy.API["version"]
schedule_seed = 0  # in which order the emulator runs blocks and threads; see tests/cuda/arrays.py


def install():
    """`import cupy` gives the stand-in from now on."""
    module = sys.modules[__name__]
    sys.modules |= {"cupy": module, "cupy.cuda": cuda}
    return module


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, np.ndarray):
        stats["host_to_device"] += obj.nbytes
        host = obj
    else:
        host = obj._host if isinstance(obj, ndarray) else fake_array.unwrap(obj)  # from any device
    return ndarray._of(np.array(host, dtype=dtype, order=order, ndmin=ndmin))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    here = isinstance(a, ndarray) and a.device == cuda.Device()
    if here and dtype in (None, a.dtype) and order in (None, "K"):
        return a
    return array(a, dtype, order=order or "K")


def ascontiguousarray(a, dtype=None):
    return fake_array.wrap(np.ascontiguousarray(fake_array.unwrap(a), dtype))


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return ndarray._of(fake_array.poisoned(np.empty_like(fake_array.unwrap(prototype), dtype, order, shape=shape)))


def get_array_module(*args):
    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in args) else np


def get_default_memory_pool():
    return types.SimpleNamespace(used_bytes=lambda: 0, total_bytes=lambda: 0, free_all_blocks=lambda: None)


def __getattr__(name):
    """What else the real module has, from NumPy."""
    if not real_cupy.has("cupy", name):
        raise AttributeError(f"module 'cupy' has no attribute '{name}'")
    numpys = getattr(np, name)
    if not callable(numpys) or isinstance(numpys, type):
        return numpys

    def function(*args, **kwargs):
        if args and isinstance(args[0], list) and not any(isinstance(item, ndarray) for item in args[0]):
            raise TypeError("Unsupported type <class 'list'>")
        return fake_array.call("cupy", name, numpys, args, kwargs)

    function.__name__ = name
    return function
