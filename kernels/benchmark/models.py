"""The rows of whole networks, and of what the tape adds to the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from kernels.benchmark import steps
from kernels.benchmark.device import Device
from kernels.benchmark.peers import in_both_layouts
from kernels.benchmark.row import Comparison, Run, Work, normal
from kernels.benchmark.timing import alternate

MOST_PER_OPERATION = 15e-6  # seconds, besides three times what NumPy takes


def unet(n: int, training: bool, on: Device) -> Work:
    ours = (steps.our_step if training else steps.our_forward)(n, on.name)
    peers = in_both_layouts(on, partial(steps.torch_step if training else steps.torch_forward, n))
    return Work(ours, peers, count_flops(ours, on.kernels))


def example(n: int, on: Device) -> Work:
    ours = steps.example_step(n, on.name)
    return Work(ours, in_both_layouts(on, partial(steps.torch_example_step, n)), count_flops(ours, on.kernels))


# ---- how much arithmetic a network is ----------------------------------------------------------------------


def count_flops(run: Run, kernels: Any) -> float:
    """Multiplications and additions of the products in a run, by their definitions."""
    flops: list[float] = []
    with (
        counted(kernels, "matmul", lambda y, a, b, *_: y.size * a.shape[1], flops),
        counted(kernels, "conv", lambda y, x, w, *_: y.size * math.prod(w.shape[:-1]), flops),
        counted(kernels, "conv_transpose", lambda y, x, w, *_: x.size * w.size // w.shape[-2], flops),
        counted(kernels, "conv_weight_grad", lambda dw, x, g, *_: g.size * math.prod(dw.shape[:-1]), flops),
        counted(kernels, "attention", lambda y, q, k, v, *_: 2 * q.size * k.shape[1], flops),
        counted(kernels, "attention_backward", lambda d, *a: 5 * a[3].size * a[4].shape[1], flops),
    ):  # fmt: skip  (q, k)
        run()
    return 2 * sum(flops)


@contextmanager
def counted(kernels: Any, name: str, products: Callable[..., float], flops: list[float]) -> Iterator[None]:
    """Inside, each call of a kernel also appends its multiplications to `flops`."""
    kernel = getattr(kernels, name)

    def call(*args: Any, **settings: Any) -> Any:
        y = kernel(*args, **settings)
        flops.append(products(y, *args))
        return y

    with mock.patch.object(kernels, name, call):
        yield


# ---- the tape ------------------------------------------------------------------------------------------


def tape(rounds: int) -> Comparison:
    """a b + c and its gradients, against three times its NumPy calls and 15 us for each of the two operations."""
    import minigen

    arrays = list(normal(3, 1000))
    g = normal(1000)
    a, b, c = (minigen.tensor(x, requires_grad=True) for x in arrays)
    cotangent = minigen.Tensor(g)

    def ours() -> None:
        a.grad = b.grad = c.grad = None
        (a * b + c).backward(cotangent)

    def numpy() -> Any:
        a, b, c = arrays
        return a * b + c, g * b, g * a

    times = alternate({"ours": ours, "numpy": numpy}, rounds)
    allowed = 3 * np.array(times["numpy"]) + 2 * MOST_PER_OPERATION
    ratio = float(np.median(allowed / times["ours"]))
    return Comparison(float(np.median(times["ours"])), float(np.median(allowed)), "allowed", ratio)
