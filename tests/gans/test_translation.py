"""Generators from image to image, and the memory of their earlier fakes."""

import numpy as np
import pytest

import minigen
from minigen import Tensor, tensor
from minigen.gans import ImagePool, ResNetGenerator, UNetGenerator
from minigen.random import Generator


def noise(*shape):
    return tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_a_u_net_keeps_the_sides_and_stays_within_1(halvings):
    network = UNetGenerator(2, 3, channels=8, halvings=halvings)
    y = network(10 * noise(2, 16, 24, 2))
    assert y.shape == (2, 16, 24, 3) and abs(y.numpy()).max() <= 1
    assert check_all_learn(network, y)


def test_a_resnet_keeps_the_sides_and_stays_within_1():
    network = ResNetGenerator(2, 3, channels=8, blocks=2)
    y = network(10 * noise(2, 8, 12, 2))
    assert y.shape == (2, 8, 12, 3) and abs(y.numpy()).max() <= 1
    for block in [*network.blocks, network.joined]:  # a zero hides what is below it
        minigen.nn.init.normal_(block.conv2.weight)
    assert check_all_learn(network, network(noise(2, 8, 12, 2)))


def check_all_learn(network, y):
    (y * noise(*y.shape)).sum().backward()
    return all(p.grad is not None and abs(p.grad.numpy()).max() > 0 for p in network.parameters())


def test_the_lines_of_the_input_reach_the_output_beside_the_middle():
    """With all that comes up through the middle at zero, the input alone decides."""
    network = UNetGenerator(1, 1, channels=8, halvings=2)
    for p in [network.up[-1].norm.weight, network.up[-1].norm.bias]:
        minigen.nn.init.zeros_(p)
    x, changed = np.zeros((2, 1, 8, 8, 1), np.float32)
    changed[0, 3, 5] = 1
    difference = np.abs(network(Tensor(changed)).numpy() - network(Tensor(x)).numpy())[0, ..., 0]
    assert difference[2:5, 4:7].min() > 0
    difference[2:5, 4:7] = 0
    assert difference.max() == 0


def test_the_outlines_reach_a_resnets_end_beside_its_blocks():
    """With all that comes up from a quarter of the sides at zero, the input decides as it is at half of them."""
    minigen.manual_seed(0)
    network = ResNetGenerator(1, 1, channels=8, blocks=1)
    for p in network.up.parameters():
        minigen.nn.init.zeros_(p)
    y = network(noise(2, 8, 8, 1)).numpy()
    assert abs(y[0] - y[1]).max() > 0.01


def test_the_levels_of_a_u_net_double_their_channels_up_to_four_times():
    network = UNetGenerator(1, 1, channels=2, halvings=5)
    assert [down.conv.weight.shape[-1] for down in network.down] == [4, 8, 8, 8]


@pytest.mark.parametrize("network", [UNetGenerator(1, 1, 8, halvings=3), ResNetGenerator(1, 1, 8)])
def test_sides_that_will_not_do_are_an_error(network):
    with pytest.raises(ValueError, match=r"multiples of [48].*got shape \(1, 16, 18, 1\)"):
        network(noise(1, 16, 18, 1))
    if isinstance(network, UNetGenerator):
        with pytest.raises(ValueError, match="from 16 on"):
            network(noise(1, 8, 16, 1))  # instance norm makes one pixel zero


# ---- the pool ----------------------------------------------------------------------------------------------


def fakes(first, n):
    return Tensor(np.arange(first, first + n, dtype=np.float32).reshape(n, 1, 1, 1) * np.ones((1, 2, 2, 1), np.float32))


def numbers(images):
    return images.numpy()[:, 0, 0, 0].astype(int).tolist()


def test_a_pool_gives_back_what_it_gets_until_it_is_full():
    pool = ImagePool(5, Generator(0))
    assert numbers(pool(fakes(0, 3))) == [0, 1, 2]
    assert numbers(pool(fakes(3, 2))) == [3, 4]


def test_a_full_pool_gives_an_earlier_image_in_half_of_the_cases_and_keeps_the_new_one_for_it():
    pool, given = ImagePool(5, Generator(0)), []
    for first in range(0, 4000, 4):
        given += numbers(pool(fakes(first, 4)))
    old = np.array(given) < np.arange(4000)
    assert abs(old[5:].mean() - 0.5) < 0.04  # 5 standard deviations
    late = [int(image[0, 0, 0]) for image in pool.images]
    assert min(late) > 3800  # every place is taken anew, on average 10 images later
    # the first five are given when they come, and once more when their place is taken; all others once
    assert sorted(given + late) == sorted([*range(4000), *range(5)])


def test_a_pool_gives_no_gradient_and_continues_from_its_state():
    generator = Generator(3)
    pool = ImagePool(4, generator)
    x = fakes(0, 6)
    x.requires_grad_(True)
    assert not pool(x).requires_grad
    state, draws = pool.state_dict(), generator.state_dict()
    expected = [numbers(pool(fakes(first, 6))) for first in (6, 12)]
    generator.load_state_dict(draws)
    again = ImagePool(4, generator)
    again.load_state_dict(state)
    assert [numbers(again(fakes(first, 6))) for first in (6, 12)] == expected
    with pytest.raises(ValueError, match="holds 2 images at most, the state has 4"):
        ImagePool(2).load_state_dict(state)
