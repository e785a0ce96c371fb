"""Which rules a check exercises, and what is left without one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from minigen import autograd
from minigen.autograd import Primitive

from .cases import CASES, examples_of
from .checks import check_derivatives, check_plain, check_unrecorded

# Arguments through which no gradient flows, ever.
NO_GRADIENT = {("where", 0), ("upfirdn2d", 1)}
# Operations that take two devices: tests/cuda/test_engine.py looks at their gradients.
TWO_DEVICES = {("to", 0)}
# Arguments for which the fast rule has no gradient and leaves it to the plain definition.
NO_FAST_GRADIENT = {("attention", 3)}

EXAMPLES = 25  # of each case
Place = tuple[str, int]  # a primitive, and the number of one of its arguments


@contextmanager
def watched() -> Iterator[tuple[set[Place], set[Place], set[str]]]:
    """Three sets that fill meanwhile: gradients that were computed; those of them by a hand-written rule where there
    is a plain definition as well; and primitives whose gradients had their broadcasting undone."""
    computed, fast, unbroadcast = set(), set(), set()
    original_gradients, original_unbroadcast = Primitive.gradients, autograd._unbroadcast

    def gradients(self, node, g):
        handwritten = self.plain is not None and self.rule is not None and not autograd.is_grad_enabled()

        def note(i):
            computed.add((self.name, i))
            if handwritten:
                fast.add((self.name, i))

        def called(i, gradient):
            note(i)
            return gradient()

        found = list(original_gradients(self, node, g))
        for i, gradient in enumerate(found):
            if callable(gradient):
                found[i] = functools.partial(called, i, gradient)
            elif gradient is not None and node.parents[i] is not None:
                note(i)
        return found

    def undo(g, shape, name):
        unbroadcast.add(name)
        return original_unbroadcast(g, shape, name)

    with mock.patch.object(Primitive, "gradients", gradients), mock.patch.object(autograd, "_unbroadcast", undo):
        yield computed, fast, unbroadcast


@functools.cache
def exercised(label: str) -> tuple[set[Place], set[Place], set[str]]:
    """What the checks of a case look at; nothing fails in them."""
    with watched() as (computed, _, unbroadcast):
        for example in examples_of(label, EXAMPLES):
            check_derivatives(example)
    with watched() as (_, fast, _):
        for example in examples_of(label, EXAMPLES):
            check_unrecorded(example)
            check_plain(example)
    return computed, fast, unbroadcast


def labels_for(primitive: str, seen: Callable[[tuple], bool]) -> list[str]:
    """The cases to expect a primitive's mistakes to show in: of those of which `seen` accepts what they exercise, its
    own if it has any, or all."""
    accepted = [label for label, case in CASES.items() if case.differentiable and seen(exercised(label))]
    return [label for label in accepted if CASES[label].name == primitive] or accepted


def users_of(primitives: Iterable[str]) -> list[str]:
    """All cases that exercise one of these primitives, their own first."""
    names = set(primitives)
    found = [
        label for label, case in CASES.items() if case.differentiable and names & {p for p, _ in exercised(label)[0]}
    ]
    return sorted(found, key=lambda label: CASES[label].name not in names)


def arguments(primitive: Primitive) -> list[int]:
    """The numbers of a primitive's differentiable arguments; two for `*args`."""
    parameters = inspect.signature(primitive.forward).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
    return list(range(len(positional) + 2 * len(variadic)))


def places(registry: Mapping[str, Primitive]) -> list[Place]:
    """Every gradient of the library's primitives (tests may have registered some of their own)."""
    ours = [p for p in registry.values() if p.forward.__module__.startswith("minigen.")]
    return [(p.name, i) for p in ours for i in arguments(p) if (p.name, i) not in NO_GRADIENT | TWO_DEVICES]


def fast_places(registry: Mapping[str, Primitive]) -> list[Place]:
    """The same for hand-written rules beside a plain definition."""
    return [
        (name, i)
        for name, i in places(registry)
        if registry[name].rule is not None and registry[name].plain is not None and (name, i) not in NO_FAST_GRADIENT
    ]


def unchecked(registry: Mapping[str, Primitive], labels: Iterable[str]) -> list[Place]:
    """The gradients that the checks of these cases never compute."""
    seen = [exercised(label) for label in labels if CASES[label].differentiable]
    computed = set().union(*(s[0] for s in seen))
    fast = set().union(*(s[1] for s in seen))
    return [p for p in places(registry) if p not in computed] + [p for p in fast_places(registry) if p not in fast]
