"""The rows of what a program takes as a whole: the memory of its training steps, the time until its first. Each runs in
a process of its own, which is this module called as a program."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec

from kernels.benchmark.row import Comparison
from kernels.benchmark.steps import EXAMPLE, example_step, our_step, torch_step

MOST_COLD, MOST_WARM = 60.0, 3.0  # seconds

# ---- memory --------------------------------------------------------------------------------------------


def peak_memory(rounds: int) -> Comparison:
    """Bytes by which a training step raises the most memory that a process ever had; each in a process of its own."""
    ours = min(float(in_process("memory", "ours")) for _ in range(2))  # the first may have compiled kernels
    if find_spec("torch") is None:
        return Comparison(ours)
    peers = {layout: float(in_process("memory", layout)) for layout in ("torch NHWC", "torch NCHW")}
    best = min(peers, key=peers.__getitem__)
    return Comparison(ours, peers[best], best, peers[best] / ours)


def grown_by_steps(whose: str) -> float:
    if whose == "ours":
        run = our_step(16)
    else:
        import torch

        run = torch_step(16, torch.channels_last if whose == "torch NHWC" else torch.contiguous_format)
    before = most_memory()
    for _ in range(3):
        run()
    return most_memory() - before


def most_memory() -> float:
    """Bytes, of this process so far. (`ru_maxrss` would begin with what the parent process had.)"""
    with open("/proc/self/status") as status:
        return next(1024.0 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


# ---- the first minute ------------------------------------------------------------------------------------


def cold_start(rounds: int) -> Comparison:
    return Comparison(starts()[0], MOST_COLD, "allowed", MOST_COLD / starts()[0])


def warm_start(rounds: int) -> Comparison:
    return Comparison(starts()[1], MOST_WARM, "allowed", MOST_WARM / starts()[1])


@cache
def starts() -> tuple[float, float]:
    """Seconds: until examples/ddpm.py has compiled all its kernels, with none on disk; and from the start of a
    process to the end of its first training step when they are (the better of two)."""
    with tempfile.TemporaryDirectory() as folder:
        cold = seconds_to_start(folder, "everything")
        return cold, min(seconds_to_start(folder, "first step") for _ in range(2))


def seconds_to_start(folder: str, what: str) -> float:
    started = time.time()
    return float(in_process("start", what, NUMBA_CACHE_DIR=folder)) - started


def start_example(what: str) -> float:
    """The time when it was done."""
    step = example_step(64)
    step()
    if what == "everything":
        from minigen.diffusion import Diffusion, UNet

        Diffusion(prediction="x0").sample(UNet(1, **EXAMPLE), (64, 28, 28, 1), steps=2, method="ddpm")
    return time.time()


# ---- processes of their own --------------------------------------------------------------------------------


def in_process(*arguments: str, **environment: str) -> str:
    """What `python -m kernels.benchmark.processes` prints for these arguments."""
    command = [sys.executable, "-m", "kernels.benchmark.processes", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    print({"memory": grown_by_steps, "start": start_example}[sys.argv[1]](sys.argv[2]))
