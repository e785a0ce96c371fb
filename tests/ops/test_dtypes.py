"""Which dtype comes out: float32 and float64 never mix, and no integer turns float32 into float64."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minigen
from minigen import F, Tensor

from .cases import CASES, examples_of

FLOATS = ["float32", "float64"]
SEVERAL = [
    label
    for label, case in CASES.items()
    if case.differentiable and any(len(e.inputs) > 1 for e in examples_of(label, 10))
]


@pytest.mark.parametrize("label", SEVERAL)
@settings(max_examples=8)
@given(data=st.data())
def test_float32_and_float64_do_not_mix(label, data):
    """Whichever input is the odd one, the error names both dtypes."""
    example = data.draw(CASES[label].examples())
    assume(len(example.inputs) > 1)
    odd = data.draw(st.integers(0, len(example.inputs) - 1))
    mixed = [Tensor(x.astype(np.float32) if i == odd else x) for i, x in enumerate(example.inputs)]
    with pytest.raises(TypeError, match=r"float32.*float64|float64.*float32"):
        example.function(*mixed)


BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "matmul": np.matmul,
    "where": lambda a, b: np.where([True, False], a, b),
    "concatenate": lambda a, b: np.concatenate([a, b]),
    "stack": lambda a, b: np.stack([a, b]),
    "einsum": lambda a, b: np.einsum("ij,jk->ik", a, b),
    "clip": lambda a, b: np.clip(a, b, 3),
    "linear": np.matmul,
    "mse_loss": lambda a, b: ((a * 1.0 - b) ** 2).mean(),
    "l1_loss": lambda a, b: np.abs(a * 1.0 - b).mean(),
}
CALLS = {
    "where": lambda a, b: minigen.where(minigen.tensor([True, False]).to(device_of_one(a, b)), a, b),
    "concatenate": lambda a, b: minigen.concatenate([a, b]),
    "stack": lambda a, b: minigen.stack([a, b]),
    "einsum": lambda a, b: minigen.einsum("ij,jk->ik", a, b),
    "clip": lambda a, b: minigen.clip(a, b, 3),
}
WHOLE = np.array([[1, 0], [2, 1]])


def device_of_one(*xs):
    return next((x.device for x in xs if isinstance(x, Tensor)), "cpu")


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("whole", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("floating", FLOATS)
def test_integers_and_bools_take_on_the_floating_dtype(name, whole, floating, device):
    """On either side; the gradient of the floating operand has its dtype, and the other has none."""
    function = CALLS.get(name, getattr(F, name))
    n, x = minigen.tensor(WHOLE.astype(whole), device=device), np.array([[0.5, 1.5], [2.0, 3.0]], floating)
    for swapped in (False, True):
        t = minigen.tensor(x, device=device, requires_grad=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            y = function(*((n, t) if swapped else (t, n)))
            assert (y.dtype, y.device) == (floating, t.device)
            expected = BINARY[name](*((n.numpy(), x) if swapped else (x, n.numpy())))
            np.testing.assert_allclose(y.numpy(), expected.astype(floating), rtol=1e-6)
            ones = minigen.tensor(np.ones(y.shape, floating), device=device)
            y.backward(ones)
            same, m = minigen.tensor(t, requires_grad=True), n.astype(floating)
            function(*((m, same) if swapped else (same, m))).backward(ones)
        assert (t.grad.dtype, t.grad.shape, n.grad) == (x.dtype, x.shape, None)
        np.testing.assert_allclose(t.grad.numpy(), same.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "where"])
@pytest.mark.parametrize("number", [2, 0.5, True, np.float64(0.5), np.int64(3), np.float32(0.5)], ids=repr)
@pytest.mark.parametrize("floating", FLOATS)
def test_numbers_take_on_the_dtype_of_a_tensor(name, number, floating):
    function = CALLS.get(name, getattr(minigen, name))
    x = np.array([1.5, 2.0], floating)
    for swapped in (False, True):
        t = minigen.tensor(x, requires_grad=True)
        y = function(*((number, t) if swapped else (t, number)))
        expected = BINARY[name](*((number, x) if swapped else (x, number)))
        assert y.dtype == floating
        np.testing.assert_allclose(y.data, expected.astype(floating), rtol=1e-6)
        y.backward(np.ones(y.shape, floating))
        assert (t.grad.dtype, t.grad.shape) == (x.dtype, x.shape)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum", "where"])
def test_integers_meet_a_floating_number_as_float32(name):
    function, n = CALLS.get(name, getattr(minigen, name)), np.array([1, 2])
    for arguments in ((n, 0.5), (0.5, n)):
        y = function(*arguments)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.data, BINARY[name](*arguments), rtol=1e-6)


TO_FLOAT = {
    name: getattr(minigen, name)
    for name in ("exp", "log", "log1p", "expm1", "sqrt", "erf", "sin", "cos", "tan", "arctan", "tanh", "sigmoid")
    + ("silu", "softplus", "gelu", "elu", "leaky_relu", "softmax", "log_softmax", "logsumexp", "mean", "var", "norm")
}


@pytest.mark.parametrize("name", TO_FLOAT)
@pytest.mark.parametrize("whole", ["int64", "uint8", "bool"])
def test_functions_that_leave_the_integers_give_float32(name, whole, device):
    n = np.array([1, 1, 1] if whole == "bool" else [1, 2, 3], whole)
    y = TO_FLOAT[name](minigen.tensor(n, device=device))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), TO_FLOAT[name](n.astype(np.float64)).data, rtol=1e-6)


KEEPING = {
    "negative": (minigen.negative, np.negative),
    "abs": (minigen.abs, np.abs),
    "sign": (minigen.sign, np.sign),
    "relu": (minigen.relu, lambda x: np.maximum(x, 0)),
    "add": (lambda x: x + 1, lambda x: x + 1),
    "multiply": (lambda x: x * x, lambda x: x * x),
    "power": (lambda x: x**2, lambda x: x**2),
    "maximum": (lambda x: minigen.maximum(x, 1), lambda x: np.maximum(x, 1)),
    "where": (lambda x: minigen.where(x > 0, x, 7), lambda x: np.where(x > 0, x, 7)),
    "where of numbers": (lambda x: minigen.where(x > 0, 1, 7), lambda x: np.where(x > 0, 1, 7)),
    "clip": (lambda x: minigen.clip(x, 0, 1), lambda x: np.clip(x, 0, 1)),
    "sum": (minigen.sum, np.sum),
    "prod": (lambda x: minigen.prod(x, 1), lambda x: np.prod(x, 1)),
    "max": (lambda x: minigen.max(x, 0), lambda x: np.max(x, 0)),
    "min": (minigen.min, np.min),
    "cumsum": (minigen.cumsum, np.cumsum),
    "matmul": (lambda x: x @ x, lambda x: x @ x),
    "einsum": (lambda x: minigen.einsum("ij->j", x), lambda x: np.einsum("ij->j", x)),
    "reshape": (lambda x: x.reshape(-1), lambda x: x.reshape(-1)),
    "transpose": (lambda x: x.T, lambda x: x.T),
    "getitem": (lambda x: x[::-1, [0, 1]], lambda x: x[::-1, [0, 1]]),
    "gather": (lambda x: minigen.gather(x, x * 0, 0), lambda x: np.take_along_axis(x, x * 0, 0)),
    "concatenate": (lambda x: minigen.concatenate([x, x]), lambda x: np.concatenate([x, x])),
    "pad": (lambda x: minigen.pad(x, 1, constant_values=3), lambda x: np.pad(x, 1, constant_values=3)),
    "repeat": (lambda x: minigen.repeat(x, 2, 0), lambda x: np.repeat(x, 2, 0)),
    "tile": (lambda x: minigen.tile(x, (2, 1)), lambda x: np.tile(x, (2, 1))),
    "max_pool1d": (
        lambda x: minigen.max_pool1d(x[None], 2, stride=1, padding=1),
        lambda x: np.maximum(np.concatenate([x[:1], x]), np.concatenate([x, x[-1:]]))[None],
    ),
}


@pytest.mark.parametrize("name", KEEPING)
def test_integers_stay_integers(name, device):
    ours, numpys = KEEPING[name]
    n = np.array([[1, -2], [3, 0]])
    y, expected = ours(minigen.tensor(n, device=device)), numpys(n)
    assert y.dtype == expected.dtype == np.int64 and y.shape == expected.shape
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "cumsum"])
@pytest.mark.parametrize("whole", ["uint8", "int32", "bool"])
def test_reductions_of_small_integers_do_not_overflow(name, whole, device):
    n = np.array([[200, 3, 100], [7, 250, 1]]).astype(whole)
    t = minigen.tensor(n, device=device)
    y, expected = getattr(minigen, name)(t, 1), getattr(np, name)(n, 1)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_allclose(minigen.norm(t).item(), np.linalg.norm(n.astype(float)), rtol=1e-6)


INDEXED = {
    "getitem": lambda x, i: x[i],
    "take": lambda x, i: minigen.take(x, i, 1),
    "gather": lambda x, i: minigen.gather(x[:, :2], i, 0),
    "embedding": lambda x, i: minigen.embedding(i, x),
    "cross_entropy": lambda x, i: F.cross_entropy(x[:2], i[0], "none"),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("whole", ["int8", "uint8", "int32", "uint64"])
def test_indices_may_be_integers_of_any_size(name, whole, device):
    """With the same values and gradients."""
    results = []
    for dtype in (whole, "int64"):
        x = minigen.tensor(np.arange(9.0).reshape(3, 3), device=device, requires_grad=True)
        y = INDEXED[name](x, minigen.tensor(np.array([[0, 2], [1, 1]], dtype), device=device))
        y.backward(minigen.tensor(np.arange(1.0, 1 + y.size).reshape(y.shape), device=device))
        results.append((y.numpy(), x.grad.numpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", INDEXED)
def test_indices_must_not_be_floats(name):
    with pytest.raises((TypeError, IndexError), match="integer"):
        INDEXED[name](minigen.tensor(np.ones((3, 3))), minigen.tensor([[0.0, 2.0], [1.0, 1.0]]))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_integer_images_can_be_resized(mode):
    x = np.arange(4).reshape(1, 2, 2, 1)
    y = minigen.interpolate(minigen.tensor(x), 3, mode)
    np.testing.assert_allclose(y.data, minigen.interpolate(x.astype(np.float32), 3, mode).data)


def test_a_tensor_cast_to_another_floating_dtype_gets_its_gradient_back_in_its_own():
    x = minigen.tensor([1.5, 2.0], requires_grad=True)
    y = x.astype(np.float64) * 1.0000000001
    assert y.dtype == np.float64
    (g,) = minigen.grad((y * y).sum(), x, create_graph=True)
    assert g.dtype == np.float32
    np.testing.assert_allclose(g.data, [3.0, 4.0])
    (h,) = minigen.grad((g * g).sum(), x)
    assert h.dtype == np.float32
    np.testing.assert_allclose(h.data, [12.0, 16.0], rtol=1e-6)


def test_no_gradient_flows_through_integers():
    """A product with x rounded down: the rounding is a constant."""
    x = minigen.tensor([1.5, 2.5], requires_grad=True)
    (x * x.astype(np.int64)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [1.0, 2.0])
    assert not x.astype(np.int64).requires_grad
