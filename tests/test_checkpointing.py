"""`minigen.checkpoint`: the same values and gradients as without it, from less memory."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen as mg
from minigen import nn


def network():
    mg.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.4), nn.Linear(6, 4)).astype(np.float64)


def run(checkpointed, segments, second_order):
    """Value and gradients (input, then parameters) of a network, in `segments` nested checkpoints."""
    model = network()
    parameters = list(model.parameters())
    x = mg.randn(5, 4, dtype=np.float64).requires_grad_()
    fn = model
    for _ in range(segments if checkpointed else 0):
        fn = lambda x, inner=fn: mg.checkpoint(inner, x)  # noqa: E731
    y = (fn(x) ** 2).sum()
    if not second_order:
        y.backward()
        return [y, x.grad, *(p.grad for p in parameters)]
    gradients = mg.grad(y, [x, *parameters], create_graph=True)
    squares = sum((g * g).sum() for g in gradients)
    return [y, *gradients, *mg.grad(squares, [x, *parameters])]


@pytest.mark.parametrize("second_order", [False, True], ids=["first order", "second order"])
@settings(deadline=None, max_examples=3)
@given(segments=st.integers(1, 3))
def test_same_values_and_gradients_with_the_same_random_numbers(second_order, segments):
    for with_, without in zip(run(True, segments, second_order), run(False, segments, second_order), strict=True):
        np.testing.assert_allclose(with_.numpy(), without.numpy(), rtol=1e-12, atol=1e-13)


def test_the_random_numbers_go_on_as_without():
    x = mg.tensor(np.ones(8), requires_grad=True)
    drawn = []
    for wrap in (mg.checkpoint, lambda fn, *xs: fn(*xs)):
        mg.manual_seed(5)
        y = wrap(lambda t: t * mg.rand(8, dtype=np.float64), x)
        between = mg.rand(3).numpy()
        y.sum().backward()
        drawn.append(np.concatenate([y.numpy(), between, mg.rand(3).numpy(), x.grad.numpy()]))
        x.grad = None
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0][:8], drawn[0][-8:])  # the gradient of t r is r: drawn again, the same


def test_nothing_is_kept_between_forward_and_backward():
    x = mg.tensor(np.ones(100), requires_grad=True)
    inner = []

    def fn(t):
        values = [t]
        for _ in range(10):
            values.append(values[-1].sin())
        inner.extend(weakref.ref(v.data) for v in values[1:])
        return values[-1]

    plain = fn(x)
    assert sum(r() is not None for r in inner) == 10  # sin keeps its inputs; the last one is the output
    inner.clear()
    y = mg.checkpoint(fn, x)
    assert [r() is not None for r in inner] == [False] * 9 + [True]
    total = y.sum()
    del y
    assert inner[9]() is None  # nor is the output, which nobody needs
    total.backward()
    (gradient,) = mg.grad(plain.sum(), x)
    np.testing.assert_allclose(x.grad.numpy(), gradient.numpy(), rtol=1e-14)
    assert not any(r() is not None for r in inner)


def test_after_backward_the_inputs_are_free():
    x = mg.tensor(np.ones(3), requires_grad=True)
    h = x * 2
    y = mg.checkpoint(mg.sin, h)
    array = weakref.ref(h.data)
    del h
    assert array() is not None
    y.sum().backward()
    assert array() is None


def test_two_inputs_of_which_one_came_from_the_other():
    x = mg.tensor(np.array([0.5, -1.0]), requires_grad=True)
    h = x * x
    mg.checkpoint(lambda a, b: a * b, x, h).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * x.numpy() ** 2)


def test_a_captured_tensor_is_differentiated_through():
    x = mg.tensor(np.array([0.5, -1.0]), requires_grad=True)
    h = x.exp()
    mg.checkpoint(lambda a: a * h, x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), (1 + x.numpy()) * np.exp(x.numpy()))


def test_integers_and_numbers_are_passed_on():
    table = nn.Parameter(np.arange(6.0).reshape(3, 2))
    indices = np.array([2, 0, 2])
    y = mg.checkpoint(lambda i, t, scale: mg.embedding(i, t) * scale, indices, table, 2.0)
    y.sum().backward()
    np.testing.assert_array_equal(table.grad.numpy(), [[2, 2], [0, 0], [4, 4]])


def test_without_grad_it_is_the_function():
    x = mg.tensor([1.0], requires_grad=True)
    calls = []
    with mg.no_grad():
        y = mg.checkpoint(lambda t: calls.append(t) or t * 3, x)
    assert calls == [x] and not y.requires_grad
    assert y.item() == 3


def test_parameters_changed_before_backward_are_noticed():
    w = nn.Parameter([2.0])
    y = mg.checkpoint(lambda t: t * w, mg.tensor([1.0]))
    w.assign_(np.array([5.0], np.float32))
    with pytest.raises(RuntimeError, match="an input of checkpoint was given new values"):
        y.backward()


def test_a_second_backward_is_an_error():
    x = mg.tensor([1.0], requires_grad=True)
    y = mg.checkpoint(mg.sin, x)
    y.backward()
    with pytest.raises(RuntimeError, match="checkpoint was freed"):
        y.backward()


def test_the_function_must_return_a_tensor():
    with pytest.raises(TypeError, match="checkpoint: fn must return one Tensor, it returned tuple"):
        mg.checkpoint(lambda t: (t, t), mg.tensor([1.0], requires_grad=True))
