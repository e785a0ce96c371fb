"""Gradient checkpointing: memory for time (Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import random
from .autograd import Primitive, alias, differentiate, is_grad_enabled, leaves_of
from .tensor import Tensor


def checkpoint(fn: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`fn(*inputs)`, keeping the inputs only: what lies between is computed again during the backward pass.

    `fn` returns one Tensor. It may use leaves, such as a layer's parameters, but every other tensor that it
    differentiates must be among `inputs`. Numbers it draws from the default generator are drawn again, the same.
    """
    if not is_grad_enabled():
        return fn(*inputs)
    state = random.default_generator.state_dict()
    aliases = [alias(x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
    y = fn(*aliases)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: fn must return one Tensor, it returned {type(y).__name__}")
    leaves, given = leaves_of(y, stop=aliases), len(inputs)
    values = [y.data]  # not y, whose graph is to go; and given away at once, so that nothing here keeps it
    segment = Primitive(lambda *arrays: values.pop())
    segment.name = "checkpoint"

    def again(*arguments):
        with random.replay(state):
            return fn(*arguments)

    @segment.vjp
    def _(g, _y, *xs):
        return tuple(differentiate(again, xs[:given], g, captured=leaves))

    return segment(*inputs, *leaves)
