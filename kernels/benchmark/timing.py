"""Fair times on a machine that others use too, and what that machine can do at most."""

from __future__ import annotations

import gc
import math
import time
from typing import NamedTuple

import numpy as np

from kernels import cpu
from kernels.benchmark.row import Comparison, Run, in_turn
from kernels.cpu.jit import get_num_threads, parallel_kernel, share
from kernels.cpu.vector import lanes, load, store

SAMPLE = 3e-3  # seconds that a sample takes at least: shorter runs are repeated
PAUSE = 1e-2  # seconds before each sample, in which the threads of the other libraries fall asleep
MOST_ROUNDS = 31

# ---- times ---------------------------------------------------------------------------------------------


def alternate(runs: dict[str, Run], rounds: int, seconds: float = 1.0) -> dict[str, list[float]]:
    """Seconds for each run in each round: all take their turn in every round, so what disturbs a round disturbs all.

    At least `rounds` rounds, and more while they fit into `seconds`.
    """
    for run in runs.values():
        run()
    repeats = {name: math.ceil(SAMPLE / max(timed(run, 1), 1e-7)) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in in_turn(runs, rounds, seconds, MOST_ROUNDS):
        time.sleep(PAUSE)
        times[name].append(timed(run, repeats[name]))
    return times


def timed(run: Run, repeats: int) -> float:
    """Seconds that a run takes, the mean over so many."""
    gc.disable()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    seconds = (time.perf_counter() - start) / repeats
    gc.enable()
    return seconds


def compare(times: dict[str, list[float]]) -> Comparison:
    """Ours against the fastest peer, from the times of both in each round."""
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    ours = medians.pop("ours")
    if not medians:
        return Comparison(ours)
    peer = min(medians, key=medians.__getitem__)
    ratio = float(np.median(np.divide(times[peer], times["ours"])))
    return Comparison(ours, medians[peer], peer, ratio)


# ---- the machine ---------------------------------------------------------------------------------------


class Machine(NamedTuple):
    """What this machine was seen to do at most."""

    gflops: dict[str, float]  # 1e9 multiplications and additions in a second, of products of "float32" and so on
    gbytes: dict[int, float]  # 1e9 bytes read and written in a second, of a copy, for bytes in its two arrays

    def limit(self, flops: float, moved: float, numbers: str = "float32") -> tuple[float, str]:
        """(seconds, 'flops' or 'bytes'): the least time for this work, and what sets it."""
        fits = [size for size in self.gbytes if size >= moved] or [max(self.gbytes)]
        arithmetic, memory = flops / self.gflops[numbers] / 1e9, moved / self.gbytes[min(fits)] / 1e9
        return (arithmetic, "flops") if arithmetic > memory else (memory, "bytes")


def measure_machine(quick: bool = False) -> Machine:
    n = 1536 if quick else 2048
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(np.float32)
    times = alternate({"ours": lambda: cpu.matmul(a, b), "numpy": lambda: a @ b}, 3 if quick else 9)
    gflops = 2 * n**3 / min(min(seconds) for seconds in times.values()) / 1e9
    sizes = [2**20, 2**24, 2**27]
    return Machine({"float32": gflops}, {size: copy_rate(size) for size in sizes})


def copy_rate(size: int) -> float:
    """1e9 bytes in a second, read and written by all threads in a copy from one array to another, together `size`."""
    x, y = np.ones((2, size // 8), np.float32)
    repeats = max(1, 2**26 // size)
    threads = get_num_threads()

    def run() -> None:
        _copy(size, x, y, repeats, parts=threads)

    return size * repeats / min(alternate({"copy": run}, 9)["copy"]) / 1e9


@parallel_kernel
def _copy(part, parts, x, y, repeats):
    """A part copies what is its own again and again, so that it stays in its core's cache if it fits there."""
    vectors, n = x.size // lanes(x), lanes(x)
    for _ in range(repeats):
        for i in range(share(vectors, part, parts) * n, share(vectors, part + 1, parts) * n, n):
            store(y, i, load(x, i))
