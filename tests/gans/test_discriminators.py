"""The map of logits: its size, and how far each of them sees."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans import PatchDiscriminator
from minigen.nn import functional as F


@pytest.mark.parametrize(("halvings", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch(halvings, patch):
    minigen.manual_seed(0)
    side = 96
    network = PatchDiscriminator(1, channels=2, halvings=halvings)
    x = minigen.tensor(minigen.randn(1, side, side, 1).numpy(), requires_grad=True)
    y = network(x)
    assert y.shape == (1, side // 2**halvings - 2, side // 2**halvings - 2, 1)
    middle = y.shape[1] // 2
    y[0, middle, middle, 0].backward()
    rows = np.nonzero(np.abs(x.grad.numpy()).sum((0, 2, 3)))[0]
    assert rows[-1] - rows[0] + 1 == patch


def test_the_layers_double_their_channels_with_leaky_relu_between():
    minigen.manual_seed(0)
    network = PatchDiscriminator(3, channels=4, halvings=2)
    assert [conv.weight.shape for conv in network.hidden] == [(4, 4, 3, 4), (4, 4, 4, 8), (4, 4, 8, 16)]
    x = h = minigen.randn(2, 16, 16, 3)
    for conv in network.hidden:
        h = F.leaky_relu(conv(h), 0.2)
    np.testing.assert_allclose(network(x).numpy(), network.last(h).numpy(), rtol=1e-5, atol=1e-6)


def test_each_image_is_judged_by_itself():
    minigen.manual_seed(0)
    network = PatchDiscriminator(3, channels=4)
    x = minigen.randn(3, 16, 16, 3).numpy()
    np.testing.assert_allclose(network(Tensor(x)).numpy()[1:2], network(Tensor(x[1:2])).numpy(), rtol=1e-5, atol=1e-6)


def test_with_norm_a_faint_texture_is_as_plain_as_a_strong_one():
    """Scaling what enters the first normalised layer changes nothing, but for the eps of the norm."""
    network = PatchDiscriminator(1, 8, halvings=2, norm=True)
    assert [norm.weight.shape for norm in network.norms] == [(16,), (32,)]  # of all hidden layers but the first
    network.hidden[0].bias.assign_(np.zeros(8, np.float32))  # then that layer's output scales with the image
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
    strong, stronger = network(Tensor(30 * x)).numpy(), network(Tensor(90 * x)).numpy()
    np.testing.assert_allclose(strong, stronger, atol=1e-3)
    plain = PatchDiscriminator(1, 8, halvings=2)
    assert abs(plain(Tensor(30 * x)).numpy() - plain(Tensor(90 * x)).numpy()).max() > 0.1
