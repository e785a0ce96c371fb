"""The engine: what backward and grad give, what they keep and free, and what they refuse."""

import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigen as mg
from minigen import nn
from minigen.autograd import Primitive


def leaf(*values, dtype=np.float64):
    return mg.tensor(np.array(values if len(values) > 1 else values[0]), dtype=dtype, requires_grad=True)


def same(gradient, expected):
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12, atol=1e-14)


# ---- first order ---------------------------------------------------------------------------------------

# Each works on Tensors and, for the oracle, on complex arrays alike.
OPS = {
    "add": lambda f, a, b: a + b,
    "subtract": lambda f, a, b: a - b,
    "multiply": lambda f, a, b: a * b,
    "sin": lambda f, a, b: f.sin(a),
    "exp": lambda f, a, b: f.exp(f.sin(b)),
    "divide": lambda f, a, b: a / (b * b + 2),
}


@settings(deadline=None, max_examples=60)
@given(program=st.lists(st.tuples(st.sampled_from(sorted(OPS)), st.integers(0, 99), st.integers(0, 99)), max_size=12))
def test_random_programs_against_the_complex_step(program):
    """Im f(x + ih) / h is the derivative along a direction without any cancellation (Squire & Trapp 1998)."""
    rng = np.random.default_rng(len(program))
    starts, directions = rng.uniform(-1, 1, (2, 3, 4))

    def run(values, library):
        values = list(values)
        for name, i, j in program:
            values.append(OPS[name](library, values[i % len(values)], values[j % len(values)]))
        return values[-1] * values[0] + values[-2]

    leaves = [leaf(s) for s in starts]
    run(leaves, mg).sum().backward()
    slope = sum(np.vdot(x.grad.data, d) for x, d in zip(leaves, directions) if x.grad is not None)
    step = 1e-30
    expected = run([s + 1j * step * d for s, d in zip(starts, directions)], np).sum().imag / step
    assert slope == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_gradients_add_up_within_a_call_and_over_calls():
    x = leaf(2.0, 3.0)
    (x * x + x).sum().backward()
    same(x.grad, [5, 7])  # 2 x + 1
    (x * x * x).sum().backward()
    same(x.grad, [5 + 12, 7 + 27])  # + 3 x^2


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_slices_of_one_tensor_share_its_gradient(order, create_graph):
    """Slices that overlap, that name an element twice, and a use of the whole, whichever comes first."""
    x = mg.tensor(np.arange(6.0), requires_grad=True)
    weights = np.array([1.0, 10.0, 100.0]), np.array([2.0, 3.0]), np.array([5.0, 7.0, 11.0]), np.arange(6.0)
    uses = (lambda x: x[::2]), (lambda x: x[3:5]), (lambda x: x[np.array([0, 0, 5])]), (lambda x: x * 1)
    y = sum((uses[i](x * x) * mg.tensor(weights[i])).sum() for i in order)
    slope = np.array([1 + 5 + 7 + 0, 1, 10 + 2, 2 + 3, 100 + 3 + 4, 5 + 11])
    y.backward(create_graph=create_graph)
    same(x.grad, 2 * np.arange(6.0) * slope)
    if create_graph:
        same(mg.grad(x.grad.sum(), x)[0], 2 * slope)


def test_a_gradient_that_slices_are_added_to_is_nobody_elses():
    """The gradient given to backward, and those that grad returns, keep their values."""
    x, weight = leaf(1.0, 2.0, 3.0), mg.tensor(np.array([1.0, 1.0, 1.0]))
    y = x * 1
    z = y * 1  # passes its gradient on as it came
    total = mg.concatenate([z, y[:2], y[1:], x[:1], x[2:]])
    (whole, middle, start) = mg.grad(total, [z, y, x], mg.tensor(np.array([1.0] * 9)))
    same(whole, [1, 1, 1])
    same(middle, [2, 3, 2])
    same(start, [3, 3, 3])
    y = x * 1
    mg.grad([y, y[:2], y[:1]], [x], [weight, weight[:2], weight[:1]])
    same(weight, [1, 1, 1])


def test_a_gradient_is_added_to_in_place_if_nobody_else_holds_it():
    x = leaf(np.ones(2**17), dtype=np.float32)  # large enough for the kernel
    (x * 2).sum().backward()
    memory = x.grad.data.ctypes.data
    (x * 3).sum().backward()
    assert x.grad.data.ctypes.data == memory
    same(x.grad, 5)


@pytest.mark.parametrize("size", [3, 2**17])
@pytest.mark.parametrize(
    "hold", [lambda t: t, lambda t: t.data, lambda t: t.data[:2], lambda t: t.detach(), np.asarray]
)
def test_a_gradient_that_is_held_elsewhere_keeps_its_values(hold, size):
    x = leaf(np.ones(size))
    (x * 2).sum().backward()
    held = hold(x.grad)
    (x * 3).sum().backward()
    same(x.grad, 5)
    assert (np.asarray(held) == 2).all()


def test_gradients_that_share_an_array_stay_apart():
    """Both terms of a sum get the same gradient, and one of them more than that."""
    x, y, weight = leaf(1.0, 2.0), leaf(3.0, 4.0), mg.tensor(np.array([1.0, 10.0]))
    a, b = x * 1, y * 1
    total = a + b
    (total * weight + a * 2 + a * 3).backward(weight)
    same(x.grad, [1 + 5, 100 + 50])
    same(y.grad, [1, 100])
    same(weight, [1, 10])


@pytest.mark.parametrize("index", [np.s_[:, 1], np.s_[:, [1, 1, 0]], np.s_[..., 5:], np.s_[[1, 0, 1]]])
def test_large_slices_are_added_where_they_belong(index):
    x = leaf(np.zeros((2**12, 3, 32)), dtype=np.float32)
    (x[index] * 2 + x[index]).sum().backward()
    expected = np.zeros(x.shape)
    np.add.at(expected, index, 3)
    same(x.grad, expected)


def test_a_chain_of_ten_thousand_operations():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + 0.5
    y.backward()
    same(x.grad, 1.0)


def test_a_chain_of_diamonds_runs_each_rule_once():
    runs = []
    halve = Primitive(lambda a: a / 2)
    halve.vjp(lambda g, _y, _a: runs.append(1) or g * 0.5)
    x = leaf(3.0)
    y = x
    for _ in range(2000):
        y = halve(y) + halve(y)
    y.backward()
    same(x.grad, 1.0)
    assert len(runs) == 4000


shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)


@settings(deadline=None)
@given(shapes)
def test_broadcasting_is_undone(broadcast):
    """The sum of c a b is linear in a, so its gradient is its value at each unit vector."""
    (shape_a, shape_b), shape = broadcast.input_shapes, broadcast.result_shape
    rng = np.random.default_rng(0)
    a, b, c = leaf(rng.normal(size=shape_a)), leaf(rng.normal(size=shape_b)), rng.normal(size=shape)
    (a * b + a).backward(c)
    units = np.eye(a.size).reshape(-1, *shape_a)
    expected = [(c * (unit * b.data + unit)).sum() for unit in units]
    same(a.grad, np.reshape(expected, shape_a))
    assert (a.grad.shape, b.grad.shape) == (shape_a, shape_b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_has_the_shape_dtype_and_device_of_its_leaf(dtype):
    x, scale = leaf(np.ones((2, 3)), dtype=dtype), leaf(2.0, dtype=dtype)
    ((x * scale).exp() / 3 + np.float64(1) * x).mean().backward()
    for t in (x, scale):
        assert (t.grad.shape, t.grad.dtype, t.grad.device) == (t.shape, np.dtype(dtype), "cpu")


def test_leaves_own_their_gradients():
    a, b, c, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(np.ones((2, 2))), mg.tensor(np.array([5.0, 6.0]))
    (a + b).backward(seed)
    (c.sum() * 2).backward()  # on the way, a broadcast view
    a.grad.data += 1  # must not show in the others
    c.grad.data[0, 0] = 9
    same(b.grad, [5, 6])
    same(seed, [5, 6])
    same(c.grad, [[9, 2], [2, 2]])
    assert c.grad.data.flags.c_contiguous


# ---- grad ----------------------------------------------------------------------------------------------


def test_grad_of_several_outputs_leaves_the_leaves_alone():
    x, y, unused = leaf(2.0), leaf(3.0), leaf(1.0)
    outputs = [x * y, x * x * leaf(1.0, 1.0)]
    weights = [mg.tensor(np.array(10.0)), np.array([1.0, 2.0])]
    dx, dy, none = mg.grad(outputs, [x, y, unused], weights, allow_unused=True)
    same(dx, 10 * 3 + (1 + 2) * 2 * 2)
    same(dy, 10 * 2)
    assert none is None
    assert x.grad is None and y.grad is None
    with pytest.raises(RuntimeError, match="do not depend on input 1; allow_unused=True gives None"):
        mg.grad(x * y, [x, unused])


def test_grad_of_an_intermediate_and_the_leaf_behind_it():
    x = leaf(2.0)
    h = x * x
    z = h * h + 3 * x
    dh, dx, dz = mg.grad(z, [h, x, z])
    same(dh, 2 * 4)
    same(dx, 4 * 8 + 3)  # 4 x^3 + 3
    same(dz, 1)


def test_the_graph_behind_an_intermediate_outlives_grad():
    x = leaf(0.5)
    h = x.exp()
    (dh,) = mg.grad(h * h, h)
    h.backward(dh)
    same(x.grad, 2 * np.exp(1.0))  # d exp(2 x)/dx


def test_derivatives_of_every_order_of_a_power():
    x = leaf(1.5)
    y = x**5
    for expected in (5 * 1.5**4, 20 * 1.5**3, 60 * 1.5**2, 120 * 1.5, 120):
        (y,) = mg.grad(y, x, create_graph=True)
        same(y, expected)


def test_third_order_of_sin_and_of_a_mixed_derivative():
    x, y = leaf(0.7), leaf(-1.3)
    d = x.sin()
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7)):
        (d,) = mg.grad(d, x, create_graph=True)
        same(d, expected)
    f = (x * y).exp()
    (fx,) = mg.grad(f, x, create_graph=True)
    (fxy,) = mg.grad(fx, y, create_graph=True)
    fxyx, fxyy = mg.grad(fxy, [x, y])
    e = np.exp(0.7 * -1.3)
    same(fxy, (1 + 0.7 * -1.3) * e)
    same(fxyx, (2 * -1.3 + 0.7 * 1.3**2) * e)  # (2 y + x y^2) exp(x y)
    same(fxyy, (2 * 0.7 + 0.7**2 * -1.3) * e)


def test_backward_with_create_graph_gives_gradients_to_differentiate():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    first, x.grad = x.grad, None
    (first * first).backward()
    same(x.grad, 2 * 12 * 12)  # (9 x^4)' = 36 x^3


# ---- freed and changed graphs --------------------------------------------------------------------------


def test_a_second_backward_needs_retain_graph():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    same(x.grad, 12)
    with pytest.raises(RuntimeError, match=r"graph behind this multiply was freed.*retain_graph=True"):
        y.backward()
    same(x.grad, 12)


def test_a_freed_part_that_two_graphs_share_is_an_error_too():
    x = leaf(0.0)
    shared = x.exp()
    a, b = shared * 2, shared * 3
    a.backward()
    with pytest.raises(RuntimeError, match="exp was freed"):
        b.backward()
    with pytest.raises(RuntimeError, match="exp was freed"):
        mg.grad(shared * 4, x)
    same(x.grad, 2)


@pytest.mark.parametrize("change", ["assign_", "optimiser"])
def test_backward_refuses_values_from_before_a_change(change):
    w = nn.Parameter([1.0, 2.0])
    y, total = (w * w).sum(), w.sum()
    if change == "assign_":
        w.assign_(np.zeros(2, np.float32))
    else:
        w.grad = mg.tensor([1.0, 1.0])
        mg.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="an input of multiply was given new values"):
        y.backward()
    w.grad = None
    total.backward()  # a sum does not look at the values
    same(w.grad, [1, 1])


def test_saved_values_are_freed_by_backward():
    x = leaf(np.ones(3))
    h = x * 2
    y = h.sin().sum()
    tensor, array = weakref.ref(h), weakref.ref(h.data)
    del h
    y.backward(retain_graph=True)
    assert tensor() is not None
    y.backward()
    assert tensor() is None and array() is None
    same(x.grad, 4 * np.cos([2.0, 2, 2]))


def test_an_input_that_no_rule_looks_at_is_not_kept():
    x = leaf(np.ones(3))
    h = x * 2
    array = weakref.ref(h.data)
    y = h.exp()
    del h
    assert array() is None
    y.sum().backward()
    same(x.grad, 2 * np.exp([2.0, 2, 2]))


# ---- modes ---------------------------------------------------------------------------------------------


def test_grad_modes_nest_and_survive_exceptions():
    x = leaf(1.0)
    with mg.no_grad():
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
        assert not mg.is_grad_enabled()
        with pytest.raises(KeyError), mg.enable_grad():
            raise KeyError
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()
    assert not mg.no_grad()(lambda: x * 2)().requires_grad  # as a decorator


def test_grad_mode_belongs_to_a_thread():
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(mg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_works_inside_no_grad_and_records_nothing():
    x = leaf(3.0)
    y = x * x
    with mg.no_grad():
        y.backward()
    same(x.grad, 6)
    assert not x.grad.requires_grad and x.grad.is_leaf


def test_what_no_rule_reads_is_not_kept():
    """`add_noise` gives its noise beside the output and has no rule: the tape makes the noise again where needed."""
    x_t, noise = mg.add_noise(mg.tensor(np.ones((2, 3)), requires_grad=True), np.ones(2), np.ones(2), seed=0, draw=0)
    gone = weakref.ref(noise.data)
    assert x_t.requires_grad and gone() is not None
    del noise
    assert gone() is None
