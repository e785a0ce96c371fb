"""What a row of the benchmark is. (Nothing is imported here that changes how PyTorch runs in a process of its own.)"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[], Any]


class Work(NamedTuple):
    """What a row runs, and how much work that is.

    `flops` counts multiplications and additions as the definition of the kernel has them; `moved` the bytes of the
    arrays that each pass must read or write at least once.
    """

    ours: Run
    peers: dict[str, Run]
    flops: float = 0
    moved: float = 0


@dataclass(frozen=True)
class Case:
    """A row that compares two runs. It says what it runs when it is built: arrays are made for one row at a time."""

    kind: str
    name: str
    kernels: tuple[str, ...]  # names in kernels.KERNELS
    build: Callable[[Any], Work]  # on a Device
    floor: float | None = None


class Comparison(NamedTuple):
    ours: float  # seconds, or bytes of memory
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None  # peer / ours


@dataclass(frozen=True)
class Measured:
    """A row with a measurement of its own."""

    kind: str
    name: str
    measure: Callable[[int], Comparison]  # for a number of rounds
    unit: str = "s"
    floor: float = 1.0


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def in_turn(runs: dict[str, Run], rounds: int, seconds: float, most: int) -> Iterator[tuple[str, Run]]:
    """All runs in every round, in the other direction every other one. At least `rounds` rounds, and up to `most` while
    they fit into `seconds`."""
    started = time.perf_counter()
    for i in range(most):
        if i >= rounds and time.perf_counter() - started > seconds:
            break
        yield from reversed(runs.items()) if i % 2 else runs.items()
