"""The benchmark on the CPU: its rows, and what is said of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import numba
import numpy as np

from kernels import cpu
from kernels.benchmark.device import Device
from kernels.benchmark.peers import torch
from kernels.benchmark.row import Case, Measured
from kernels.benchmark.rows import ROWS
from kernels.benchmark.timing import alternate, measure_machine
from kernels.cpu.jit import get_num_threads
from kernels.cpu.vector import VECTOR_BYTES

CPU = Device("cpu", cpu, np, alternate, torch=True)

__all__ = ["CPU", "about", "measure_machine", "rows"]


def rows() -> list[tuple[Case | Measured, Device]]:
    if torch:
        torch.set_num_threads(get_num_threads())
    return [(row, CPU) for row in ROWS]


def about() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": str(get_num_threads()),
        "bits in a vector": str(8 * VECTOR_BYTES),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__ if torch else "not installed",
    }
