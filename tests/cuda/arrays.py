"""NumPy arrays on the GPU, in the same kind of memory layout; and in which order the emulator runs threads."""

from contextlib import contextmanager

import numpy as np


def on_device(cupy, value):
    """`value` with every NumPy array in it, and in its lists and tuples, on the GPU."""
    if isinstance(value, (list, tuple)):
        return type(value)(on_device(cupy, v) for v in value)
    return _moved(cupy, value) if isinstance(value, np.ndarray) else value


def _moved(cupy, x):
    if x.flags.c_contiguous or x.size == 0:
        return cupy.asarray(x)
    if x.strides[0] < 0:
        return _moved(cupy, x[::-1])[::-1]
    if x.T.flags.c_contiguous:
        return cupy.asarray(x.T).T
    wider = cupy.full((*x.shape[:-1], 2 * x.shape[-1]), 99, x.dtype)  # what lies between must not be read
    wider[..., ::2] = cupy.asarray(np.ascontiguousarray(x))
    return wider[..., ::2]


def on_cpu(value):
    """The NumPy array of a CuPy array; anything else as it is."""
    return value.get() if hasattr(value, "get") else value


@contextmanager
def scheduled(cupy, seed):
    """Inside, the emulator runs blocks and threads in the order of this seed (0: one after another)."""
    before = getattr(cupy, "schedule_seed", 0)
    cupy.schedule_seed = seed  # a real GPU does as it likes
    try:
        yield
    finally:
        cupy.schedule_seed = before
