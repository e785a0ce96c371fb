"""The checks themselves, each of one `Example`: they raise AssertionError where the operation is wrong.

They are functions so that `test_gradcheck.py` can see them fail.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np

from minigen import Tensor, grad, tensor
from minigen.autograd import Primitive
from minigen.backend import to_device
from minigen.gradcheck import gradcheck

from .cases import Example

FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)
TOLERANCE = {FLOAT64: 1e-12, FLOAT32: 2e-5}  # of the largest value


def check_value(example: Example, dtype: np.dtype, differentiable: bool = True, device: str = "cpu") -> None:
    """The formula's values and shape; the inputs' dtype and device."""
    tensors = example.tensors(dtype, device=device)
    y = example.function(*tensors)
    expected = example.formula(*[t.numpy().astype(np.float64) for t in tensors])
    floating = differentiable or expected.dtype == np.float64
    assert y.dtype == (dtype if floating else expected.dtype), f"{example}: the output is {y.dtype}"
    assert y.device == tensors[0].device and not y.requires_grad
    assert_close(y.numpy(), expected, TOLERANCE[dtype], f"{example} in {dtype}")


def check_arrays(example: Example, device: str = "cpu") -> None:
    """Plain arrays are taken as Tensors are (those without axes are numbers)."""
    tensors = example.tensors(device=device)
    y = example.function(*[t.data if t.ndim else t for t in tensors])
    assert isinstance(y, Tensor), f"{example}: given arrays, it returned {type(y).__name__}"
    assert_close(y.numpy(), example.function(*tensors).numpy(), 1e-14, f"{example}, given arrays")


def check_derivatives(example: Example, elementwise: bool = False, order: int = 2, device: str = "cpu") -> None:
    """First and second derivatives against difference quotients."""
    options = dict(order=order, elementwise=elementwise, seed=example.seed, name=example.name)
    gradcheck(example.function, example.tensors(device=device), **options)


def check_unrecorded(example: Example, device: str = "cpu") -> None:
    """A backward pass that is not itself recorded gives what a recorded one does.

    Fused operations use their hand-written rule in the first and differentiate their plain definition in the second.
    """
    fast, y = backward(example, example.tensors(requires_grad=True, device=device))
    tensors = example.tensors(requires_grad=True, device=device)
    slow = grad(example.function(*tensors), tensors, cotangent(example, y), create_graph=True)
    for i, (f, s) in enumerate(zip(fast, slow, strict=True)):
        assert_close(f.numpy(), s.numpy(), 1e-10, f"{example}: gradient {i}, not recorded against recorded")


def check_plain(example: Example, device: str = "cpu") -> None:
    """Every fused operation in it gives what its plain definition gives."""
    calls = []
    run = Primitive.run

    def noted(self, *inputs, **settings):
        output, saved = run(self, *inputs, **settings)
        calls.append((self, inputs, settings, output))
        return output, saved

    with mock.patch.object(Primitive, "run", noted):
        example.function(*example.tensors(device=device))
    for primitive, inputs, settings, output in calls:
        if primitive.plain is not None:
            tensors = [Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
            plain = primitive.plain(*tensors, **settings)
            what = f"{example}: {primitive.name} against its plain definition"
            assert_close(output.numpy(), plain.numpy(), 1e-12, what)


def check_float32(example: Example, device: str = "cpu") -> None:
    """Gradients of float32 inputs, of first and second order: like their input, and the float64 ones rounded."""
    for order, function in enumerate([backward, second_order], start=1):
        tensors = example.tensors(FLOAT32, requires_grad=True, device=device)
        gradients, _ = function(example, tensors)
        exact, _ = function(example, [Tensor(t.data.astype(np.float64), True) for t in tensors])
        for i, (t, g, e) in enumerate(zip(tensors, gradients, exact, strict=True)):
            what = f"{example}: float32 gradient {i} of order {order}"
            assert_like(g, t, what)
            assert_like(e, Tensor(t.data.astype(np.float64)), what)
            assert_close(g.numpy(), e.numpy(), 1e-4 if order == 1 else 1e-3, what)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda x: x.T.copy().T,
    "flipped": lambda x: x[backwards(x)].copy()[backwards(x)],
    "every other element": lambda x: spread(x),
}


def backwards(x: np.ndarray) -> tuple:
    return (..., *(slice(None, None, -1) for _ in x.shape))


def spread(x: np.ndarray) -> np.ndarray:
    """x as a step-sliced view of a larger array, between elements that must not be read."""
    wide = np.full_like(x, np.nan, shape=[2 * n + 1 for n in x.shape])
    view = wide[(..., *(slice(1, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def check_views(example: Example, layout: str, device: str = "cpu") -> None:
    """Inputs and output gradients that are not contiguous: the same values and gradients, and inputs left alone."""
    arrange = LAYOUTS[layout]

    def arranged():
        return [Tensor(arrange(to_device(x, device)), requires_grad=True) for x in example.inputs]

    views = arranged()
    before = [v.numpy().copy() for v in views]
    gradients, y = backward(example, views, arrange)
    expected, expected_y = backward(example, example.tensors(requires_grad=True, device=device))
    assert_close(y.numpy(), expected_y.numpy(), 1e-12, f"{example}, inputs {layout}")
    second, _ = second_order(example, arranged())
    expected_second, _ = second_order(example, example.tensors(requires_grad=True, device=device))
    pairs = zip(gradients, expected, second, expected_second, strict=True)
    for i, (g, e, h, f) in enumerate(pairs):
        assert_close(g.numpy(), e.numpy(), 1e-12, f"{example}: gradient {i}, inputs {layout}")
        assert_close(h.numpy(), f.numpy(), 1e-11, f"{example}: second-order gradient {i}, inputs {layout}")
        assert np.array_equal(views[i].numpy(), before[i]), f"{example}: input {i} was modified"


def cotangent(example: Example, y: Tensor) -> Tensor:
    """Random weights for the output y, of its dtype and on its device."""
    return tensor(np.random.default_rng(example.seed).standard_normal(y.shape), y.dtype, y.device)


def backward(example: Example, tensors: list[Tensor], arrange: Callable = lambda x: x) -> tuple[list, Tensor]:
    """The gradients that `Tensor.backward` leaves, with random weights; and the output."""
    y = example.function(*tensors)
    y.backward(Tensor(arrange(cotangent(example, y).data)))
    for i, t in enumerate(tensors):
        assert_like(t.grad, t, f"{example}: gradient {i}")
    return [t.grad for t in tensors], y


def second_order(example: Example, tensors: list[Tensor]) -> tuple[list, Tensor]:
    """Gradients of a random projection of the gradients; zeros where nothing depends on an input."""
    y = example.function(*tensors)
    first = grad(y, tensors, cotangent(example, y), create_graph=True)
    rng = np.random.default_rng(example.seed + 1)
    weights = [tensor(rng.standard_normal(g.shape), g.dtype, g.device) for g in first]
    projection = sum(((g * w).sum() for g, w in zip(first, weights, strict=True)), start=y.sum() * 0.0)
    second = grad(projection, tensors, allow_unused=True)
    return [Tensor(np.zeros_like(t.data)) if g is None else g for g, t in zip(second, tensors, strict=True)], y


def assert_like(gradient: Tensor | None, x: Tensor, what: str) -> None:
    assert gradient is not None, f"{what} is missing"
    given, needed = ((t.shape, t.dtype, t.device) for t in (gradient, x))
    assert given == needed, f"{what} has {given}, its input {needed}"


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    assert got.shape == np.shape(expected), f"{what}: shape {got.shape}, expected {np.shape(expected)}"
    finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind == "f" else np.zeros(1)
    scale = 1 + max(finite, default=0.0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=what)
