"""The residual denoiser: the identity until it learns, the same on an image as on a piece of it, size by size."""

import numpy as np
import pytest

import minigen
from minigen.autoencoders import ResidualDenoiser


def denoiser(**settings):
    minigen.manual_seed(0)
    network = ResidualDenoiser(3, channels=8, blocks=2, **settings)
    return network


def filled(network):
    rng = np.random.default_rng(1)
    for p in network.parameters():
        p.data[...] = 0.2 * rng.standard_normal(p.shape)
    return network


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_is_the_identity_before_it_learns(patch):
    x = minigen.tensor(np.random.default_rng(0).standard_normal((2, 8, 12, 3)).astype(np.float32))
    np.testing.assert_array_equal(denoiser(patch=patch)(x).numpy(), x.numpy())


def test_does_the_same_to_a_large_image_as_to_a_piece_of_it():
    x = np.random.default_rng(0).standard_normal((1, 64, 48, 3)).astype(np.float32)
    network = filled(denoiser())
    reach = 2 * 6  # pixels: 6 convolutions of 3 x 3 at patches of 2 x 2
    whole, piece = network(minigen.tensor(x)).numpy(), network(minigen.tensor(x[:, 8:56, 4:44])).numpy()
    inner = np.s_[:, reach:-reach, reach:-reach]
    np.testing.assert_allclose(piece[inner], whole[:, 8:56, 4:44][inner], atol=1e-4)
    assert np.abs(piece - whole[:, 8:56, 4:44]).max() > 0.01  # beyond the piece, it sees zeros


def test_every_parameter_learns():
    network = filled(denoiser())
    y = network(minigen.randn(2, 6, 4, 3))
    (y * minigen.randn(*y.shape)).sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not np.abs(p.grad.data).max() > 0]
    assert silent == []


def test_sides_that_are_no_multiple_of_the_patch_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 2, got shape \(1, 8, 7, 3\)"):
        denoiser()(minigen.tensor(np.zeros((1, 8, 7, 3), np.float32)))
