"""The U-Net: shapes, the start at zero, that every parameter learns, and that what it is told matters."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import UNet

from .networks import check_parameter_gradients, filled, silent_parameters


def small_unet(**settings):
    minigen.manual_seed(0)
    return UNet(**{"in_channels": 3, "channels": 8, "num_groups": 2, "heads": 2, **settings})


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(
    "multipliers, attention", [((1,), (False,)), ((1, 2), (False, True)), ((1, 1, 2), (True, False, True))]
)
def test_output_has_the_shape_of_the_input_and_starts_at_zero(patch, multipliers, attention, dims):
    network = small_unet(multipliers=multipliers, attention=attention, patch=patch, dims=dims, blocks=1)
    shape = 2, *(8, 16, 8)[:dims], 3
    y = network(minigen.randn(*shape), np.array([0, 9]))
    assert y.shape == shape and y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), 0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("one_size", [False, True])
def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone(dims, one_size):
    network = filled(small_unet(dims=dims, num_classes=2, size=(8,) * dims if one_size else None))
    inputs = minigen.randn(3, *(8,) * dims, 3), np.array([3, 700, 42]), np.arange(3)
    assert silent_parameters(network, *inputs) == []


@pytest.mark.parametrize("size", [None, (4, 4, 4)])
def test_gradients_of_parameters_are_right(size):
    settings = dict(blocks=1, num_classes=2, channels=4, dims=3, patch=2, size=size)
    network = filled(small_unet(**settings)).astype(np.float64)
    check_parameter_gradients(network, minigen.randn(1, 4, 4, 4, 3, dtype=np.float64), np.array([3.5]), np.array([1]))


def test_with_a_size_the_middle_mixes_all_places_instead_of_attending():
    network, x, t = filled(small_unet(size=(8, 16), blocks=1)), minigen.randn(1, 8, 16, 3), np.array([5])
    assert network.mixing.sizes == (4, 8) and len(network.middle[0]) == 1
    assert small_unet().mixing is None and len(small_unet().middle[0]) == 2
    for p in network.mixing.out.parameters():
        p.assign_(0 * p.data)
    assert np.abs(network(x, t).data - filled(small_unet(size=(8, 16), blocks=1))(x, t).data).max() > 1e-3


def test_time_matters_and_may_lie_between_steps():
    network, x = filled(small_unet()), minigen.randn(1, 8, 8, 3)
    at = {t: network(x, np.array([t])).data for t in (1, 1.5, 2, 900)}
    assert np.abs(at[1] - at[900]).max() > 1e-3
    assert np.abs(at[1.5] - at[1]).max() > 1e-4 and np.abs(at[1.5] - at[2]).max() > 1e-4
    np.testing.assert_array_equal(network(x, np.array([1.0], np.float32)).data, at[1])


def test_class_matters_and_so_does_none():
    network, x, t = filled(small_unet(num_classes=2)), minigen.randn(1, 8, 8, 3), np.array([5])
    assert network.null_class == 2 and small_unet().null_class is None
    outputs = [network(x, t, np.array([label])).data for label in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(outputs[a] - outputs[b]).max() > 1e-3
    both = network(Tensor(np.repeat(x.data, 2, 0)), np.array([5, 5]), Tensor(np.array([1, 2]))).data
    np.testing.assert_allclose(both, np.concatenate(outputs[1:]), rtol=1e-4, atol=1e-5)


def test_more_may_go_in_than_comes_out_and_the_other_way():
    x, t = minigen.randn(2, 8, 8, 6), np.array([0, 9])
    assert small_unet(in_channels=6, out_channels=3, patch=2)(x, t).shape == (2, 8, 8, 3)
    assert small_unet(in_channels=6, out_channels=12, patch=2)(x, t).shape == (2, 8, 8, 12)


def test_dropout_is_for_training():
    network, x, t = filled(small_unet(dropout=0.5)), minigen.randn(1, 8, 8, 3), np.array([5])
    assert np.abs(network(x, t).data - network(x, t).data).max() > 1e-3
    network.eval()
    np.testing.assert_array_equal(network(x, t).data, network(x, t).data)


def test_bad_input_is_named():
    def zeros(*shape):
        return Tensor(np.zeros(shape, np.float32))

    with pytest.raises(
        ValueError, match=r"x must be \(N, H, W, 3\) with H, W divisible by 4, got shape \(1, 8, 6, 3\)"
    ):
        small_unet(patch=2)(zeros(1, 8, 6, 3), np.array([0]))
    with pytest.raises(ValueError, match=r"\(N, D, H, W, 3\) with D, H, W divisible by 2, got shape \(1, 8, 8, 3\)"):
        small_unet(dims=3)(zeros(1, 8, 8, 3), np.array([0]))
    with pytest.raises(ValueError, match=r"x must be \(N, H, W, 3\) .*, got shape \(1, 8, 8, 6\)"):
        small_unet()(zeros(1, 8, 8, 6), np.array([0]))
    with pytest.raises(ValueError, match=r"UNet: x must be \(N, 8, 16, 3\), got shape \(1, 16, 8, 3\)"):
        small_unet(size=(8, 16))(zeros(1, 16, 8, 3), np.array([0]))
    for wrong in ((8,), (8, 7)):
        with pytest.raises(ValueError, match=r"UNet: size must be H, W, each divisible by 2, got \(8,"):
            small_unet(size=wrong)
    with pytest.raises(ValueError, match="UNet: dims must be 1, 2 or 3, got 4"):
        small_unet(dims=4)
    with pytest.raises(ValueError, match="3 multipliers but 2 entries"):
        small_unet(multipliers=(1, 1, 2))
    with pytest.raises(ValueError, match="heads=3 does not divide"):
        small_unet(heads=3)
    with pytest.raises(ValueError, match=r"one timestep for each of 2 samples, got shape \(1,\)"):
        small_unet()(zeros(2, 8, 8, 3), np.array([0]))
    with pytest.raises(ValueError, match="UNet: labels must be from 0 to 2, which means no class, got 0 to 3"):
        small_unet(num_classes=2)(zeros(2, 8, 8, 3), np.array([0, 0]), np.array([0, 3]))
