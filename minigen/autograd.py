"""The tape: tensors, primitives, and reverse-mode differentiation to any order.

A *primitive* is a function on arrays together with its vector-Jacobian product (its "rule") on Tensors:

    @primitive
    def exp(x):                    # arrays in, array out
        return np.exp(x)

    @exp.vjp
    def _(g, y, _x):               # Tensors in, one gradient per positional argument
        return g * y

Calling `exp(t)` computes the output and, if `t` requires a gradient, records a `Node`. The Nodes are the tape.
`backward` and `grad` walk it from the newest Node to the oldest, handing each rule the gradient `g` of its
output. Rules are written in differentiable operations, so the walk itself can be recorded
(`create_graph=True`), and that is all that derivatives of derivatives take.

What a rule relies on:

- Positional arguments are arrays (or None, or plain numbers); keyword arguments are settings.
- An argument whose name starts with `_` is not kept for the backward pass: the rule sees its shape and dtype,
  not its values. This is what lets activations go early.
- A rule returns one gradient per positional argument; None means that no gradient flows there. A gradient may
  be a function without arguments, which is called only if that input needs one; that of a slice is a `Part`.
- The engine undoes broadcasting: a gradient may have the broadcast shape.

No two references form a circle: a Node knows its parents and the output *array*, never the output Tensor. So a
training step leaves nothing behind for the garbage collector.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from sys import getrefcount
from typing import Any

import numpy as np

from .backend import Array, check_one_device, kernels_for, on_device_of, on_gpu, pays
from .tensor import ONE_HOLDER, Tensor, tensor

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_anomaly: ContextVar[int] = ContextVar("anomaly", default=0)  # 1: look at outputs and gradients; 2: gradients only
_clock = itertools.count()  # numbers the Nodes: a Node is always younger than its parents


class Ghost:
    """What a rule sees of a value that was not kept: its shape and dtype."""

    __slots__ = ("shape", "dtype")

    def __init__(self, value: Any):
        self.shape: tuple[int, ...] = value.shape
        self.dtype: np.dtype = value.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Part:
    """A gradient that is zero in most places. Called, it is a Tensor of its own; but where one tensor has several, as
    after q, k, v = x[0], x[1], x[2], each further one is put in place by `add_to(array)`, which cannot be recorded."""

    __slots__ = ("add_to", "whole")

    def __init__(self, whole: Callable[[], Tensor], add_to: Callable[[Array], None]):
        self.whole = whole
        self.add_to = add_to

    def __call__(self) -> Tensor:
        return self.whole()


class Node:
    """One recorded operation: its rule's arguments, and where the gradients go."""

    __slots__ = ("primitive", "settings", "parents", "inputs", "output", "saved", "shape", "dtype", "version", "number")

    def __init__(self, primitive: Primitive, inputs: tuple, settings: dict, output: Array, saved: Any):
        self.primitive = primitive
        self.settings = settings
        self.parents = tuple([_source(x) if isinstance(x, Tensor) else None for x in inputs])
        self.inputs: tuple | None = primitive.keep(inputs)
        self.output = output if primitive.keeps_output else None
        self.saved = saved if primitive.rule else None  # only a rule reads it
        self.shape = output.shape
        self.dtype = output.dtype
        self.version = _version(self.inputs)
        self.number = next(_clock)

    def pull_back(self, g: Tensor, needed: set) -> Iterator[tuple[Node | Tensor, Any]]:
        """Runs the rule; yields (parent, gradient) for the parents in `needed`."""
        name = self.primitive.name
        gradients = self.primitive.gradients(self, g)
        if len(gradients) != len(self.parents):
            raise TypeError(f"the rule of {name} gave {len(gradients)} gradients for {len(self.parents)} arguments")
        for parent, gradient in zip(self.parents, gradients, strict=True):
            if parent is None or gradient is None or parent not in needed:
                continue
            if isinstance(gradient, Part) and not (_recording.get() or _anomaly.get()):
                yield parent, gradient
                continue
            if callable(gradient):
                gradient = gradient()
            if not isinstance(gradient, Tensor):
                raise TypeError(f"the rule of {name} gave a {type(gradient).__name__}; a gradient must be a Tensor")
            if gradient.shape != parent.shape:
                gradient = _unbroadcast(gradient, parent.shape, name)
            if gradient.dtype != parent.dtype:
                raise TypeError(f"the rule of {name} gave a {gradient.dtype} gradient to a {parent.dtype} input")
            yield parent, gradient

    def pull_back_checked(self, g: Tensor, needed: set) -> list[tuple[Node | Tensor, Tensor]]:
        """The same under `detect_anomaly`: an error names this operation, not those that its rule is written in."""
        with _set(_anomaly, 2):
            pairs = list(self.pull_back(g, needed))
        for _, gradient in pairs:
            _check_finite(gradient.data, f"a gradient passed back by {self.primitive.name}")
        return pairs


class Primitive:
    """A function on arrays with its rule.

    `plain`, if given, is the same function written in other differentiable operations. It is what gets
    differentiated where there is no rule, and whenever the backward pass is itself recorded: a fused kernel
    needs a hand-written first derivative only. With `saves`, the forward returns (output, saved) and the rule
    gets `saved=` back.
    """

    def __init__(self, forward: Callable, plain: Callable | None = None, saves: bool = False):
        self.forward = forward
        self.name = forward.__name__.strip("_")
        self.__doc__ = forward.__doc__
        self.plain = plain
        self.saves = saves
        self.rule: Callable | None = None
        self.keeps_output = False
        self.keeps_input = [True]  # per argument; the last entry also speaks for any arguments beyond

    def vjp(self, rule: Callable) -> Callable:
        """Registers the rule, and reads from its argument names what to keep for it."""
        self.rule = rule
        arguments = inspect.signature(rule).parameters.values()
        _, output, *inputs = [a.name for a in arguments if a.kind is not inspect.Parameter.KEYWORD_ONLY]
        self.keeps_output = not output.startswith("_")
        if self.plain is None:
            self.keeps_input = [not name.startswith("_") for name in inputs]
        return rule

    def __call__(self, *inputs: Any, **settings: Any) -> Tensor:
        """Computes the output; records it if an input requires a gradient and recording is on."""
        return self.run(*inputs, **settings)[0]

    def run(self, *inputs: Any, **settings: Any) -> tuple[Tensor, Any]:
        """The same, and what the forward saved."""
        inputs = tuple([x if type(x) in _accepted else self._accept(x) for x in inputs])
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        if len(tensors) > 1:
            _check_compatible(self.name, tensors)
        elif not tensors and None in inputs:
            raise TypeError(f"{self.name}: needs Tensors, arrays or numbers, got None")
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        try:
            if not tensors or type(tensors[0].data) is np.ndarray:  # a context that does nothing would be felt here
                output = self.forward(*arrays, **settings)
            else:
                with on_device_of(tensors[0].data):
                    output = self.forward(*arrays, **settings)
        except (TypeError, ValueError, IndexError) as error:
            self._explain(error, tensors)
            raise
        output, saved = output if self.saves else (output, None)
        if isinstance(output, np.generic):  # NumPy reduces to scalars; a Tensor holds a 0-d array
            output = np.asarray(output)
        if _anomaly.get() == 1:
            _check_finite(output, f"the output of {self.name}")
        if _recording.get() and any([x.requires_grad for x in tensors]) and output.dtype.kind == "f":
            return Tensor(output, True, Node(self, inputs, settings, output, saved)), saved
        return Tensor(output), saved

    def _accept(self, x: Any) -> Any:
        """Tensors and plain numbers as they are, NumPy scalars as numbers, arrays and lists as tensors."""
        if isinstance(x, np.generic):
            return x.item()
        if isinstance(x, (Tensor, int, float)):
            return x
        if hasattr(x, "dtype") or isinstance(x, (list, tuple)):
            return tensor(x)
        raise TypeError(f"{self.name}: needs Tensors, arrays or numbers, got {type(x).__name__} {x!r:.60}")

    def _explain(self, error: Exception, tensors: list[Tensor]) -> None:
        """Raises NumPy's error again, with the operation and its arguments; a kernel's own names them already."""
        where, colon, _ = str(error).partition(":")
        if not colon or self.name not in where:
            kind = next(kind for kind in (ValueError, TypeError, IndexError) if isinstance(error, kind))
            given = ", ".join(f"{x.shape} {x.dtype}" for x in tensors)
            raise kind(f"{self.name}: {error} (given {given or 'no tensors'})") from error

    def keep(self, inputs: tuple) -> tuple:
        """The inputs as the rule will see them."""
        kept, last = self.keeps_input, len(self.keeps_input) - 1
        if all(kept):
            return inputs
        return tuple(
            [Ghost(x) if isinstance(x, Tensor) and not kept[min(i, last)] else x for i, x in enumerate(inputs)]
        )

    def gradients(self, node: Node, g: Tensor) -> Sequence:
        """The gradients of all positional arguments of a recorded call."""
        if node.inputs is None:
            raise RuntimeError(
                f"backward: the graph behind this {self.name} was freed by an earlier backward; "
                "pass retain_graph=True to that one, or compute the value again"
            )
        if _version(node.inputs) != node.version:
            raise RuntimeError(
                f"backward: an input of {self.name} was given new values (by an optimiser's step?) after the graph "
                "was recorded; go backward before that, or compute the value again"
            )
        if self.plain is not None and (self.rule is None or _recording.get()):
            return differentiate(lambda *xs: self.plain(*xs, **node.settings), node.inputs, g)  # type: ignore[misc]
        if self.rule is None:
            raise NotImplementedError(f"{self.name} has no rule: it cannot be differentiated")
        y = Tensor(node.output, True, node) if self.keeps_output else Ghost(node)
        extra = {"saved": node.saved} if self.saves else {}
        gradients = self.rule(g, y, *node.inputs, **node.settings, **extra)
        return gradients if isinstance(gradients, tuple) else (gradients,)


registry: dict[str, Primitive] = {}  # every primitive of the library by name; the tests walk it


def primitive(forward: Callable | None = None, **options: Any) -> Any:
    """Decorator: makes a `Primitive` of a function on arrays (options: see there) and registers it."""
    if forward is None:
        return lambda f: primitive(f, **options)
    made = Primitive(forward, **options)
    if made.name in registry:
        raise ValueError(f"primitive: the name {made.name!r} is taken")
    registry[made.name] = made
    return made


def walk(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    targets: Iterable[Tensor] | None,
    retain_graph: bool,
    create_graph: bool,
    stop_at_targets: bool = False,
) -> dict[Any, Tensor]:
    """The backward pass: gradients of `outputs`, weighted by `seeds`, by source (`targets`, or None: all leaves).

    Nodes are visited from the youngest to the oldest. Every user of a value is younger than the value, so its
    gradient is complete when its turn comes; no recursion, so a chain may be as long as memory allows.
    """
    wanted = None if targets is None else {_source(t) for t in targets}
    nodes, reached = _reach([_source(t) for t in outputs], wanted if stop_at_targets else set())
    needed = reached
    if wanted is not None:
        needed, nodes, older = wanted & reached, [], nodes
        for node in older:  # oldest first: a Node is needed if it leads to something wanted
            if any([p in needed for p in node.parents]):
                needed.add(node)
                nodes.append(node)

    gradients: dict[Any, Tensor] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        _accumulate(gradients, _source(output), seed)
    pull_back = Node.pull_back_checked if _anomaly.get() else Node.pull_back
    with _set(_recording, create_graph):
        for node in reversed(nodes):
            if node not in gradients:
                continue
            g = gradients[node] if wanted and node in wanted else gradients.pop(node)
            with on_device_of(g.data):
                for parent, gradient in pull_back(node, g, needed):
                    _accumulate(gradients, parent, gradient)
            if not retain_graph:
                node.inputs = node.output = node.saved = None
    return {s: g for s, g in gradients.items() if (isinstance(s, Tensor) if wanted is None else s in wanted)}


def backward(output: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """See `Tensor.backward`."""
    seed = _seed(output, gradient)
    gradients = walk([output], [seed], None, retain_graph or create_graph, create_graph)
    owners = {id(_owner(seed.data))}  # of the memory that is taken
    with _set(_recording, create_graph):
        for leaf, g in gradients.items():
            if leaf.grad is not None:
                if not create_graph and getrefcount(leaf.grad) == ONE_HOLDER and leaf.grad.owns_memory():
                    _add_to(leaf.grad.data, g.data)
                    continue
                g = leaf.grad + g
            elif create_graph:
                g = alias(g)
            elif not g.data.flags.c_contiguous or id(_owner(g.data)) in owners:  # a broadcast view; another's gradient
                with on_device_of(g.data):
                    g = Tensor(g.data.copy())
            owners.add(id(_owner(g.data)))
            leaf.grad = g


def _reach(starts: Sequence, stop: Any) -> tuple[list[Node], set]:
    """What `starts` were computed from: the Nodes, oldest first, and the set of all sources (Nodes and leaves).
    The search does not go beyond those in `stop`."""
    reached, pending, nodes = set(starts), list(set(starts)), []
    while pending:
        source = pending.pop()
        if isinstance(source, Node) and source not in stop:
            nodes.append(source)
            new = {p for p in source.parents if p is not None and p not in reached}
            reached |= new
            pending.extend(new)
    return sorted(nodes, key=lambda node: node.number), reached


def leaves_of(output: Tensor, stop: Sequence) -> list[Tensor]:
    """The leaves that `output` was computed from, other than through the tensors in `stop`."""
    if not output.requires_grad:
        return []
    beyond = {_source(t) for t in stop if isinstance(t, Tensor)}
    _, reached = _reach([_source(output)], beyond)
    return [s for s in reached if isinstance(s, Tensor)]


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple:
    """Gradients of the sum of `outputs` (weighted by `grad_outputs`) with respect to `inputs`, as a tuple.

    Leaves' `grad` is not touched. An input that no output depends on is an error, or None with `allow_unused`.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    weights = grad_outputs if isinstance(grad_outputs, (list, tuple)) else [grad_outputs] * len(outputs)
    if len(weights) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(weights)} grad_outputs")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: input {i} must be a Tensor, got {type(x).__name__}")
        if not x.requires_grad:
            raise RuntimeError(f"grad: input {i} of shape {x.shape} does not require a gradient")
    seeds = [_seed(y, w) for y, w in zip(outputs, weights, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    gradients = walk(outputs, seeds, inputs, retain, create_graph)
    found = tuple([gradients.get(_source(x)) for x in inputs])
    unused = [i for i, g in enumerate(found) if g is None]
    if unused and not allow_unused:
        raise RuntimeError(f"grad: the outputs do not depend on input {unused[0]}; allow_unused=True gives None")
    return found


def differentiate(function: Callable, inputs: Sequence, g: Tensor, captured: Sequence[Tensor] = ()) -> list:
    """Gradients of `function(*inputs)`, weighted by `g`: one per input, then one per `captured` leaf.

    They are recorded if recording is on. Inputs are replaced by aliases, so that the walk ends at them and two
    inputs of which one was computed from the other stay apart.
    """
    record = _recording.get()
    with enable_grad():
        aliases = [alias(x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
        y = function(*aliases)
    sources = [_source(a) if isinstance(a, Tensor) else None for a in [*aliases, *captured]]
    targets = [t for t, s in zip([*aliases, *captured], sources, strict=True) if s is not None]
    gradients = walk([y], [g], targets, record, record, stop_at_targets=True)
    return [None if s is None else gradients.get(s) for s in sources]


@primitive
def alias(x: Array) -> Array:
    """The same values under a new name on the tape."""
    return x


@alias.vjp
def _(g, _y, _x):
    return g


@contextmanager
def _set(flag: ContextVar, value: int) -> Iterator[None]:
    token = flag.set(value)
    try:
        yield
    finally:
        flag.reset(token)


def no_grad() -> Any:
    """Context manager: operations inside are not recorded."""
    return _set(_recording, False)


def enable_grad() -> Any:
    """Context manager: operations inside are recorded, also within `no_grad`."""
    return _set(_recording, True)


def is_grad_enabled() -> bool:
    return _recording.get()


def detect_anomaly() -> Any:
    """Context manager: the first operation whose output or gradient is not finite raises, and is named."""
    return _set(_anomaly, 1)


_accepted = frozenset({Tensor, float, int, bool, type(None)})


def _source(t: Tensor) -> Node | Tensor | None:
    """Where a tensor's gradient goes: to its Node, or to itself if it is a leaf that requires one."""
    return t._node if t._node is not None else t if t.requires_grad else None


def _version(inputs: tuple) -> int:
    """Changes when any of the kept inputs is given new values."""
    return sum([x.version for x in inputs if isinstance(x, Tensor)])


def _accumulate(gradients: dict, source: Node | Tensor | None, g: Tensor | Part) -> None:
    """Adds g to the gradient of `source`: in place, if nobody else has the array that holds it so far."""
    if source not in gradients:
        gradients[source] = g() if isinstance(g, Part) else g
    elif _recording.get() or getrefcount(gradients[source]) > ONE_HOLDER or not gradients[source].owns_memory():
        gradients[source] = gradients[source] + (g() if isinstance(g, Part) else g)
    elif isinstance(g, Part):
        g.add_to(gradients[source].data)
    else:
        _add_to(gradients[source].data, g.data)


LARGE_SUM = 2**17  # numbers from which on a kernel adds faster than NumPy


def _add_to(total: Array, g: Array) -> None:
    """total += g."""
    if pays(LARGE_SUM, total, g) and not on_gpu(total):  # CuPy adds as fast as memory is
        kernels_for(total).add_([total], [g])
    else:
        with on_device_of(total):
            total += g


def _owner(array: Array) -> Array:
    """The array whose memory this one is, or is a view of."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def _seed(output: Tensor, weight: Any) -> Tensor:
    if not output.requires_grad:
        raise RuntimeError("backward: this tensor does not require a gradient: nothing that it depends on does")
    if weight is None:
        if output.size != 1:
            raise RuntimeError(f"backward: a tensor of shape {output.shape} needs a gradient of the same shape")
        with on_device_of(output.data):
            return Tensor(np.ones_like(output.data))
    if not isinstance(weight, Tensor):
        weight = tensor(weight, output.dtype, None if hasattr(weight, "dtype") else output.device)
    if weight.shape != output.shape or weight.dtype != output.dtype or weight.device != output.device:
        raise ValueError(
            f"backward: the gradient has shape {weight.shape}, {weight.dtype} on {weight.device}, "
            f"but the tensor has shape {output.shape}, {output.dtype} on {output.device}"
        )
    return weight


def _unbroadcast(g: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """Sums a gradient over the axes along which an input of this shape was repeated."""
    extra = len(g.shape) - len(shape)
    padded = (1,) * extra + shape
    if extra < 0 or any(p not in (1, n) for p, n in zip(padded, g.shape, strict=False)):
        raise ValueError(f"the rule of {name} gave a gradient of shape {g.shape} to an input of shape {shape}")
    axes = tuple([i for i, (p, n) in enumerate(zip(padded, g.shape, strict=True)) if i < extra or p != n])
    return g.sum(axis=axes, keepdims=True).reshape(shape)


def _check_compatible(name: str, tensors: Sequence[Tensor]) -> None:
    """No silent moves, no silent promotion: one device, one floating dtype."""
    first = tensors[0]
    array = first.data
    for t in tensors:
        if type(t.data) is type(array) is np.ndarray:
            if t.data.dtype is array.dtype:
                continue
        elif t is not first and t.device != first.device:
            check_one_device(name, [t.data for t in tensors])  # which raises
        if t.dtype != first.dtype:
            floats = {str(t.dtype) for t in tensors if t.dtype.kind == "f"}
            if len(floats) > 1:
                dtypes = ", ".join(f"{t.shape} {t.dtype}" for t in tensors)
                raise TypeError(f"{name}: arguments of different dtypes ({dtypes}); convert with .astype(dtype)")


def _check_finite(array: Array, what: str) -> None:
    with on_device_of(array):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FloatingPointError(f"detect_anomaly: {what}, of shape {array.shape}, is not finite")
