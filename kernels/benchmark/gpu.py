"""The benchmark on a GPU: its rows, in up to three precisions, and what is said of the machine."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace

import numpy as np

from kernels.benchmark import cases
from kernels.benchmark.device import NUMBERS, Device
from kernels.benchmark.events import alternate
from kernels.benchmark.peers import precision, torch
from kernels.benchmark.row import Case, Run
from kernels.benchmark.rows import KERNEL_ROWS, MODEL_ROWS
from kernels.benchmark.timing import Machine

# What rows of a kind are timed in, where not in float32 alone.
NUMBERS_OF = {
    "matrix product": NUMBERS,
    "convolution": NUMBERS,
    "attention": NUMBERS,
    "norm": ("float32", "float16"),
    "model": ("float32", "TF32"),
    "modulation": ("float32", "TF32"),
}


SIDE = 8192  # of the matrices whose product shows the peak
COPIED = 2**30  # bytes of the two arrays that show the memory's rate


def rows() -> list[tuple[Case, Device]]:
    """Every row with the devices that it runs on: one GPU, its numbers in different precisions."""
    device = gpu()
    return [
        (replace(row, floor=None), replace(device, numbers=numbers))  # floors are those of a CPU
        for row in (*MODEL_ROWS, *KERNEL_ROWS)
        for numbers in NUMBERS_OF.get(row.kind, ("float32",))
    ]


def gpu() -> Device:
    """The first GPU; the program ends with a sentence where there is none."""
    from minigen.backend import to_device

    try:
        to_device(np.zeros(1), "cuda")
    except RuntimeError as error:
        sys.exit(f"python -m kernels.benchmark: {error}")
    import cupy

    from kernels import cuda

    usable = bool(torch and torch.cuda.is_available())
    if usable:
        torch.set_default_device("cuda")  # what peers make is made there
        torch.backends.cudnn.benchmark = True  # cuDNN tries its algorithms and keeps the fastest
    return Device("cuda", cuda, cupy, alternate, torch=usable)


def about() -> dict[str, str]:
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "device": properties["name"].decode(),
        "date": datetime.date.today().isoformat(),
        "driver": version(runtime.driverGetVersion()),
        "cuda": version(runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
        "torch": torch.__version__ if torch and torch.cuda.is_available() else "not installed for CUDA",
    }


def version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def measure_machine(quick: bool = False) -> Machine:
    """The fastest of all products, ours and the peers', and copies of arrays that no cache holds."""
    device, rounds = gpu(), 3 if quick else 9
    gflops = {}
    for numbers in NUMBERS:
        on = replace(device, numbers=numbers)
        with precision(on):
            product = cases.matmul(SIDE, SIDE, SIDE, on)
            gflops[numbers] = product.flops / fastest({"ours": product.ours, **product.peers}, rounds) / 1e9
    x, y = device.library.zeros((2, COPIED // 8), np.float32)
    seconds = fastest({"copy": lambda: device.library.copyto(y, x)}, rounds)
    return Machine(gflops, {COPIED: COPIED / seconds / 1e9})


def fastest(runs: dict[str, Run], rounds: int) -> float:
    return min(min(seconds) for seconds in alternate(runs, rounds).values())
