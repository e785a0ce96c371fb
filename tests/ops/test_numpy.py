"""What carries NumPy's name does what NumPy does, corners included."""

import math

import numpy as np
import pytest

import minigen

X = np.arange(24.0).reshape(2, 3, 4) - 11
V = np.array([3.0, -1.0, 2.0, 0.0, 5.0])
M = X[:, :, 0]
EMPTY = np.zeros((2, 0, 3))
I = np.array([2, 0, -1])

# (a call that works on both libraries, given the library and its array or tensor; the array)
SAME = {
    "x**0 is 1, at 0 too": (lambda m, x: x**0, V),
    "0.0**x": (lambda m, x: 0.0**x, np.array([0.0, 1.0])),
    "x**-1": (lambda m, x: x**-1, np.array([2.0, -4.0])),
    "x**0.5": (lambda m, x: x**0.5, np.array([0.0, 4.0])),
    "2**x": (lambda m, x: 2**x, V),
    "-x, abs(x)": (lambda m, x: -x + abs(x), V),
    "number - x": (lambda m, x: 1 - x, V),
    "number / x": (lambda m, x: 1 / x, X + 0.5),
    "clip without a low bound": (lambda m, x: m.clip(x, None, 1), V),
    "clip without a high bound": (lambda m, x: m.clip(x, 1, None), V),
    "clip without any": (lambda m, x: m.clip(x, None, None), V),
    "clip with crossed bounds": (lambda m, x: m.clip(x, 2, -2), V),
    "clip to arrays": (lambda m, x: m.clip(x, np.zeros((2, 1)), np.full(5, 2.0)), V),
    "where with numbers": (lambda m, x: m.where(x > 0, 1.5, -1), V),
    "where with a number": (lambda m, x: m.where(x > 0, x, 0), V),
    "where with an array that repeats": (lambda m, x: m.where([[True], [False]], x, 0.0), V),
    "sum of nothing": (lambda m, x: m.sum(x, 1), EMPTY),
    "prod of nothing": (lambda m, x: m.prod(x, 1), EMPTY),
    "max beside an empty axis": (lambda m, x: m.max(x, 2), EMPTY),
    "sum over no axes": (lambda m, x: m.sum(x, ()), M),
    "var over no axes": (lambda m, x: m.var(x, ()), M),
    "prod over no axes": (lambda m, x: m.prod(x, ()), M),
    "mean of two axes from the end": (lambda m, x: m.mean(x, (-1, -3)), X),
    "keepdims of all": (lambda m, x: m.sum(x, keepdims=True), X),
    "max of everything": (lambda m, x: m.max(x), X),
    "cumsum of everything is flat": (lambda m, x: m.cumsum(x), M),
    "cumsum from the end": (lambda m, x: m.cumsum(x, -1), X),
    "argmax is the first of equals": (lambda m, x: m.argmax(x * 0), V),
    "argmax of everything is flat": (lambda m, x: m.argmax(x), X),
    "argmin along an axis": (lambda m, x: m.argmin(x, -2), X),
    "split in parts": (lambda m, x: m.concatenate(m.split(x, 2, 2)[::-1], 0), X),
    "split at positions": (lambda m, x: m.concatenate(m.split(x, [1, 3])[::-1]), V),
    "split beyond the end": (lambda m, x: m.concatenate(m.split(x, [2, 9])[::-1]), V),
    "split from the end": (lambda m, x: m.concatenate(m.split(x, [-2])[::-1]), V),
    "split nowhere": (lambda m, x: m.split(x, [])[0], V),
    "pad all sides alike": (lambda m, x: m.pad(x, 1), M),
    "pad all axes alike": (lambda m, x: m.pad(x, (1, 2)), M),
    "pad each axis": (lambda m, x: m.pad(x, [(1,), (2,)]), M),
    "pad with a value": (lambda m, x: m.pad(x, ((0, 1), (2, 0)), constant_values=-3), M),
    "pad with infinity": (lambda m, x: m.pad(x, 1, constant_values=-np.inf), M),
    "pad nothing": (lambda m, x: m.pad(x, 0, "reflect"), M),
    "reflect beyond the axis": (lambda m, x: m.pad(x, 7, "reflect"), M),
    "reflect one element": (lambda m, x: m.pad(x[:1], 3, "reflect"), V),
    "edge": (lambda m, x: m.pad(x, [(2, 0), (0, 3)], "edge"), M),
    "tile with fewer numbers than axes": (lambda m, x: m.tile(x, 2), X),
    "tile with more": (lambda m, x: m.tile(x, (2, 1, 3)), M),
    "tile by an array": (lambda m, x: m.tile(x, np.array([2, 1])), M),
    "tile 0 times": (lambda m, x: m.tile(x, (1, 0)), M),
    "repeat is flat": (lambda m, x: m.repeat(x, 2), M),
    "repeat each differently": (lambda m, x: m.repeat(x, [0, 2, 1], 1), M),
    "repeat by an array of one": (lambda m, x: m.repeat(x, np.array([2]), 0), M),
    "repeat 0 times": (lambda m, x: m.repeat(x, 0, -1), M),
    "flip all": (lambda m, x: m.flip(x), X),
    "flip two": (lambda m, x: m.flip(x, (0, -1)), X),
    "x[::-1]": (lambda m, x: x[::-1], V),
    "x[5:1:-2]": (lambda m, x: x[5:1:-2], V),
    "x[-2:]": (lambda m, x: x[-2:], V),
    "x[7:]": (lambda m, x: x[7:], V),
    "x[..., 0]": (lambda m, x: x[..., 0], X),
    "x[None, :, ..., None]": (lambda m, x: x[None, :, ..., None], X),
    "x[np.newaxis]": (lambda m, x: x[np.newaxis], V),
    "x[-1]": (lambda m, x: x[-1], X),
    "x[1, -1, 2]": (lambda m, x: x[1, -1, 2], X),
    "x[np.int64(1)]": (lambda m, x: x[np.int64(1)], X),
    "x[()]": (lambda m, x: x[()], X),
    "x[[]]": (lambda m, x: x[[]], V),
    "x[:, []]": (lambda m, x: x[:, []], X),
    "x[[2, 0, -1]]": (lambda m, x: x[[2, 0, -1]], V),
    "x[i]": (lambda m, x: x[I], V),
    "x[i[:, None]]": (lambda m, x: x[I[:, None]], V),
    "x[0, :, i], arrays apart": (lambda m, x: x[0, :, I], X),
    "x[[0, 1], :, [2, 3]]": (lambda m, x: x[[0, 1], :, [2, 3]], X),
    "x[:, [0, 2], [1, 1]]": (lambda m, x: x[:, [0, 2], [1, 1]], X),
    "x[(0, 1), (2, 2)]": (lambda m, x: x[(0, 1), (2, 2)], M),
    "x[range(2)]": (lambda m, x: x[range(2)], V),
    "x[x > 0]": (lambda m, x: x[x > 0], X),
    "x[:, [True, False, True]]": (lambda m, x: x[:, [True, False, True]], X),
    "x[i > 0, 1]": (lambda m, x: x[:, I > 0, 1], X),
    "x[True]": (lambda m, x: x[True], V),
    "take from the end": (lambda m, x: m.take(x, [-1, 0, 0], 1), X),
    "take one": (lambda m, x: m.take(x, 1, 1), X),
    "x.T of one axis": (lambda m, x: x.T, V),
    "x.T of three": (lambda m, x: x.T, X),
    "transpose(None)": (lambda m, x: x.transpose(None), X),
    "transpose(2, 0, 1)": (lambda m, x: x.transpose(2, 0, 1), X),
    "transpose((0, -1, 1))": (lambda m, x: x.transpose((0, -1, 1)), X),
    "swapaxes": (lambda m, x: x.swapaxes(-1, 0), X),
    "reshape(-1)": (lambda m, x: x.reshape(-1), X),
    "reshape((4, -1))": (lambda m, x: x.reshape((4, -1)), X),
    "reshape to no axes": (lambda m, x: x[:1].reshape(()), V),
    "reshape of nothing": (lambda m, x: x.reshape(0, 7), EMPTY),
    "squeeze of one": (lambda m, x: m.squeeze(x[:, :1, :1], 1), X),
    "squeeze of all": (lambda m, x: m.squeeze(x[:, :1, :1]), X),
    "expand_dims at two": (lambda m, x: m.expand_dims(x, (0, -1)), X),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (2, 1, 5)), V),
    "concatenate along the last": (lambda m, x: m.concatenate([x, x, x], -1), X),
    "stack along a new last": (lambda m, x: m.stack([x, -x], -1), X),
    "stack of numbers": (lambda m, x: m.stack([x[0], x[1]]), V),
    "matmul of vectors": (lambda m, x: x @ x, V),
    "matmul of a vector and a stack": (lambda m, x: m.matmul(x[0, 0, :3], x), X),
    "matmul of a stack and a vector": (lambda m, x: m.matmul(x, x[0, 0]), X),
    "matmul with an array on the left": (lambda m, x: np.ones((4, 2)) @ x, M),
    "matmul over nothing": (lambda m, x: m.matmul(x.transpose(0, 2, 1), x), EMPTY),
    "einsum in alphabetical order": (lambda m, x: m.einsum("ba", x), M),
    "einsum trace": (lambda m, x: m.einsum("ii", x[:, :2]), M),
    "einsum diagonal": (lambda m, x: m.einsum("ii->i", x[:, :2]), M),
    "einsum sum": (lambda m, x: m.einsum("ij->", x), M),
    "einsum with an ellipsis": (lambda m, x: m.einsum("...i,i->...", x, np.ones(4)), X),
    "einsum with an implicit ellipsis": (lambda m, x: m.einsum("...ij", x), X),
    "einsum of three": (lambda m, x: m.einsum("ij,kj,kl->il", x, x, x), M),
    "einsum with a letter on its own": (lambda m, x: m.einsum("ij,k->i", x, np.ones(2)), M),
    "einsum with capitals": (lambda m, x: m.einsum("aB,Ba", x, x.T), M),
    "maximum and nan": (lambda m, x: m.maximum(x, np.array([np.nan, 0, 0, 0, 0])), V),
    "sign": (lambda m, x: m.sign(x), V),
    "comparison chain": (lambda m, x: (x > 0) == (x >= 1), V),
    "comparison with an array": (lambda m, x: np.zeros(5) < x, V),
    "bools add up": (lambda m, x: (x > 0).sum(), V),
    "the mean of bools": (lambda m, x: (x > 0).mean(), V),
    "1 - bool": (lambda m, x: 1 - (x > 0), V),
}  # fmt: skip


# What of these has an array of its own beside x
TWO = ("to arrays", "an array that", "array on the left", "ellipsis", "letter on its own", "and nan", "with an array")


@pytest.mark.parametrize("what", SAME)
def test_the_same_as_numpy(what, device):
    call, x = SAME[what]
    t, expected = minigen.tensor(x, device=device), np.asarray(call(np, x))
    if device == "cuda" and what != "einsum with an implicit ellipsis" and any(words in what for words in TWO):
        with pytest.raises(ValueError, match="arguments on different devices"):
            call(minigen, t)
        return
    y = call(minigen, t)
    assert isinstance(y, minigen.Tensor) and y.device == t.device
    assert y.shape == expected.shape and y.dtype.kind == expected.dtype.kind
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6 if y.dtype == np.float32 else 1e-14)


CONSTANT = ("arg", "sign", "bool", "comparison", "nan", "where with numbers", "the mean of bools", "1 - bool")


@pytest.mark.parametrize("what", [what for what in SAME if not any(word in what for word in CONSTANT)])
def test_the_gradient_arrives(what):
    """Through every form of the arguments, also where a bound or an axis is None."""
    call, x = SAME[what]
    t = minigen.tensor(x, requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = call(minigen, t)
        y.backward(np.ones(y.shape))
    assert (t.grad.shape, t.grad.dtype) == (x.shape, x.dtype)


def moved(what):
    words = "split pad reflect edge tile repeat flip x[ take x.T transpose swapaxes reshape squeeze expand broadcast "
    return what.startswith(tuple((words + "concatenate").split()))


@pytest.mark.parametrize("what", [what for what in SAME if moved(what)])
def test_what_moves_elements_moves_their_gradients_back(what, device):
    """The gradient counts how often each element was used: put numbers into the elements and count them outside."""
    call, x = SAME[what]
    t = minigen.tensor(x, device=device, requires_grad=True)
    y = call(minigen, t)
    y.backward(minigen.tensor(np.ones(y.shape), device=device))
    numbered = np.arange(1.0, 1 + x.size).reshape(x.shape)
    came_out = call(np, numbered) if "x[x > 0]" not in what else numbered[x > 0]
    expected = [(came_out == n).sum() for n in numbered.ravel()]
    np.testing.assert_array_equal(t.grad.numpy().ravel(), expected)


NAMED_AXIS = ["sum", "mean", "var", "max", "min", "prod", "logsumexp", "cumsum", "argmax", "argmin", "norm"]
NAMED_AXIS += ["softmax", "log_softmax", "flip", "squeeze"]
AXIS = {
    "expand_dims": lambda x, axis: minigen.expand_dims(x, axis + 1 if axis > 0 else axis - 1),
    "swapaxes": lambda x, axis: minigen.swapaxes(x, axis, 0),
    "take": lambda x, axis: minigen.take(x, [0], axis),
    "split": lambda x, axis: minigen.split(x, [1], axis),
    "repeat": lambda x, axis: minigen.repeat(x, 2, axis),
    "repeat by an array": lambda x, axis: minigen.repeat(x, [1], axis),
    "concatenate": lambda x, axis: minigen.concatenate([x, x], axis),
    "stack": lambda x, axis: minigen.stack([x, x], axis + 1 if axis > 0 else axis - 1),
    "gather": lambda x, axis: minigen.gather(x, np.zeros((1, 1), int), axis),
    "transpose": lambda x, axis: minigen.transpose(x, 0, axis),
}


@pytest.mark.parametrize("name", [*NAMED_AXIS, *AXIS])
@pytest.mark.parametrize("axis", [2, -3, 5])
def test_an_axis_that_does_not_exist_is_an_error(name, axis):
    x = minigen.tensor(np.ones((1, 1)))
    with pytest.raises((ValueError, IndexError)):
        AXIS[name](x, axis) if name in AXIS else getattr(minigen, name)(x, axis=axis)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.max(x),
        lambda m, x: m.min(x, 0),
        lambda m, x: m.argmax(x),
        lambda m, x: m.pad(x, 1, "edge"),
        lambda m, x: m.reshape(x, (3,)),
        lambda m, x: m.concatenate([]),
        lambda m, x: m.stack([]),
        lambda m, x: m.stack([x, np.ones(2)]),
        lambda m, x: m.concatenate([x, np.ones((1, 1))]),
        lambda m, x: m.broadcast_to(np.ones(2), (3,)),
        lambda m, x: m.matmul(x, 2.0),
        lambda m, x: m.matmul(np.ones((2, 3)), np.ones((2, 3))),
        lambda m, x: m.split(np.ones(5), 2),
        lambda m, x: m.repeat(np.ones(2), [1, 2, 3]),
        lambda m, x: m.repeat(np.ones(2), -1),
        lambda m, x: m.pad(np.ones(2), -1),
        lambda m, x: m.squeeze(np.ones(2), 0),
        lambda m, x: m.einsum("ij,jk", np.ones((2, 3)), np.ones((2, 3))),
        lambda m, x: m.einsum("ij", np.ones(2)),
        lambda m, x: m.einsum("i,j", np.ones(2)),
        lambda m, x: m.einsum("i->j", np.ones(2)),
    ],
)
def test_a_value_error_where_numpy_has_one(call):
    x = np.zeros(0)
    for library, argument in ((np, x), (minigen, minigen.tensor(x))):
        with pytest.raises(ValueError):
            call(library, argument)


@pytest.mark.parametrize("index", [5, -6, (0, 0), [9], np.array([1.5]), "a", [True] * 4], ids=repr)
def test_an_index_error_where_numpy_has_one(index):
    for x in (V, minigen.tensor(V)):
        with pytest.raises(IndexError):
            x[index]


def test_the_mean_of_nothing_is_nan():
    with pytest.warns(RuntimeWarning):
        assert math.isnan(minigen.mean(minigen.tensor(np.zeros(0))).item())


def test_logsumexp_of_nothing_is_minus_infinity():
    np.testing.assert_array_equal(minigen.logsumexp(minigen.tensor(EMPTY), 1).data, np.full((2, 3), -np.inf))


METHODS = [
    "abs", "exp", "log", "sqrt", "sin", "cos", "tanh", "erf", "clip", "sum", "mean", "var", "max", "min", "prod",
    "cumsum", "argmax", "argmin", "reshape", "transpose", "swapaxes", "squeeze", "repeat", "broadcast_to", "split",
    "flip", "pad", "gather", "astype",
]  # fmt: skip
ARGUMENTS = {
    "clip": (0.5, 2.0),
    "reshape": (4, 1),
    "swapaxes": (0, 1),
    "repeat": (2, 1),
    "broadcast_to": ((3, 2, 2),),
    "split": (2, 1),
    "flip": (0,),
    "pad": (1, "edge"),
    "gather": ([[0, 1]], 0),
    "astype": (np.float64,),
    "sum": (1, True),
    "max": (-1,),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_function(name):
    x = minigen.tensor([[0.5, 1.5], [2.5, 0.25]])
    arguments = ARGUMENTS.get(name, ())
    ours, functions = getattr(x, name)(*arguments), getattr(minigen, name)(x, *arguments)
    for y, z in zip(ours, functions, strict=True) if name == "split" else [(ours, functions)]:
        assert (y.dtype, y.shape) == (z.dtype, z.shape)
        np.testing.assert_array_equal(y.data, z.data)


def test_an_index_may_change_after_it_was_used():
    x, index, mask = minigen.tensor(V, requires_grad=True), np.array([1, 1]), np.array([True] + [False] * 4)
    y = x[index].sum() + x[mask].sum()
    index[:], mask[:] = 3, True
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [1, 2, 0, 0, 0])
