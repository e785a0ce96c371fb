"""The specification for CuPy arrays, by way of the CPU: what MINIGEN_KERNELS=reference runs on a GPU.

Slow, and plain: where a result differs from that of `kernels.cuda`, one kernel or the other is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from kernels import KERNELS, reference
from kernels.cuda.arrays import on_gpu


def _through_reference(name: str) -> Callable:
    """The kernel called `name` of `kernels.reference`, for CuPy arrays."""
    kernel = getattr(reference, name)

    @wraps(kernel)
    def on_the_cpu(*args: Any, **kwargs: Any) -> Any:
        host_args, host_kwargs = _on_cpu(args), {key: _on_cpu(value) for key, value in kwargs.items()}
        result = kernel(*host_args, **host_kwargs)
        given = [*args, *kwargs.values()]
        with _device_of(given):
            if name.endswith("_"):  # it changed arrays in place
                _take_over(given, [*host_args, *host_kwargs.values()])
            return _on_gpu(result)

    return on_the_cpu


def _on_cpu(value: Any) -> Any:
    """`value` with every CuPy array in it, and in its lists and tuples, on the CPU."""
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(v) for v in value)
    return value.get() if on_gpu(value) else value


def _device_of(values: Any) -> Any:
    """The device of the first CuPy array among the values, and in their lists and tuples; without one, the current."""
    import cupy

    arrays = (v for value in values for v in (value if isinstance(value, (list, tuple)) else [value]))
    return next((a.device for a in arrays if on_gpu(a)), cupy.cuda.Device())


def _on_gpu(value: Any) -> Any:
    import cupy

    if isinstance(value, tuple):
        return tuple(_on_gpu(v) for v in value)
    return cupy.asarray(value) if isinstance(value, np.ndarray) else value


def _take_over(given: Any, changed: Any) -> None:
    """Copies the values of `changed` to the CuPy arrays of `given`."""
    import cupy

    if isinstance(given, (list, tuple)):
        for one, other in zip(given, changed):
            _take_over(one, other)
    elif on_gpu(given):
        given[...] = cupy.asarray(changed)


globals().update({name: _through_reference(name) for name in KERNELS})
