"""The benchmark's rows on GPUs that are not there: what they launch, and the least time that it could take.

A GPU cannot do a row's work in less than the longer of its two parts takes at peak rates, the arithmetic and the moving
of bytes (Williams et al. 2009, "Roofline"). What is counted is what the definition needs: each array among a kernel's
arguments and results is moved once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kernels import cuda
from kernels.benchmark.device import Array, Device
from kernels.benchmark.events import alternate
from kernels.benchmark.gpu import NUMBERS_OF
from kernels.benchmark.peers import precision
from kernels.benchmark.rows import KERNEL_ROWS
from kernels.cuda.report.recording import Launch, recording


class Gpu(NamedTuple):
    """The peaks that NVIDIA's data sheet gives, without sparsity."""

    name: str
    arch: int
    bytes: float  # from and to memory in a second
    flops: dict[str, float]  # in a second, by the numbers that products are taken of

    def bound(self, flops: float, moved: float, numbers: str) -> tuple[float, str]:
        """(seconds, 'flops' or 'bytes'): the least time for this work, and what sets it."""
        return max((flops / self.flops[numbers], "flops"), (moved / self.bytes, "bytes"))


A100 = Gpu("A100", 80, 2.04e12, {"float32": 19.5e12, "TF32": 156e12, "float16": 312e12})  # SXM, 80 GB
H100 = Gpu("H100", 90, 3.35e12, {"float32": 67e12, "TF32": 495e12, "float16": 989e12})  # SXM


class Recorded(Device):
    """The stand-in of recording.py, whose arrays need no numbers."""

    def normal(self, *shape: int) -> Array:
        return self.library.empty(shape, "float16" if self.numbers == "float16" else "float32")


@dataclass(frozen=True)
class Row:
    kind: str
    name: str
    numbers: str
    flops: float
    moved: float  # bytes
    launches: tuple[Launch, ...]  # on an A100

    @property
    def intensity(self) -> float:
        """Flops for a byte."""
        return self.flops / self.moved

    def bound(self, gpu: Gpu) -> tuple[float, str]:
        return gpu.bound(self.flops, self.moved, self.numbers)


def rows() -> Iterator[Row]:
    """The benchmark's rows of kernels, each in the precisions that the benchmark times it in."""
    for row in KERNEL_ROWS:
        for numbers in NUMBERS_OF.get(row.kind, ("float32",)):
            with recording(A100.arch) as (cupy, launches):
                on = Recorded("cuda", cuda, cupy, alternate, torch=False, numbers=numbers)
                with precision(on):
                    work = row.build(on)
                    launches.clear()
                    work.ours()
            yield Row(row.kind, on.named(row.name), numbers, work.flops, work.moved, tuple(launches))
