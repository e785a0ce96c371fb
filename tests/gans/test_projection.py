"""Projection finds images that the generator made, and leaves the generator as it is."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans.projection import project, pyramid_distance
from minigen.gans.stylegan import StyleGenerator
from minigen.metrics import psnr
from minigen.random import Generator


def test_an_image_that_the_generator_made_is_found():
    minigen.manual_seed(0)
    g = StyleGenerator((16, 16, 3), channels=(16, 8), z_dim=8, w_dim=8, smallest=4)
    for p in g.synthesis.parameters():
        if p.ndim == 1:
            p.assign_(p.numpy() + 0.1)
    before = g.state_dict()
    noise = g.synthesis.draw_noise(3, Generator(1))
    target = Tensor(g.synthesis(g.draw_styles(3, Generator(2)), noise).numpy())
    found = {}
    for steps in (1, 100):
        w, noise = project(g, target, Generator(3), steps)
        assert w.shape == (3, g.synthesis.layers, 8)
        found[steps] = psnr(g.synthesis(w, noise).numpy(), target.numpy(), peak=2)
    assert found[100] > found[1] + 5
    for name, value in g.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(p.requires_grad and p.grad is None for p in g.parameters())


def test_the_distance_is_taken_at_several_sizes():
    x, y = (np.random.default_rng(i).standard_normal((2, 8, 8, 3)) for i in range(2))
    halved = (x - y).reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    quartered = halved.reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    expected = sum((d**2).mean((1, 2, 3)) for d in (x - y, halved, quartered))
    np.testing.assert_allclose(pyramid_distance(Tensor(x), Tensor(y)).numpy(), expected)
    odd = pyramid_distance(Tensor(x[:, :6, :6]), Tensor(y[:, :6, :6])).numpy()  # 6 x 6, 3 x 3, and no further
    halved = (x - y)[:, :6, :6].reshape(2, 3, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(odd, ((x - y)[:, :6, :6] ** 2).mean((1, 2, 3)) + (halved**2).mean((1, 2, 3)))


def test_shapes_that_do_not_overlap_are_the_nearer_the_closer_they_are():
    """In whole images both are equally far; in halved ones they are not."""
    dot = np.zeros((3, 8, 8, 1))
    dot[0, 4, 0], dot[1, 4, 1], dot[2, 4, 7] = 1, 1, 1
    near, far = pyramid_distance(Tensor(dot[[0, 0]]), Tensor(dot[1:])).numpy()
    assert near < 0.9 * far
    assert near == pytest.approx(2 / 64)
