"""Layers: shapes, names and starting values, and that each computes what its function does."""

import math

import numpy as np
import pytest

import minigen as mg
from minigen import F, nn

# Layer; shapes of input and output; the function it stands for; its state.
LAYERS = {
    "Linear": (lambda: nn.Linear(3, 5), (2, 4, 3), (2, 4, 5), F.linear, {"weight": (3, 5), "bias": (5,)}),
    "Linear, no bias": (lambda: nn.Linear(3, 5, bias=False), (2, 3), (2, 5), F.linear, {"weight": (3, 5)}),
    "Conv1d": (
        lambda: nn.Conv1d(4, 6, 3, stride=2, groups=2),
        *((2, 9, 4), (2, 4, 6)),
        lambda x, w, b: F.conv1d(x, w, b, stride=2, groups=2),
        {"weight": (3, 2, 6), "bias": (6,)},
    ),
    "Conv2d": (
        lambda: nn.Conv2d(2, 3, (3, 1), padding=1, dilation=2, bias=False),
        *((2, 7, 5, 2), (2, 5, 7, 3)),
        lambda x, w, b: F.conv2d(x, w, b, padding=1, dilation=2),
        {"weight": (3, 1, 2, 3)},
    ),
    "Conv3d": (
        lambda: nn.Conv3d(1, 2, 2),
        *((1, 3, 4, 5, 1), (1, 2, 3, 4, 2)),
        F.conv3d,
        {"weight": (2, 2, 2, 1, 2), "bias": (2,)},
    ),
    "ConvTranspose1d": (
        lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2),  # stride, padding, output_padding, groups: PyTorch's order
        *((2, 5, 4), (2, 10, 6)),
        lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
        {"weight": (3, 4, 3), "bias": (6,)},
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1),
        *((1, 3, 4, 2), (1, 6, 8, 3)),
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1),
        {"weight": (4, 4, 2, 3), "bias": (3,)},
    ),
    "ConvTranspose3d": (
        lambda: nn.ConvTranspose3d(1, 2, 2, dilation=2),
        *((1, 2, 2, 2, 1), (1, 4, 4, 4, 2)),
        lambda x, w, b: F.conv_transpose3d(x, w, b, dilation=2),
        {"weight": (2, 2, 2, 1, 2), "bias": (2,)},
    ),
    "GroupNorm": (
        lambda: nn.GroupNorm(2, 6, eps=0.1),
        *((2, 3, 3, 6), (2, 3, 3, 6)),
        lambda x, w, b: F.group_norm(x, 2, w, b, eps=0.1),
        {"weight": (6,), "bias": (6,)},
    ),
    "LayerNorm": (
        lambda: nn.LayerNorm((3, 6), eps=0.1),
        *((2, 3, 6), (2, 3, 6)),
        lambda x, w, b: F.layer_norm(x, (3, 6), w, b, eps=0.1),
        {"weight": (3, 6), "bias": (3, 6)},
    ),
    "LayerNorm, plain": (
        lambda: nn.LayerNorm(6, elementwise_affine=False),
        *((2, 3, 6), (2, 3, 6)),
        lambda x, w, b: F.layer_norm(x, 6),
        {},
    ),
    "InstanceNorm2d": (
        lambda: nn.InstanceNorm2d(6, affine=True),
        *((2, 3, 3, 6), (2, 3, 3, 6)),
        F.instance_norm,
        {"weight": (6,), "bias": (6,)},
    ),
    "Embedding": (lambda: nn.Embedding(7, 3), (2, 4), (2, 4, 3), lambda i, w, b: F.embedding(i, w), {"weight": (7, 3)}),
    "GELU": (lambda: nn.GELU("tanh"), (2, 3), (2, 3), lambda x, w, b: F.gelu(x, "tanh"), {}),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), (2, 3), (2, 3), lambda x, w, b: F.leaky_relu(x, 0.2), {}),
    **{
        name: (getattr(nn, name), (2, 3), (2, 3), lambda x, w, b, name=name: getattr(F, name.lower())(x), {})
        for name in ("ReLU", "SiLU", "Softplus", "Sigmoid", "Tanh")
    },
}


@pytest.mark.parametrize(("make", "given", "gives", "function", "state"), LAYERS.values(), ids=LAYERS)
def test_a_layer_is_its_function(make, given, gives, function, state):
    layer = make()
    assert {name: a.shape for name, a in layer.state_dict().items()} == state
    for p in layer.parameters():
        p.assign_(mg.randn(*p.shape).data)  # no zeros, no ones
    x = mg.randint(0, 7, given) if isinstance(layer, nn.Embedding) else mg.randn(*given).requires_grad_()
    y = layer(x)
    weight, bias = (getattr(layer, name, None) for name in ("weight", "bias"))
    assert (y.shape, y.dtype) == (gives, np.float32)
    np.testing.assert_array_equal(y.numpy(), function(x, weight, bias).numpy())
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_norms_start_as_the_identity_after_normalising():
    for layer in (nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True)):
        assert (layer.weight.numpy() == 1).all() and (layer.bias.numpy() == 0).all()
    assert nn.InstanceNorm2d(4).weight is None  # PyTorch's default
    assert nn.BatchNorm2d(4, affine=False).weight is None


# PyTorch starts both uniform within 1 / sqrt(fan_in), with fan_in = inputs / groups * taps; for a transposed
# convolution it takes the weight's other axis for the inputs.
BOUNDS = {
    "Linear": (lambda: nn.Linear(50, 400), 50),
    "Conv2d": (lambda: nn.Conv2d(32, 64, 3), 32 * 9),
    "grouped": (lambda: nn.Conv2d(32, 64, 3, groups=4), 8 * 9),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(32, 64, 3), 64 * 9),
    "grouped transposed": (lambda: nn.ConvTranspose2d(32, 64, 3, groups=4), 16 * 9),
}


@pytest.mark.parametrize(("make", "fan_in"), BOUNDS.values(), ids=BOUNDS)
def test_starting_values(make, fan_in):
    """Within the bound, up to it, and with the variance b^2 / 3 of a uniform number."""
    mg.manual_seed(0)
    layer, bound = make(), 1 / math.sqrt(fan_in)
    for p in (layer.weight, layer.bias):
        assert np.abs(p.numpy()).max() <= bound
    w = layer.weight.numpy().astype(np.float64).ravel() / bound
    assert np.abs(w).max() > 1 - 20 / w.size  # all n below 1 - 20/n: probability exp(-20) = 2e-9
    assert abs((w**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / w.size)  # the variance of u^2 is 1/5 - 1/9
    assert abs(w.mean()) < 5 * math.sqrt(1 / 3 / w.size)
    assert layer.bias.numpy().std() > bound / 3


# ---- batch norm and dropout ----------------------------------------------------------------------------


def test_batch_norm_in_training_and_evaluation():
    """PyTorch: y from the batch's own biased variance; running = 0.9 running + 0.1 batch, the variance unbiased."""
    layer = nn.BatchNorm2d(3).astype(np.float64)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = 2 + 3 * mg.randn(4, 5, 6, 3, dtype=np.float64)
        y = layer(x).numpy()
        flat = x.numpy().reshape(-1, 3)
        np.testing.assert_allclose(y.reshape(-1, 3), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5))
        mean, var = 0.9 * mean + 0.1 * flat.mean(0), 0.9 * var + 0.1 * flat.var(0, ddof=1)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean)
    np.testing.assert_allclose(layer.running_var.numpy(), var)
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    before = layer.running_mean.numpy().copy()
    layer.eval()
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), (x.numpy() - mean) / np.sqrt(var + 1e-5))
    np.testing.assert_array_equal(layer.running_mean.numpy(), before)
    assert y.requires_grad and not layer.running_mean.requires_grad


def test_batch_norm_momentum():
    layer = nn.BatchNorm1d(2, momentum=0.5)
    layer(mg.tensor([[0.0, 4.0], [2.0, 4.0]]))
    np.testing.assert_allclose(layer.running_mean.numpy(), [0.5, 2.0])  # half of 0 and half of (1, 4)
    np.testing.assert_allclose(layer.running_var.numpy(), [1.5, 0.5])  # half of 1 and half of (2, 0)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout(p):
    """Kept elements are divided by 1 - p, so the mean stays: it errs by sqrt(p / (1 - p) / n)."""
    mg.manual_seed(1)
    n = 100_000
    x = mg.tensor(np.ones(n, np.float32), requires_grad=True)
    layer = nn.Dropout(p)
    y = layer(x)
    values = np.unique(y.numpy())
    np.testing.assert_allclose(values, [0, 1 / (1 - p)], rtol=1e-6)
    assert abs(y.numpy().astype(np.float64).mean() - 1) < 5 * math.sqrt(p / (1 - p) / n)
    assert not np.array_equal(layer(x).numpy(), y.numpy())
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert layer.eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
