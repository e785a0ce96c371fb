"""What the rows run on: a CPU, or a GPU with its numbers in one of three precisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.benchmark.row import Run, normal

Array = Any  # numpy.ndarray or cupy.ndarray
NUMBERS = ("float32", "TF32", "float16")


@dataclass(frozen=True)
class Device:
    """The kernels for a device and the library of its arrays, which is a peer as well."""

    name: str  # as in minigen: "cpu" or "cuda"
    kernels: Any  # the module
    library: Any  # numpy or cupy
    alternate: Callable[..., dict[str, list[float]]]  # times runs, as timing.alternate does
    torch: bool  # whether PyTorch, if it is installed, can use the device
    numbers: str = "float32"  # what products are taken of; what they are stored in is float32 for TF32

    def named(self, row: str) -> str:
        return row if self.numbers == "float32" else f"{row}, {self.numbers}"

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self.library.asarray(normal(*shape).astype("float16" if self.numbers == "float16" else "float32"))

    def array(self, x: np.ndarray) -> Array:
        return self.library.asarray(x)

    def in_library(self, run: Run) -> dict[str, Run]:
        """The peer that calls the arrays' own library."""
        return {self.library.__name__: run}
