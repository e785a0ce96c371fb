"""The U-Net that is told a text: shapes, gradients, that every part of a prompt matters, and padding does not."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import Prompt, TextUNet

from .networks import check_parameter_gradients, filled, silent_parameters


def small_network(**settings):
    minigen.manual_seed(0)
    return TextUNet(6, **{"in_channels": 3, "channels": 8, "num_groups": 2, "heads": 2, "blocks": 1, **settings})


def prompt(n=2, dtype=np.float32):
    told = np.arange(5) < np.arange(2, 2 + n)[:, None]
    return Prompt(minigen.randn(n, 5, 6, dtype=dtype), told, minigen.randn(n, 6, dtype=dtype))


@pytest.mark.parametrize("size", [None, (8, 4)])
def test_output_has_the_shape_of_the_input_and_starts_at_zero(size):
    y = small_network(size=size)(minigen.randn(2, 8, 4, 3), np.array([0, 9]), prompt())
    assert y.shape == (2, 8, 4, 3)
    np.testing.assert_array_equal(y.numpy(), 0)


@pytest.mark.parametrize("size", [None, (4, 4)])
def test_gradients_are_right_and_none_is_missing(size):
    network = filled(small_network(size=size))
    assert silent_parameters(network, minigen.randn(2, 4, 4, 3), np.array([3, 700]), prompt()) == []
    network = filled(small_network(size=size, channels=4)).astype(np.float64)
    x = minigen.randn(2, 4, 4, 3, dtype=np.float64)
    check_parameter_gradients(network, x, np.array([3.5, 80]), prompt(dtype=np.float64))


def test_every_part_of_a_prompt_matters_but_what_is_not_told():
    network, x, t, given = filled(small_network()), minigen.randn(2, 8, 8, 3), np.array([5, 600]), prompt()
    y = network(x, t, given).data
    told = np.where(given.told[..., None], given.features.data, 9.0)
    np.testing.assert_array_equal(network(x, t, given._replace(features=Tensor(told))).data, y)
    others = {
        "features": Tensor(given.features.data + given.told[..., None]),
        "told": np.ones_like(given.told),
        "whole": given.whole + 1,
    }
    for part, value in others.items():
        assert np.abs(network(x, t, given._replace(**{part: value})).data - y).max((1, 2, 3)).min() > 1e-3, part


def test_it_gives_the_same_on_any_device(device):
    network, given, t = filled(small_network(size=(4, 4))), prompt(), np.array([5, 600])
    x = minigen.randn(2, 4, 4, 3)
    expected = network(x, t, given).numpy()
    network.to(device)
    there = Prompt(given.features.to(device), given.told, given.whole.to(device))
    y = network(x.to(device), t, there)
    assert y.device == there.whole.device
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_attention_is_what_it_says():
    block = filled(small_network()).attention[0]
    x, (text, told, _) = minigen.randn(2, 2, 3, 8), prompt()
    q = block.query(block.norm(x)).numpy().reshape(2, 6, 2, 4)
    k, v = np.split(block.key_value(text).numpy(), 2, -1)
    scores = np.einsum("nqhc,nkhc->nhqk", q, k.reshape(2, 5, 2, 4)) / 2
    weights = np.exp(scores) * told[:, None, None]
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum("nhqk,nkhc->nqhc", weights, v.reshape(2, 5, 2, 4)).reshape(2, 2, 3, 8)
    expected = x + block.out(Tensor(attended))
    np.testing.assert_allclose(block(x, text, told).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_prompt_that_does_not_fit_is_named():
    x, t, given = minigen.randn(2, 8, 8, 3), np.array([0, 1]), prompt()
    needed = r"must be \(2, L, 6\), \(2, L\) and \(2, 6\), got "
    for wrong in (prompt(3), given._replace(told=given.told[:, :4]), given._replace(whole=given.features)):
        with pytest.raises(ValueError, match=needed):
            small_network()(x, t, wrong)
    with pytest.raises(ValueError, match=needed):
        small_network()(x, t, given._replace(features=given.whole))
    with pytest.raises(ValueError, match="TextUNet: is told a text, so it has no classes"):
        small_network(num_classes=3)
