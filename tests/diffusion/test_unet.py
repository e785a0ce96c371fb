"""The U-Net: shapes, the start at zero, and that every parameter learns."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion.unet import UNet, depth_to_space, space_to_depth, timestep_embedding


def small_unet(**settings):
    minigen.manual_seed(0)
    return UNet(**{"in_channels": 3, "channels": 8, "num_groups": 2, "heads": 2, **settings})


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(
    "multipliers, attention", [((1,), (False,)), ((1, 2), (False, True)), ((1, 1, 2), (True, False, True))]
)
def test_output_has_the_shape_of_the_input_and_starts_at_zero(patch, multipliers, attention):
    network = small_unet(multipliers=multipliers, attention=attention, patch=patch)
    y = network(minigen.randn(2, 8, 16, 3), np.array([0, 9]))
    assert y.shape == (2, 8, 16, 3) and y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), 0)


def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone():
    network = small_unet(multipliers=(1, 2), attention=(False, True), blocks=2)
    for p in network.parameters():
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    y = network(minigen.randn(2, 8, 8, 3), np.array([3, 700]))
    (y * minigen.randn(*y.shape)).sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not np.abs(p.grad.data).max() > 0]
    assert silent == []


def test_time_matters():
    network = small_unet()
    for p in network.parameters():
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    x = minigen.randn(1, 8, 8, 3)
    assert np.abs(network(x, np.array([1])).data - network(x, np.array([900])).data).max() > 1e-3


def test_patches_and_back():
    x = minigen.randn(2, 4, 6, 3)
    patches = space_to_depth(x, 2)
    assert patches.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(patches.data[1, 1, 2, 3:6], x.data[1, 2, 5])  # row 0, column 1 of that patch
    np.testing.assert_array_equal(depth_to_space(patches, 2).data, x.data)


def test_timestep_embedding_is_sines_and_cosines():
    e = timestep_embedding(np.array([0, 5]), 8).data
    np.testing.assert_array_equal(e[0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(e[1, [0, 4]], [np.sin(5), np.cos(5)], rtol=1e-6)
    np.testing.assert_allclose(e[1, 3], np.sin(5 * 10000 ** (-3 / 4)), rtol=1e-6)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match=r"divisible by 4, got shape \(1, 8, 6, 3\)"):
        small_unet(patch=2)(Tensor(np.zeros((1, 8, 6, 3), np.float32)), np.array([0]))
    with pytest.raises(ValueError, match="3 multipliers but 2 entries"):
        small_unet(multipliers=(1, 1, 2))
    with pytest.raises(ValueError, match="heads=3 does not divide"):
        small_unet(heads=3)
    with pytest.raises(ValueError, match=r"one timestep for each of 2 images, got shape \(1,\)"):
        small_unet()(Tensor(np.zeros((2, 8, 8, 3), np.float32)), np.array([0]))
