"""PyTorch, if it is installed, and its arrays in the two layouts that it has for images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from kernels.benchmark.device import Array, Device
from kernels.precision import float32_matmul_precision

# Imported before our kernels, so that its threads behave as in a program that has PyTorch only.
torch: Any = import_module("torch") if find_spec("torch") else None


def in_torch(on: Device, make: Callable[[], Callable], name: str = "torch") -> dict[str, Callable]:
    """{name: make()}, or nothing without PyTorch."""
    return {name: make()} if torch and on.torch else {}


def in_both_layouts(on: Device, make: Callable[[Any], Callable]) -> dict[str, Callable]:
    """What `make` makes for each layout of images: channels last and channels first."""
    if not (torch and on.torch):
        return {}
    layouts = {"torch NHWC": torch.channels_last, "torch NCHW": torch.contiguous_format}
    return {name: make(layout) for name, layout in layouts.items()}


def tensor(x: Array, requires_grad: bool = False) -> Any:
    """The numbers of x as a tensor, on PyTorch's default device."""
    return torch.tensor(x if isinstance(x, np.ndarray) else x.get(), requires_grad=requires_grad)


def image(x: Array, layout: Any, learns: bool = False) -> Any:
    """(N,H,W,C) -> a tensor (N,C,H,W) that lies in memory as the layout says."""
    return tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=layout).requires_grad_(learns)


def conv_weight(weight: Array, layout: Any, transposed: bool = False) -> Any:
    """(kh,kw,in,out) -> (out,in,kh,kw), or (in,out,kh,kw) for a transposed convolution."""
    axes = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
    return tensor(weight).permute(axes).contiguous(memory_format=layout).requires_grad_()


def leaves(*arrays: Array) -> list[Any]:
    return [tensor(a, requires_grad=True) for a in arrays]


def forward(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call without a tape."""

    def run() -> Any:
        with torch.no_grad():
            return call()

    return run


def forward_and_backward(call: Callable[[], Any], inputs: Sequence[Any], g: Any) -> Callable[[], Any]:
    """The call, and the gradients of its inputs for the gradient g of its output."""
    return lambda: torch.autograd.grad(call(), inputs, g)


@contextmanager
def precision(on: Device) -> Iterator[None]:
    """Inside, float32 products are taken in the device's numbers: ours, and PyTorch's."""
    tf32 = on.numbers == "TF32"
    if torch:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    with float32_matmul_precision("high" if tf32 else "highest"):
        yield
