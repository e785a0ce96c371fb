"""Random numbers from a counter: element i of draw n of seed s is a function of (s, n, i) and of nothing else.

The bits come from Philox4x32-10 (Salmon et al. 2011), in `kernels`. A generator is therefore two integers, the
seed and the number of the next draw. Saving them continues a run exactly, and the thread count, the batch size and
the device change nothing (float32 normal numbers differ between devices in the last bits).

    minigen.manual_seed(0)
    z = minigen.randn(16, 100)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .backend import kernels_on, on_device_of, using
from .tensor import Tensor

_PERMUTATION_ROW = 2**32 - 1  # a row of the counter that no array is long enough to reach


class Generator:
    """A stream of draws. `seed` is a whole number from 0 to 2^64 - 1; `draw` is the number of the next draw."""

    def __init__(self, seed: int = 0):
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of `seed` from its first draw."""
        self.seed, self.draw = _counter("manual_seed", "the seed", seed), 0
        return self

    def next_draw(self) -> int:
        """Takes the number of one draw."""
        self.draw += 1
        return self.draw - 1

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, "draw": self.draw}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed, self.draw = (_counter("load_state_dict", repr(key), state.get(key)) for key in ("seed", "draw"))


def _counter(name: str, what: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
        raise ValueError(f"{name}: {what} must be a whole number from 0 to 2^64 - 1, got {value!r}")
    return int(value)


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator, and returns it."""
    return default_generator.manual_seed(seed)


@contextmanager
def replay(state: dict[str, int]) -> Iterator[None]:
    """Inside, the default generator draws again from an earlier state; afterwards it goes on as before."""
    now = default_generator.state_dict()
    default_generator.load_state_dict(state)
    try:
        yield
    finally:
        default_generator.load_state_dict(now)


def randn(*shape: Any, dtype: Any = np.float32, generator: Generator | None = None, device: str = "cpu") -> Tensor:
    """Independent standard normal numbers."""
    return _draw("normal", shape, dtype, generator, device)


def rand(*shape: Any, dtype: Any = np.float32, generator: Generator | None = None, device: str = "cpu") -> Tensor:
    """Uniform numbers in [0, 1)."""
    return _draw("uniform", shape, dtype, generator, device)


def randint(low: int, high: int, shape: Any, generator: Generator | None = None, device: str = "cpu") -> Tensor:
    """Whole numbers from low to high - 1, int64. (The range may span at most 2^24 numbers.)"""
    if not 0 < high - low <= 2**24:
        raise ValueError(f"randint: needs low < high, at most 2^24 apart, got {low} and {high}")
    u = _draw("uniform", (shape,), np.float64, generator, device).data
    with on_device_of(u):
        return Tensor(low + (u * (high - low)).astype(np.int64))


def permutation(n: int, seed: int, draw: int) -> np.ndarray:
    """The numbers 0 to n - 1 in random order, int64: a function of its arguments alone."""
    if n < 0:
        raise ValueError(f"permutation: n must not be negative, got {n}")
    words = kernels_on("cpu").philox(seed, draw, _PERMUTATION_ROW, (n + 1) // 2)  # two 64-bit keys in a block
    return np.argsort(words.view(np.uint64).ravel()[:n], kind="stable")


def _draw(kind: str, shape: tuple, dtype: Any, generator: Generator | None, device: str) -> Tensor:
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    generator = generator or default_generator
    if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in shape):
        raise ValueError(f"random: the shape must be of whole numbers from 0, got {shape}")
    size = int(np.prod(shape, dtype=int))
    with using(device):
        make = getattr(kernels_on(device), kind)
        return Tensor(make((1, size), generator.seed, generator.next_draw(), dtype=dtype).reshape(shape))
