"""Optimisers against their papers, transcribed slowly; clipping, schedules, and the average of the weights."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen as mg
from minigen import nn
from minigen.optim import EMA, SGD, Adam, AdamW, CosineLR, LinearWarmupLR, Optimizer, clip_grad_norm_

rates = st.floats(1e-4, 1.0)
shares = st.floats(0.0, 0.99)


def parameter(values):
    return nn.Parameter(np.array(values, np.float64))


def gradients(steps, size=3):
    """A fixed sequence, with a 0 and with very different sizes."""
    g = np.random.default_rng(steps).standard_normal((steps, size)) * 10.0 ** np.arange(-2, size - 2)
    g[steps // 2] = 0
    return g


def trajectory(make, sequence):
    p = parameter([1.0, -2.0, 0.5])
    optimizer = make([p])
    path = []
    for g in sequence:
        p.grad = mg.tensor(g)
        optimizer.step()
        path.append(p.numpy().copy())
    return path


def check(make, textbook, steps=30):
    """`textbook` updates one number: (p, gradient, step from 1, memory) -> p."""
    sequence = gradients(steps)
    numbers, memories = [1.0, -2.0, 0.5], [{}, {}, {}]
    for step, (now, g) in enumerate(zip(trajectory(make, sequence), sequence, strict=True), start=1):
        numbers = [textbook(p, float(x), step, m) for p, x, m in zip(numbers, g, memories, strict=True)]
        np.testing.assert_allclose(now, numbers, rtol=1e-10, atol=1e-10)  # the numbers reach 1000


@settings(deadline=None, max_examples=40)
@given(lr=rates, momentum=st.just(0.0) | shares, weight_decay=st.just(0.0) | rates, nesterov=st.booleans())
def test_sgd(lr, momentum, weight_decay, nesterov):
    """Sutskever et al. 2013, with the learning rate outside of the velocity."""
    nesterov = nesterov and momentum > 0

    def textbook(p, g, step, m):
        g = g + weight_decay * p
        m["v"] = momentum * m.get("v", 0.0) + g
        return p - lr * (g + momentum * m["v"] if nesterov else m["v"])

    check(lambda ps: SGD(ps, lr, momentum, weight_decay, nesterov), textbook)


def adam(lr, betas, eps, coupled=0.0, decoupled=0.0):
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2."""

    def textbook(p, g, t, m):
        g = g + coupled * p
        m["m"] = betas[0] * m.get("m", 0.0) + (1 - betas[0]) * g
        m["v"] = betas[1] * m.get("v", 0.0) + (1 - betas[1]) * g**2
        m_hat, v_hat = m["m"] / (1 - betas[0] ** t), m["v"] / (1 - betas[1] ** t)
        return p - lr * decoupled * p - lr * m_hat / (math.sqrt(v_hat) + eps)

    return textbook


@settings(deadline=None, max_examples=40)
@given(lr=rates, b1=shares, b2=st.floats(0.5, 0.9999), eps=st.floats(1e-8, 1e-2), decay=st.just(0.0) | rates)
def test_adam_and_adamw(lr, b1, b2, eps, decay):
    check(lambda ps: Adam(ps, lr, (b1, b2), eps, decay), adam(lr, (b1, b2), eps, coupled=decay))
    check(lambda ps: AdamW(ps, lr, (b1, b2), eps, decay), adam(lr, (b1, b2), eps, decoupled=decay))


def test_defaults_are_those_of_pytorch():
    check(lambda ps: Adam(ps), adam(1e-3, (0.9, 0.999), 1e-8))
    check(lambda ps: AdamW(ps), adam(1e-3, (0.9, 0.999), 1e-8, decoupled=1e-2))
    check(lambda ps: SGD(ps), lambda p, g, step, m: p - 1e-3 * g)


MAKES = {
    "SGD": lambda ps: SGD(ps, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda ps: Adam(ps, 0.1, weight_decay=0.1),
    "AdamW": lambda ps: AdamW(ps, 0.1),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_saved_state_continues_to_the_bit(make, tmp_path):
    sequence = gradients(12)
    whole = trajectory(make, sequence)
    p = parameter([1.0, -2.0, 0.5])
    first = make([p])
    for g in sequence[:5]:
        p.grad = mg.tensor(g)
        first.step()
    first.lr = 0.05  # a schedule's doing: part of the state
    mg.save(first.state_dict(), tmp_path / "state.safetensors")
    second = make([p])
    second.load_state_dict(mg.load(tmp_path / "state.safetensors"))
    assert second.lr == 0.05
    second.lr = 0.1
    for g in sequence[5:]:
        p.grad = mg.tensor(g)
        second.step()
    np.testing.assert_array_equal(p.numpy(), whole[-1])


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_state_is_a_copy(make):
    """Steps after saving must not change what was saved, nor steps after loading what was loaded."""
    p = parameter([1.0])
    optimizer = make([p])
    p.grad = mg.tensor(np.array([1.0]))
    optimizer.step()
    state = optimizer.state_dict()
    before = {k: np.copy(v) for k, v in state.items()}
    optimizer.step()
    optimizer.load_state_dict(state)
    optimizer.step()
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_parameters_without_a_gradient_stay(make):
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = make([p, q])
    (p * 2).sum().backward()
    optimizer.step()
    assert q.item() == 1 and p.item() < 1
    assert p.dtype == np.float32
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_changes_nothing_but_the_parameters():
    """They are updated in place, but what shared memory with one keeps its values."""
    given = np.ones((2, 3), np.float32)
    p = nn.Parameter(mg.Tensor(given))
    optimizer = Adam([p], 0.1)
    held = [given, p.numpy(), p.T.numpy(), p.detach().numpy(), p.numpy()[0]]
    p.grad = mg.tensor(np.ones((2, 3), np.float32))
    optimizer.step()
    held += [p.numpy()]
    before = [a.copy() for a in held]
    optimizer.step()
    for array, copy in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    del array, held
    own = p.numpy().ctypes.data
    optimizer.step()
    assert p.numpy().ctypes.data == own
    np.testing.assert_allclose(p.numpy(), 0.7, rtol=1e-5)


@pytest.mark.parametrize("view", [lambda a: a[1:], lambda a: a.T, lambda a: a.reshape(-1)])
def test_a_parameter_that_was_given_a_view_gets_an_array_of_its_own(view):
    given = np.ones((2, 3), np.float32)
    p = nn.Parameter(mg.Tensor(view(given)))
    p.grad = mg.tensor(np.ones(p.shape, np.float32))
    Adam([p], 0.1).step()
    np.testing.assert_array_equal(given, 1)
    np.testing.assert_allclose(p.numpy(), 0.9, rtol=1e-6)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_graph_notices_a_step(make):
    p = nn.Parameter(np.ones(3, np.float32))
    optimizer = make([p])
    for _ in range(2):  # the second time there is no one else who holds the values
        y = (p * p).sum()
        p.grad = mg.tensor(np.ones(3, np.float32))
        optimizer.step()
        with pytest.raises(RuntimeError, match="was given new values"):
            y.backward()
        del y


def test_a_view_on_a_graph_keeps_the_values_it_was_recorded_with():
    p, x = nn.Parameter(np.ones((1, 2), np.float32)), mg.tensor(np.ones((1, 2), np.float32), requires_grad=True)
    optimizer = Adam([p], 0.1)
    for step in range(3):
        y = (x @ p.T).sum()
        now = p.numpy().copy()
        p.grad = mg.tensor(np.ones((1, 2), np.float32))
        optimizer.step()
        x.grad = None
        y.backward()
        np.testing.assert_array_equal(x.grad.numpy(), now, err_msg=f"step {step}")


@pytest.mark.parametrize("dtypes", [[np.float32] * 3, [np.float64, np.float32, np.float64]])
def test_a_network_steps_as_its_parameters_do_alone(dtypes):
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (), (70, 1000)]
    together, alone = ([nn.Parameter(np.zeros(s, d)) for s, d in zip(shapes, dtypes, strict=True)] for _ in range(2))
    optimizer, optimizers = AdamW(together), [AdamW([p]) for p in alone]
    for _ in range(3):
        for p, q in zip(together, alone, strict=True):
            g = rng.standard_normal(p.shape).astype(p.dtype)
            p.grad, q.grad = mg.tensor(g), mg.tensor(g.T).T.detach()  # not contiguous
        for o in (optimizer, *optimizers):
            o.step()
    for p, q in zip(together, alone, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_clipping_and_averaging_in_the_step():
    """One pass does what `clip_grad_norm_`, `step` and `EMA.update` do one after the other."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
            self.same, self.frozen = self.first, nn.Linear(2, 2)

    one, other = Tied(), Tied()
    other.load_state_dict(one.state_dict())
    apart = nn.Parameter([1.0])  # not the module's
    average, reference = EMA(one, 0.9), EMA(other, 0.9)
    fused = Adam([*one.first.parameters(), apart], 0.1, max_norm=0.5, ema=average)
    plain = Adam(list(other.first.parameters()), 0.1)
    for step in range(4):
        for p, q in zip(fused.parameters, plain.parameters, strict=False):
            g = np.random.default_rng(step).standard_normal(p.shape).astype(p.dtype) * 10 ** (step - 2)
            p.grad, q.grad = mg.tensor(g), mg.tensor(g)
        for module in (one, other):
            module.first[1].running_mean.assign_(np.full(3, step, np.float32))
        before = [p.grad.numpy().copy() for p in fused.parameters if p.grad is not None]
        fused.step()
        for g, p in zip(before, fused.parameters, strict=False):
            np.testing.assert_array_equal(p.grad.numpy(), g)
        clip_grad_norm_(plain.parameters, 0.5)
        plain.step()
        reference.update()
    assert average.updates == reference.updates == 4
    for name, expected in reference.average.items():
        np.testing.assert_allclose(average.average[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(one.state_dict()[name], other.state_dict()[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_state_must_fit():
    state = Adam([nn.Parameter([1.0])]).state_dict()
    for parameters, words in [
        ([nn.Parameter([1.0]), nn.Parameter([1.0])], r"this Adam: missing \['1.mean', '1.square', '1.updates'\]"),
        ([nn.Parameter([1.0, 2.0])], r"0.mean is \(2,\) float32 in this Adam but \(1,\) float32 in the state"),
        ([parameter([1.0])], r"0.mean is \(1,\) float64 in this Adam but \(1,\) float32"),
    ]:
        optimizer = Adam(parameters)
        optimizer.steps = 7
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(state)
        assert optimizer.steps == 7
    with pytest.raises(ValueError, match=r"this SGD: missing nothing, unexpected \['0.mean'"):
        SGD([nn.Parameter([1.0])]).load_state_dict(state)


@settings(deadline=None)
@given(scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-2, 10))
def test_clipping_scales_all_gradients_together(scale, max_norm):
    p, q, r = parameter([0.0, 0.0]), parameter([[0.0]]), parameter([0.0])
    p.grad, q.grad = mg.tensor(np.array([scale, 2 * scale])), mg.tensor(np.array([[-2 * scale]]))
    norm = clip_grad_norm_([p, q, r], max_norm)
    assert norm == pytest.approx(3 * scale)  # sqrt(1 + 4 + 4)
    factor = min(1.0, max_norm / (3 * scale))
    np.testing.assert_allclose(p.grad.numpy(), [scale * factor, 2 * scale * factor])
    np.testing.assert_allclose(q.grad.numpy(), [[-2 * scale * factor]])
    assert r.grad is None


def test_clipping_does_not_overflow_and_passes_nan_on():
    p, q = nn.Parameter(np.zeros(3)), nn.Parameter(np.zeros(3, np.float32))
    p.grad, q.grad = mg.tensor(np.zeros(3)), mg.tensor(np.full(3, 1e30, np.float32))
    assert clip_grad_norm_([p, q], 1.0) == pytest.approx(math.sqrt(3) * 1e30)
    np.testing.assert_allclose(q.grad.numpy(), math.sqrt(1 / 3), rtol=1e-6)
    q.grad = mg.tensor(np.array([1, np.nan, 2], np.float32))
    assert math.isnan(clip_grad_norm_([p, q], 1.0))
    assert clip_grad_norm_([nn.Parameter([1.0])], 1.0) == 0


def test_clipping_gradients_that_came_from_one_sum():
    """The rule of a sum hands both sides the same gradient: each must be scaled once."""
    p, q = parameter([3.0]), parameter([5.0])
    ((p + q) * 4).sum().backward()
    assert clip_grad_norm_([p, q], 1.0) == pytest.approx(math.sqrt(32))
    np.testing.assert_allclose([p.grad.item(), q.grad.item()], [math.sqrt(0.5)] * 2)


# ---- schedules -----------------------------------------------------------------------------------------


def rates_of(schedule, steps):
    found = [schedule.optimizer.lr]
    for _ in range(steps):
        schedule.step()
        found.append(schedule.optimizer.lr)
    return found


def test_cosine_with_warmup():
    """lr (k + 1) / 4, then lr (f + (1 - f) (1 + cos(pi j / 8)) / 2): at 0, 1/4, 1/2, 3/4 and 1 of the way, and on."""
    schedule = CosineLR(SGD([parameter([0.0])], lr=2.0), total_steps=12, warmup_steps=4, final=0.1)
    rates = rates_of(schedule, 14)
    np.testing.assert_allclose(rates[:4], [0.5, 1.0, 1.5, 2.0])
    half = math.sqrt(0.5)
    expected = [1, (1 + half) / 2, 0.5, (1 - half) / 2, 0]
    np.testing.assert_allclose(rates[4:13:2], [2 * (0.1 + 0.9 * e) for e in expected])
    np.testing.assert_allclose(rates[12:], [0.2] * 3)


def test_linear_warmup():
    schedule = LinearWarmupLR(SGD([parameter([0.0])], lr=3.0), warmup_steps=3)
    np.testing.assert_allclose(rates_of(schedule, 5), [1, 2, 3, 3, 3, 3])


def test_a_schedule_continues():
    first = CosineLR(SGD([parameter([0.0])], lr=1.0), total_steps=10)
    expected = rates_of(first, 4)
    state = first.state_dict()
    second = CosineLR(SGD([parameter([0.0])], lr=1.0), total_steps=10)
    second.load_state_dict(state)
    assert second.optimizer.lr == expected[-1]
    assert rates_of(second, 3) == rates_of(first, 3)


# ---- the average of the weights ------------------------------------------------------------------------


def test_the_average_against_its_closed_form():
    """a_n = (prod d_i) a_0 + sum_k (1 - d_k) w_k prod_{i>k} d_i with d_i = min(0.3, (1 + i) / (10 + i))."""
    model = nn.Linear(1, 1).astype(np.float64)
    start = model.weight.item()
    ema = EMA(model, decay=0.3)
    decays = [min(0.3, (1 + i) / (10 + i)) for i in range(1, 8)]
    assert decays[0] == 2 / 11 and decays[1] == 3 / 12 < decays[2] == decays[6] == 0.3  # the warm-up, and its end
    for k in range(1, 8):
        model.weight.assign_(np.full((1, 1), float(k)))
        ema.update()
    expected = math.prod(decays) * start
    expected += sum((1 - decays[k - 1]) * k * math.prod(decays[k:]) for k in range(1, 8))
    assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-12)


def test_the_average_is_applied_and_taken_back_exactly():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = EMA(model, decay=0.5)
    old = model.state_dict()
    for p in model.parameters():
        p.assign_(p.numpy() + 0.1)
    model(mg.randn(8, 2))  # moves the running statistics
    ema.update()
    own, average = model.state_dict(), {k: v.copy() for k, v in ema.average.items()}
    assert not np.array_equal(own["1.running_mean"], old["1.running_mean"])
    with pytest.raises(KeyError), ema.applied() as applied:
        assert applied is model
        for name, t in model.named_tensors():
            np.testing.assert_array_equal(t.numpy(), average[name])
        raise KeyError
    for name, t in model.named_tensors():
        np.testing.assert_array_equal(t.numpy(), own[name])


def test_a_saved_average_continues():
    model = nn.Linear(2, 2)
    ema = EMA(model)
    ema.update()
    other = EMA(model)
    other.load_state_dict(ema.state_dict())
    for e in (ema, other):
        model.weight.assign_(np.ones((2, 2), np.float32))
        e.update()
    assert other.updates == 2
    np.testing.assert_array_equal(other.average["weight"], ema.average["weight"])
    with pytest.raises(ValueError, match=r"weight is \(3, 2\) float32 in this EMA's average but \(2, 2\)"):
        EMA(nn.Linear(3, 2)).load_state_dict(ema.state_dict())


def test_a_base_optimizer_does_nothing():
    p = parameter([1.0])
    p.grad = mg.tensor(np.array([1.0]))
    with pytest.raises(NotImplementedError):
        Optimizer([p], 0.1).step()


def test_adam_counts_the_updates_of_each_parameter():
    """One that first gets a gradient later than others also starts with a step of lr."""
    early, late = nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(1))
    optimizer = Adam([early, late], lr=0.1)
    for step in range(3):
        early.grad = mg.tensor(np.ones(1))
        late.grad = mg.tensor(np.ones(1)) if step == 2 else None
        optimizer.step()
    np.testing.assert_allclose(late.data, -0.1, rtol=1e-6)
    np.testing.assert_allclose(early.data, -0.3, rtol=1e-6)


def test_single_numbers_are_parameters_too():
    """NumPy makes scalars of what is computed from 0-d arrays; a kernel needs the memory of an array."""
    scale = nn.Module()
    scale.value = nn.Parameter(mg.tensor(2.0))
    ema = EMA(scale, decay=0.9)
    sgd, adam = SGD(scale.parameters(), lr=0.5), Adam(scale.parameters(), lr=0.5)
    (scale.value * 3.0).backward()
    sgd.step()
    assert scale.value.item() == 0.5
    ema.update()
    scale.value.grad.data = scale.value.grad.data / 2  # a NumPy scalar
    assert clip_grad_norm_(scale.parameters(), 1.0) == 1.5
    adam.step()
    np.testing.assert_allclose(scale.value.numpy(), 0.0, atol=1e-6)
    assert isinstance(scale.value.data, np.ndarray)
