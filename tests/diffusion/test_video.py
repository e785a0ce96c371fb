"""The space-time U-Net: shapes, its start as independent frames, its layers along time, and what it is told."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import VideoUNet
from minigen.diffusion.embedding import timestep_embedding
from minigen.diffusion.video import TemporalAttention, TemporalConv
from minigen.nn import functional as F

from .networks import check_parameter_gradients, filled, silent_parameters

TIMES = np.array([3.5, 700])


def small_network(**settings):
    minigen.manual_seed(0)
    return VideoUNet(**{"in_channels": 3, "channels": 8, "blocks": 1, "num_groups": 2, "heads": 2, **settings})


@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize(
    "patch, multipliers, attention", [(1, (1,), (False,)), (2, (1, 2), (False, True)), (1, (1, 1, 2), (True,) * 3)]
)
def test_output_has_the_shape_of_the_input_and_starts_at_zero(temporal, frames, patch, multipliers, attention):
    settings = dict(patch=patch, multipliers=multipliers, attention=attention, temporal=temporal)
    x = minigen.randn(2, frames, 8, 4, 3)
    y = small_network(**settings)(x, np.array([0, 9]))
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), 0)
    assert small_network(**settings, out_channels=2)(x, np.array([0, 9])).shape == (2, frames, 8, 4, 2)


def test_with_the_layers_along_time_at_zero_each_frame_is_an_image_of_the_unet():
    network, x = small_network(num_classes=2), minigen.randn(2, 3, 4, 4, 3)
    filled(network.unet)
    y = network(x, TIMES, np.array([2, 0])).data
    for i in range(3):
        image = network.unet(x[:, i], TIMES, np.array([2, 0])).data
        np.testing.assert_allclose(y[:, i], image, rtol=1e-4, atol=1e-5)
    filled(network.mixing)
    assert np.abs(network(x, TIMES, np.array([2, 0])).data - y).max() > 1e-2


def change_seen_by_frames(network):
    """The largest change in each frame of the output when the second of four frames changes."""
    x = minigen.randn(2, 4, 4, 4, 3)
    other = x.data.copy()
    other[:, 1] += 1
    return np.abs(network(x, TIMES).data - network(Tensor(other), TIMES).data).max((0, 2, 3, 4))


def test_frames_see_each_other_unless_made_independent():
    assert change_seen_by_frames(filled(small_network())).min() > 1e-4
    change = change_seen_by_frames(filled(small_network(temporal=False)))
    assert change[1] > 1e-2
    np.testing.assert_array_equal(change[[0, 2, 3]], 0)


def test_independent_frames_have_as_many_parameters():
    sizes = [{name: p.shape for name, p in small_network(temporal=on).named_parameters()} for on in (True, False)]
    assert sizes[0] == sizes[1]


def test_attention_along_time_follows_that_of_the_unet():
    network = small_network(multipliers=(1, 2), attention=(False, True))
    layers = [[type(layer) for layer in mixing] for mixing in network.mixing]
    plain, attending = [TemporalConv], [TemporalConv, TemporalAttention]
    assert layers == [plain, attending, attending, plain, attending, plain]  # down, middle, up


def test_layers_along_time_start_as_the_identity():
    x = minigen.randn(2, 3, 2, 2, 8)
    for layer in (TemporalConv(8, 2), TemporalAttention(8, 2, 2)):
        np.testing.assert_array_equal(layer(x).numpy(), x.numpy())


def test_convolution_along_time_is_what_it_says():
    minigen.manual_seed(0)
    layer, x = filled(TemporalConv(8, 2), 0.3), minigen.randn(2, 4, 3, 2, 8)
    h = np.pad(F.silu(layer.norm(x)).data, [(0, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
    taps = layer.conv.weight.data[:, 0]
    expected = x.data + layer.conv.bias.data + sum(h[:, k : k + 4] @ taps[k] for k in range(3))
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_attention_along_time_is_what_it_says():
    minigen.manual_seed(0)
    layer, x = (
        filled(TemporalAttention(8, 2, 2).astype(np.float64), 0.3),
        minigen.randn(2, 4, 3, 2, 8, dtype=np.float64),
    )
    h = layer.norm(x).data + timestep_embedding(np.arange(4), 8).data[:, None, None]
    q, k, v = np.split(layer.qkv(Tensor(h)).data, 3, -1)
    attended = np.empty(x.shape)
    for place in np.ndindex(2, 3, 2):
        along = (place[0], slice(None), *place[1:])  # one position in all frames: (T, C)
        for head in (slice(0, 4), slice(4, 8)):
            scores = np.exp(q[along][:, head] @ k[along][:, head].T / 2)
            attended[along][:, head] = scores / scores.sum(-1, keepdims=True) @ v[along][:, head]
    expected = x.data + layer.out(Tensor(attended)).data
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("temporal", [True, False])
def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone(temporal):
    network = filled(small_network(num_classes=2, temporal=temporal))
    inputs = minigen.randn(3, 4, 8, 8, 3), np.array([3, 700, 42]), np.arange(3)
    assert silent_parameters(network, *inputs) == []


def test_gradients_of_parameters_are_right():
    network = filled(small_network(channels=4, num_classes=2, in_channels=1)).astype(np.float64)
    check_parameter_gradients(network, minigen.randn(2, 3, 4, 2, 1, dtype=np.float64), TIMES, np.arange(2))


def test_time_and_class_matter():
    network, x = filled(small_network(num_classes=2)), minigen.randn(1, 3, 4, 4, 3)
    assert network.null_class == 2 and small_network().null_class is None
    first = network(x, np.array([1]), np.array([0])).data
    for t, label in ((1.5, 0), (900, 0), (1, 1), (1, 2)):
        assert np.abs(network(x, Tensor(np.array([t])), Tensor(np.array([label]))).data - first).max() > 1e-4


def test_bad_input_is_named():
    def zeros(*shape):
        return Tensor(np.zeros(shape, np.float32))

    with pytest.raises(ValueError, match=r"VideoUNet: x must be \(N, T, H, W, C\), got shape \(1, 4, 4, 3\)"):
        small_network()(zeros(1, 4, 4, 3), np.array([0]))
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\) with H, W divisible by 2, got shape \(2, 3, 4, 3\)"):
        small_network()(zeros(1, 2, 3, 4, 3), np.array([0]))
    with pytest.raises(
        ValueError, match=r"VideoUNet: t must hold one timestep for each of 2 samples, got shape \(6,\)"
    ):
        small_network()(zeros(2, 3, 4, 4, 3), np.zeros(6))
    with pytest.raises(ValueError, match="VideoUNet: labels must be from 0 to 2, which means no class, got 3 to 3"):
        small_network(num_classes=2)(zeros(1, 2, 4, 4, 3), np.array([0]), np.array([3]))
