"""Module: a part of a network, with its parameters, buffers and smaller modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from ..backend import on_device_of, to_device
from ..tensor import Tensor, array_of, tensor


class Parameter(Tensor):
    """A tensor to be trained: a leaf that requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any):
        super().__init__(array_of(data))
        self.requires_grad_()


class Module:
    """Base of all layers. A subclass sets parameters and modules as attributes and defines `forward`:

        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(784, 100)
                self.output = nn.Linear(100, 10)

            def forward(self, x):
                return self.output(F.relu(self.hidden(x)))

    Plain lists hide what they hold: use `Sequential` or `ModuleList`.
    """

    def __init__(self) -> None:
        self.training = True
        self._buffers: set[str] = set()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Module, Tensor)) and "_buffers" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before setting {name!r}")
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, value: Any) -> None:
        """Makes `self.name` a tensor that is saved with the parameters but not trained."""
        setattr(self, name, Tensor(array_of(value)))
        self._buffers.add(name)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, with its path, such as 'hidden.weight'."""
        seen: set[int] = set()
        for name, value in self.named_tensors(prefix):
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        return ((name, t) for name, t in self.named_tensors(prefix) if not isinstance(t, Parameter))

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, under each of its paths."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter) or name in self._buffers:
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value.named_tensors(f"{prefix}{name}.")

    def state_dict(self) -> dict[str, np.ndarray]:
        """All parameters and buffers by path, as NumPy copies: wherever the module is, another device can load them."""
        return {name: tensor(t, device="cpu").data for name, t in self.named_tensors()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over values saved by `state_dict`, to wherever each tensor is. Nothing changes unless all names, shapes
        and dtypes fit."""
        own = dict(self.named_tensors())
        check_fits(f"this {type(self).__name__}", own, state)
        for name, t in own.items():
            t.assign_(tensor(state[name], device=t.device).data)  # a copy

    def train(self, mode: bool = True) -> Self:
        """Switches dropout and batch statistics on (or off); returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        for p in self.parameters():
            p.grad = None

    def to(self, device: str) -> Self:
        """Moves every parameter and buffer in place, to 'cpu', 'cuda' or 'cuda:1'; returns self. Optimisers and moving
        averages of it are to be made afterwards."""
        return self._convert(lambda t: to_device(t.data, device))

    def astype(self, dtype: Any) -> Self:
        """Converts every floating-point parameter and buffer in place; returns self."""
        return self._convert(lambda t: t.data.astype(dtype) if t.dtype.kind == "f" else t.data)

    def _convert(self, new: Callable[[Tensor], Any]) -> Self:
        """Gives every parameter and buffer, and their gradients, new arrays."""
        for t in {id(t): t for _, t in self.named_tensors()}.values():
            with on_device_of(t.data):
                t.data = new(t)
                t.version += 1
                t.grad = None if t.grad is None else Tensor(new(t.grad))
        return self

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Calls `fn` with every module, children first; returns self."""
        for _, child in self.named_children():
            child.apply(fn)
        fn(self)
        return self

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "\n" + "\n".join(children) + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def check_fits(whose: str, own: dict[str, Any], state: dict[str, Any]) -> None:
    """A state must have the names of `own` and no others, and its arrays the same shapes and dtypes."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"load_state_dict: the state does not fit {whose}: missing {missing or 'nothing'}, "
            f"unexpected {unexpected or 'nothing'}"
        )
    for name, value in own.items():
        if hasattr(value, "dtype"):
            shape, dtype = (getattr(state[name], key, None) for key in ("shape", "dtype"))
            if shape != value.shape or dtype != value.dtype:
                here = f"{value.shape} {value.dtype} in {whose}"
                raise ValueError(f"load_state_dict: {name} is {here} but {shape} {dtype} in the state")


def _check_module(whose: str, value: Any) -> None:
    if not isinstance(value, Module):
        raise TypeError(f"{whose}: needs Modules, got {value!r:.60}; for a function use its layer, such as nn.ReLU()")


class Sequential(Module):
    """Modules applied one after the other."""

    def __init__(self, *modules: Module):
        super().__init__()
        for i, module in enumerate(modules):
            _check_module("Sequential", module)
            setattr(self, str(i), module)

    def forward(self, x: Any) -> Any:
        for _, module in self.named_children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(list(self.named_children()))

    def __getitem__(self, index: int | slice) -> Module:
        modules = [child for _, child in self.named_children()]
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]


class ModuleList(Module):
    """A list whose modules are found by `parameters` and `state_dict`; call them yourself."""

    def __init__(self, modules: Any = ()):
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        _check_module("ModuleList", module)
        setattr(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(list(self.named_children()))

    def __iter__(self) -> Iterator[Any]:
        return (child for _, child in self.named_children())

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]
