"""Modules: what they hold, find, save, load and refuse."""

import numpy as np
import pytest

import minigen as mg
from minigen import nn


class Block(nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.BatchNorm1d(2))
        self.heads = nn.ModuleList([shared, shared])
        self.scale = nn.Parameter([2.0])
        self.register_buffer("steps", np.array([3]))
        self.note = "no tensor"

    def forward(self, x):
        x = self.inner(x)
        for head in self.heads:
            x = head(x)
        return x * self.scale


@pytest.fixture
def block():
    return Block(nn.Linear(2, 2, bias=False))


NAMES = [
    *("inner.0.weight", "inner.0.bias"),
    *("inner.2.weight", "inner.2.bias", "inner.2.running_mean", "inner.2.running_var"),
    *("heads.0.weight", "heads.1.weight", "scale", "steps"),
]


def test_paths_of_parameters_and_buffers(block):
    assert list(block.state_dict()) == NAMES
    assert [name for name, _ in block.named_buffers()] == ["inner.2.running_mean", "inner.2.running_var", "steps"]
    parameters = [name for name, _ in block.named_parameters()]
    assert parameters == [n for n in NAMES if "running" not in n and n not in ("heads.1.weight", "steps")]
    assert [name for name, _ in block.named_children()] == ["inner", "heads"]
    assert len(list(block.parameters())) == 6  # the shared one once
    assert all(p.requires_grad for p in block.parameters())


def test_a_shared_parameter_gets_one_gradient_and_one_step():
    shared = nn.Linear(1, 1, bias=False)
    shared.weight.assign_(np.array([[3.0]], np.float32))
    model = nn.Sequential(shared, shared)
    model(mg.tensor([[1.0]])).backward()
    assert shared.weight.grad.item() == 6  # (w^2)' = 2 w
    mg.optim.SGD(model.parameters(), lr=0.5).step()
    assert shared.weight.item() == 0


def test_a_state_is_a_copy_and_comes_back(block):
    state = block.state_dict()
    before = {name: a.copy() for name, a in state.items()}
    assert not any(np.shares_memory(state[name], t.data) for name, t in block.named_tensors())
    block(mg.randn(4, 2)).sum().backward()
    for p in block.parameters():
        p.assign_(p.numpy() + 1)
    for name in NAMES:
        np.testing.assert_array_equal(state[name], before[name])
    block.load_state_dict(state)
    for name, t in block.named_tensors():
        np.testing.assert_array_equal(t.numpy(), before[name])
        assert not np.shares_memory(t.data, state[name])
    assert block.heads[0] is block.heads[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("scale"), r"does not fit this Block: missing \['scale'\], unexpected nothing"),
        (lambda s: s.update(more=s["scale"]), r"missing nothing, unexpected \['more'\]"),
        (lambda s: s.update(scale=np.ones(2, np.float32)), r"scale is \(1,\) float32 in this Block but \(2,\) float32"),
        (lambda s: s.update(steps=np.ones(1)), r"steps is \(1,\) int64 in this Block but \(1,\) float64"),
        (lambda s: s.update(steps=3), r"steps is \(1,\) int64 in this Block but None None"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(block, change, words):
    before = block.state_dict()
    state = {name: a + 1 for name, a in before.items()}
    change(state)
    with pytest.raises(ValueError, match=words):
        block.load_state_dict(state)
    for name, a in block.state_dict().items():
        np.testing.assert_array_equal(a, before[name])


def test_modes_reach_every_module(block):
    modules = list(block.modules())
    assert modules[0] is block and all(m.training for m in modules)
    assert block.eval() is block
    assert not any(m.training for m in modules)
    block.train()
    assert all(m.training for m in modules)


def test_freezing_and_clearing(block):
    block(mg.randn(4, 2)).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    block.inner.requires_grad_(False)
    block(mg.randn(4, 2)).sum().backward()
    assert [n for n, p in block.named_parameters() if p.grad is not None] == ["heads.0.weight", "scale"]


def test_converting_takes_gradients_along(block):
    x = mg.randn(4, 2)
    graph = block(x).sum()
    block(x).sum().backward()
    assert block.astype(np.float64) is block
    dtypes = {name: t.dtype for name, t in block.named_tensors()}
    assert dtypes.pop("steps") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float64)}
    with pytest.raises(RuntimeError, match="was given new values"):
        graph.backward()
    block(x.astype(np.float64)).sum().backward()
    assert {p.grad.dtype for p in block.parameters()} == {np.dtype(np.float64)}
    assert block.to("cpu") is block


def test_apply_visits_children_first(block):
    seen = []
    block.apply(lambda m: seen.append(type(m).__name__))
    assert seen == [*("Linear", "ReLU", "BatchNorm", "Sequential"), *("Linear", "Linear", "ModuleList"), "Block"]


def test_lists_and_sequences():
    layers = [nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)]
    for holder in (nn.Sequential(*layers), nn.ModuleList(layers)):
        assert len(holder) == 3
        assert list(holder) == layers and holder[-1] is layers[2]
        assert isinstance(holder[1:], type(holder)) and list(holder[1:]) == layers[1:]
        with pytest.raises(IndexError):
            holder[3]
    x = mg.randn(3, 1)
    expected = layers[2](layers[1](layers[0](x)))
    np.testing.assert_array_equal(nn.Sequential(*layers)(x).numpy(), expected.numpy())
    grown = nn.ModuleList().append(layers[0]).append(layers[1])
    assert list(grown.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("value", [nn.Parameter([1.0]), nn.ReLU()], ids=["parameter", "module"])
def test_a_forgotten_super_init_is_noticed(value):
    class Forgetful(nn.Module):
        def __init__(self):
            self.part = value

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before setting 'part'"):
        Forgetful()


def test_a_forgotten_super_init_before_a_buffer():
    class Forgetful(nn.Module):
        def __init__(self):
            self.register_buffer("count", np.zeros(1))

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) before setting 'count'"):
        Forgetful()


def test_setting_a_parameter_again_replaces_it():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(np.ones((2, 2), np.float32))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    np.testing.assert_array_equal(layer(mg.tensor([1.0, 2.0])).numpy(), [3, 3])


def test_repr_shows_the_tree(block):
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))) == (
        "Sequential(\n  (0): Linear(2, 3, bias=True)\n  (1): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    assert "weight=(3, 3, 1, 2), stride=2" in repr(nn.Conv2d(1, 2, 3, stride=2))
    assert "(heads): ModuleList" in repr(block)
