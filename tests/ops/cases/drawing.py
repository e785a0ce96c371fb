"""How cases draw their arguments: `Draws` draws, `case` registers, `Example` is what comes out."""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minigen import Tensor
from minigen.backend import device_of, to_device


class Draws:
    """Draws shapes, settings and values.

    `int(low, high)` is where every choice comes from: hypothesis, which makes failing examples small, or a plain
    random generator. Values come from a generator with the drawn `seed`. With `tiny`, shapes have few elements, so
    that every one of them can be checked by itself.
    """

    def __init__(self, int: Callable, tiny: bool = False):
        self.int = int
        self.tiny = tiny
        self.seed = int(0, 2**32 - 1)
        self.rng = np.random.default_rng(self.seed)

    # Settings

    def size(self, low: int = 1, high: int = 5) -> int:
        """The length of an axis: at most `high`, or two in a tiny example."""
        return self.int(low, max(low, min(high, 2)) if self.tiny else high)

    def batch(self) -> int:
        """The length of a leading axis: now and then 0."""
        return self.choice(2, 1) if self.tiny else self.choice(2, 1, 3, 2, 3, 2, 1, 0)

    def rarely(self) -> bool:
        return self.int(0, 9) == 9

    def flag(self) -> bool:
        return self.int(0, 1) == 1

    def choice(self, *options: Any) -> Any:
        return options[self.int(0, len(options) - 1)]

    def permutation(self, count: int) -> list[int]:
        left = list(range(count))
        return [left.pop(self.int(0, len(left) - 1)) for _ in range(count)]

    def shape(self, min_axes: int = 0, max_axes: int = 4, empty: bool = True) -> tuple[int, ...]:
        """Sizes 1, 2, 3 and 5, now and then a 0; not more than 40 elements, or 4 in a tiny example."""
        axes = self.choice(*sorted(range(min_axes, max_axes + 1), key=lambda n: abs(n - 2)))
        sizes = [self.choice(2, 3, 1, 5) for _ in range(axes)]
        while math.prod(sizes) > (4 if self.tiny else 40):
            sizes[sizes.index(max(sizes))] -= 1
        if empty and sizes and self.rarely():
            sizes[self.int(0, len(sizes) - 1)] = 0
        return tuple(sizes)

    def broadcast(self, count: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together: one shape without some leading axes, and with length 1 for some others."""
        full = self.shape()
        shapes = []
        for _ in range(count):
            kept = full[self.int(0, len(full)) if self.flag() else 0 :]
            shapes.append(tuple(1 if n and self.int(0, 3) == 3 else n for n in kept))
        return shapes

    def axis(self, ndim: int) -> int:
        return self.int(-ndim, ndim - 1)

    def axes(self, ndim: int) -> Any:
        """None, one axis, or a tuple of axes; some counted from the end."""
        if ndim == 0 or self.int(0, 3) == 0:
            return self.choice(None, ()) if ndim == 0 else None
        if self.flag():
            return self.axis(ndim)
        chosen = self.permutation(ndim)[: self.int(0, ndim)]
        return tuple(a - ndim if self.flag() else a for a in chosen)

    # Values

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def integers(self, low: int, high: int, shape: Sequence[int]) -> np.ndarray:
        """Whole numbers from `low` to `high`, both included."""
        return self.rng.integers(low, high, shape, endpoint=True)

    def bools(self, shape: Sequence[int]) -> np.ndarray:
        return self.rng.random(shape) < 0.5

    def spaced(
        self, shape: Sequence[int], low: float = -2.0, high: float = 2.0, kinks: Sequence[float] = ()
    ) -> np.ndarray:
        """Different numbers from `low` to `high`, none close to another or to a kink."""
        return self.apart(shape, low=low, high=high, kinks=kinks)[0]

    def apart(
        self, *shapes: Sequence[int], low: float = -2.0, high: float = 2.0, kinks: Sequence[float] = ()
    ) -> list[np.ndarray]:
        """As `spaced`, for several arrays with no number in common: a shuffled grid, dealt out."""
        sizes = [math.prod(s) for s in shapes]
        gap, kinks = 0.04, sorted({k for k in kinks if low < k < high})
        line = np.linspace(low, high - gap * len(kinks), 2 + sum(sizes))[1:-1]  # without the gaps around kinks
        grid = sum((gap * (line > k - gap / 2 - gap * i) for i, k in enumerate(kinks)), start=line)
        parts = np.split(self.rng.permutation(grid), np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


class Example:
    """One call of an operation."""

    def __init__(self, name: str, seed: int, function: Callable, inputs: Sequence[np.ndarray], formula: Callable):
        self.name, self.seed = name, seed
        self.function, self.inputs, self.formula = function, list(inputs), formula

    def tensors(self, dtype: Any = np.float64, requires_grad: bool = False, device: str = "cpu") -> list[Tensor]:
        return [Tensor(to_device(np.array(x, dtype), device), requires_grad) for x in self.inputs]

    def __repr__(self) -> str:
        """Settings are what the operation has in its closure."""
        closed = inspect.getclosurevars(self.function).nonlocals
        told = ", ".join(f"{k}={v!r}" for k, v in closed.items() if not callable(v) and not isinstance(v, Draws))
        return f"{self.name} of shapes {[x.shape for x in self.inputs]}, {told or 'no settings'}, seed {self.seed}"


@dataclass
class Case:
    """A family of examples of one operation."""

    name: str
    label: str
    build: Callable[[Draws], tuple]
    differentiable: bool

    def example(self, d: Draws) -> Example:
        return Example(self.label, d.seed, *self.build(d))

    def examples(self, tiny: bool = False) -> st.SearchStrategy[Example]:
        @st.composite
        def strategy(draw):
            return self.example(Draws(lambda low, high: draw(st.integers(low, high)), tiny))

        return strategy()


def beside(x: Any, value: Any) -> Any:
    """`value`, an array or a Tensor in an operation's closure, on the device of its input x."""
    device = device_of(x.data if isinstance(x, Tensor) else x)
    return value.to(device) if isinstance(value, Tensor) else to_device(value, device)


CASES: dict[str, Case] = {}


def case(name: str, note: str = "", differentiable: bool = True) -> Callable:
    """Decorator: registers a function of `Draws` as a case of the operation `name`; several need notes."""

    def register(build: Callable[[Draws], tuple]) -> Callable:
        label = f"{name} {note}".strip()
        assert label not in CASES, f"there is a case {label!r} already"
        CASES[label] = Case(name, label, build, differentiable)
        return build

    return register


@functools.cache
def examples_of(label: str, count: int) -> list[Example]:
    """The same examples every time, for tests that look at what happens to them under several conditions."""
    return [CASES[label].example(Draws(random.Random(i).randint)) for i in range(count)]
