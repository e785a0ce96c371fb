"""Calls of every function of `kernels.cuda` that launch every instance of every kernel.

A template's arguments are chosen by a wrapper: by types, by whether channels come in vectors, by the kind of GPU, by
`minigen.float32_matmul_precision`. The gate compiles what these calls launch; the tests run them on the emulator against
`kernels.reference`, and fail if any other test launches an instance that none of these does.

`k` is the module of kernels, `new(*shape)` a new array of the type that the call is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kernels import cuda
from kernels.cuda.report.recording import Launch, recording
from kernels.precision import PRECISIONS, float32_matmul_precision

FLOATS = ("float32", "float64")
HALF_TOO = (*FLOATS, "float16")


class Call(NamedTuple):
    name: str
    dtype: str
    run: Callable[[Any, Callable[..., Any]], Any]  # of (k, new): arrays


def calls() -> Iterator[Call]:
    for dtype in FLOATS:
        for channels in (3, 8):
            yield Call(f"upsample, {channels} channels", dtype, partial(upsample, channels))


def upsample(channels: int, k: Any, new: Callable[..., Any]) -> Any:
    return k.upsample(new(1, 3, 2, channels), (2, 3))


def launched_by_calls(arch: int) -> list[Launch]:
    """All launches that the calls make on a GPU of this kind."""
    with recording(arch) as (cupy, launches):
        for precision in PRECISIONS:
            with float32_matmul_precision(precision):
                for call in calls():
                    call.run(cuda, lambda *shape, dtype=call.dtype: cupy.empty(shape, np.dtype(dtype)))
    return launches
