"""Optimisers, gradient clipping, learning-rate schedules, and the exponential moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .backend import device_of, kernels_for, on_device_of
from .nn.module import Module, Parameter, check_fits
from .tensor import Tensor, tensor


def check_in_place(whose: str, pairs: Iterable[tuple[Tensor, Any]]) -> None:
    """Tensors must be where the arrays kept for them are."""
    for t, kept in pairs:
        if t.device != device_of(kept):
            raise RuntimeError(
                f"{whose}: a tensor {t.shape} is on {t.device}, but was on {device_of(kept)} when this {whose} was "
                "made: make it after module.to(device)"
            )


class Optimizer:
    """Base class: holds the parameters and, for each, the arrays that an update rule remembers, on its device.

    Parameters stay where they are from now on: move a module before its optimiser is made.
    """

    remembers: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float = 0.0):
        name = type(self).__name__
        if isinstance(parameters, Tensor):
            raise TypeError(f"{name}: needs a list of parameters, got a single tensor of shape {parameters.shape}")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{name}: got no parameters")
        for i, p in enumerate(self.parameters):
            if not isinstance(p, Tensor) or not p.is_leaf:
                found = "the output of an operation" if isinstance(p, Tensor) else f"a {type(p).__name__}"
                raise TypeError(f"{name}: parameter {i} must be a leaf tensor, it is {found}")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError(f"{name}: a parameter is given more than once, it would be updated more than once a step")
        if not lr >= 0:
            raise ValueError(f"{name}: lr must not be negative, got {lr}")
        if not weight_decay >= 0:
            raise ValueError(f"{name}: weight_decay must not be negative, got {weight_decay}")
        self.lr = lr
        self.weight_decay = weight_decay
        self.steps = 0
        self.memory: list[dict[str, Any]] = []
        for p in self.parameters:
            with on_device_of(p.data):
                self.memory.append({name: np.zeros_like(p.data, order="C") for name in self.remembers})

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Updates every parameter that has a gradient."""
        self.steps += 1
        for p, g, memory in self.with_gradient():
            with on_device_of(p.data):
                p.assign_(self.updated(p.data, g, memory))

    def with_gradient(self) -> list[tuple[Parameter, Any, dict[str, Any]]]:
        """The parameters that have a gradient, each with the gradient's array and its memory."""
        pairs = zip(self.parameters, self.memory, strict=True)
        found = [(p, p.grad.data, memory) for p, memory in pairs if p.grad is not None]
        if self.remembers:
            check_in_place(type(self).__name__, [(p, memory[self.remembers[0]]) for p, _, memory in found])
        return found

    def updated(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        """The new values of one parameter; changes `memory`."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What continuing takes: the step count, the learning rate, and the memory of parameter i under 'i.name', in
        NumPy arrays."""
        arrays = {
            f"{i}.{name}": tensor(a, device="cpu").data
            for i, memory in enumerate(self.memory)
            for name, a in memory.items()
        }
        return {"steps": self.steps, "lr": self.lr, **arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = {f"{i}.{name}": a for i, memory in enumerate(self.memory) for name, a in memory.items()}
        check_fits(f"this {type(self).__name__}", {"steps": 0, "lr": 0, **own}, state)
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        self.memory = [
            {name: tensor(state[f"{i}.{name}"], device=device_of(a)).data for name, a in memory.items()}
            for i, memory in enumerate(self.memory)
        ]


class SGD(Optimizer):
    """Gradient descent with momentum: v = momentum v + g, p = p - lr v (Sutskever et al. 2013, PyTorch's form)."""

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        if not momentum >= 0 or (nesterov and not momentum):
            raise ValueError(f"SGD: momentum must not be negative, and positive for nesterov, got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov
        self.remembers = ("velocity",) if momentum else ()
        super().__init__(parameters, lr, weight_decay)

    def updated(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            velocity = memory["velocity"] = self.momentum * memory["velocity"] + g
            g = g + self.momentum * velocity if self.nesterov else velocity
        return p - self.lr * g


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1: steps of the gradient's running mean over the root of its running square.

    `weight_decay` is added to the gradient, as in PyTorch; for the decoupled kind see `AdamW`. Everything that a step
    does to a parameter is done in one pass over memory, and that can take in what else is usual around a step:
    `max_norm` scales the gradients down as `clip_grad_norm_` does (but leaves `p.grad` as it is), and an `ema` is
    updated at the end of each step (do not call its `update` as well).
    """

    remembers = ("mean", "square")
    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        ema: EMA | None = None,
    ):
        super().__init__(parameters, lr, weight_decay)
        if np.shape(betas) != (2,) or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers from 0 up to 1 (excluded), got {betas}")
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"{type(self).__name__}: max_norm must be positive, got {max_norm}")
        self.betas, self.eps, self.max_norm, self.ema = betas, eps, max_norm, ema
        for memory in self.memory:
            memory["updates"] = np.zeros((), np.int64)  # of this parameter: one may start later than others

    def step(self) -> None:
        self.steps += 1
        found = self.with_gradient()
        parameters, gradients = [p for p, _, _ in found], [g for _, g, _ in found]
        memories = [memory for _, _, memory in found]
        for memory in memories:
            memory["updates"] = memory["updates"] + 1
        scale = 1.0
        if self.max_norm is not None and (norm := _norm(gradients)) > self.max_norm:
            scale = self.max_norm / norm
        averages, decay = [None] * len(parameters), 0.0
        if self.ema is not None:
            averages, decay = self.ema.averages_of(parameters), self.ema.decay_now()
        if parameters:
            kernels_for(parameters[0].data).adam_(
                [p.change_() for p in parameters],
                gradients,
                [memory["mean"] for memory in memories],
                [memory["square"] for memory in memories],
                [int(memory["updates"]) for memory in memories],
                self.lr,
                self.betas,
                self.eps,
                self.weight_decay,
                self.decoupled,
                scale,
                averages,
                decay,
            )
        if self.ema is not None:
            self.ema.update(done=averages)


class AdamW(Adam):
    """Adam, with weights that also shrink by lr weight_decay at each step (Loshchilov & Hutter 2019)."""

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        max_norm: float | None = None,
        ema: EMA | None = None,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, max_norm, ema)


def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients down together so that their joint norm is at most `max_norm`; returns the norm before."""
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = _norm([g.data for g in gradients])
    if norm > max_norm:
        kernels_for(gradients[0].data).scale_([g.change_() for g in gradients], max_norm / norm)
    return norm


def _norm(arrays: list[Any]) -> float:
    return kernels_for(arrays[0]).global_norm(arrays) if arrays else 0.0


class CosineLR:
    """Sets an optimiser's learning rate: up in a line for `warmup_steps`, then down along half a cosine.

    `step()` goes before or after `optimizer.step()`, once each step. At step k of K the rate is
    lr (k + 1) / warmup_steps, then lr (1 + cos(pi (k - warmup_steps) / (K - warmup_steps))) / 2, and never below
    `final` times lr in the second part (Loshchilov & Hutter 2017, eq. 5).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final: float = 0.0):
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"CosineLR: needs 0 <= warmup_steps < total_steps, got {warmup_steps} and {total_steps}")
        self.optimizer, self.lr = optimizer, optimizer.lr
        self.total_steps, self.warmup_steps, self.final = total_steps, warmup_steps, final
        self.steps = 0
        optimizer.lr = self.lr * self.factor(0)

    def factor(self, step: int) -> float:
        """The share of the full learning rate at `step`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))

    def step(self) -> None:
        self.steps += 1
        self.optimizer.lr = self.lr * self.factor(self.steps)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        self.optimizer.lr = self.lr * self.factor(self.steps)


class LinearWarmupLR(CosineLR):
    """Sets an optimiser's learning rate: up in a line for `warmup_steps`, then constant."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int):
        super().__init__(optimizer, warmup_steps + 1, warmup_steps, final=1.0)


class EMA:
    """The exponential moving average of a module's parameters and buffers: average = d average + (1 - d) now.

    Early on the decay d is lower, (1 + updates) / (10 + updates), so that the start is forgotten soon.
    """

    def __init__(self, module: Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay must be from 0 up to 1 (excluded), got {decay}")
        self.module, self.decay, self.updates = module, decay, 0
        self.average: dict[str, Any] = {}  # where the module is
        for name, t in module.named_tensors():
            with on_device_of(t.data):
                self.average[name] = t.data.copy()

    def decay_now(self) -> float:
        """d of the next update."""
        return min(self.decay, (2 + self.updates) / (11 + self.updates))

    def averages_of(self, tensors: Iterable[Tensor]) -> list[Any]:
        """For each tensor the array with its average; None if it is not the module's."""
        found = {id(t): self.average[name] for name, t in self.module.named_tensors()}
        return [found.get(id(t)) for t in tensors]

    def update(self, done: Iterable[Any] = ()) -> None:
        """Takes one step towards the module's present values; averages in `done` have taken it already."""
        d, skipped = self.decay_now(), {id(average) for average in done}
        self.updates += 1
        pairs = [(t, self.average[name]) for name, t in self.module.named_tensors()]
        check_in_place("EMA", pairs)
        averages, values = [], []
        for t, average in pairs:
            if average.dtype.kind != "f":
                with on_device_of(average):
                    average[...] = t.data
            elif id(average) not in skipped:
                averages.append(average)
                values.append(t.data)
        if averages:
            kernels_for(averages[0]).lerp_(averages, values, 1 - d)

    @contextmanager
    def applied(self) -> Iterator[Module]:
        """Inside, the module has the averaged values; afterwards its own again."""
        own = [(t, t.data) for _, t in self.module.named_tensors()]
        self.module.load_state_dict(self.average)
        try:
            yield self.module
        finally:
            for t, values in own:
                t.assign_(values)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": {n: tensor(a, device="cpu").data for n, a in self.average.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_fits("this EMA", {"updates": 0, "average": 0}, state)
        average = state["average"]
        check_fits("this EMA's average", self.average, average)
        self.updates = int(state["updates"])
        self.average = {n: tensor(average[n], device=device_of(a)).data for n, a in self.average.items()}
