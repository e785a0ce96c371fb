"""StyleGAN 2's networks: sizes, styles, noise, mixing and truncation, and what D sees of a batch."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.gans.stylegan import (
    ModulatedConv2d,
    StyleDiscriminator,
    StyledLayer,
    StyleGenerator,
    minibatch_stddev,
    mix,
    resolutions,
    truncate,
    upsample,
    widths,
)
from minigen.random import Generator


@pytest.fixture(autouse=True)
def seeded():
    minigen.manual_seed(0)


def small_generator():
    g = StyleGenerator((16, 16, 3), channels=(6, 4), z_dim=5, w_dim=4, smallest=4)
    for p in g.synthesis.parameters():  # noise and most biases start at 0
        if p.ndim == 1:
            p.assign_(p.numpy() + 0.3)
    return g


@pytest.mark.parametrize(
    ("shape", "smallest", "patch", "sizes"),
    [
        ((32, 32, 3), 4, 1, [(4, 4), (8, 8), (16, 16), (32, 32)]),
        ((32, 32, 3), 8, 1, [(8, 8), (16, 16), (32, 32)]),
        ((32, 32, 3), 4, 2, [(4, 4), (8, 8), (16, 16)]),
        ((28, 28, 1), 4, 1, [(7, 7), (14, 14), (28, 28)]),
        ((28, 28, 1), 8, 1, [(14, 14), (28, 28)]),
        ((16, 32, 1), 4, 2, [(4, 8), (8, 16)]),
        ((8, 8, 1), 4, 2, [(4, 4)]),
    ],
)
def test_sizes(shape, smallest, patch, sizes):
    assert resolutions(shape, smallest, patch) == sizes
    g = StyleGenerator(shape, channels=(6, 4), w_dim=4, smallest=smallest)
    d = StyleDiscriminator(shape, channels=(6, 4), patch=patch, smallest=smallest)
    images = g(g.draw_z(4, Generator(0)), Generator(1))
    assert g.synthesis.layers == 2 * len(resolutions(shape, smallest))
    assert images.shape == (4, *shape) and np.abs(images.numpy()).max() <= 1
    assert d(images).shape == (4,)


def test_sides_that_are_no_multiples_of_the_patch_are_an_error():
    with pytest.raises(ValueError, match="multiples of patch = 4"):
        StyleDiscriminator((30, 32, 3), channels=(4,), patch=4)


def test_widths():
    assert widths((8, 4), 4) == [8, 8, 8, 4] and widths((16, 8, 4), 2) == [8, 4]
    with pytest.raises(ValueError, match="channels of one resolution at least"):
        widths((), 2)


def test_what_is_evenly_bright_stays_so_when_it_is_made_larger():
    x = Tensor(np.ones((1, 8, 8, 2)))
    assert upsample(x).shape == (1, 16, 16, 2)
    np.testing.assert_allclose(upsample(x).numpy()[:, 2:-2, 2:-2], 1)


def test_each_image_has_its_own_weight():
    """Against eq. 1 to 3 with the weight written out for each image, in a layer and in to_rgb."""
    layer, to_rgb = StyledLayer(4, 3, 5), ModulatedConv2d(4, 3, 2, 1, demodulate=False)
    x, w = minigen.randn(2, 6, 6, 3), minigen.randn(2, 4)

    def written_out(conv, demodulate):
        weight = conv.weight.numpy() * conv.scale * conv.style(w).numpy()[:, None, None, :, None]
        if demodulate:
            weight = weight / np.sqrt((weight**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        padding = len(weight[0]) // 2
        return np.stack([minigen.F.conv2d(x[i : i + 1], Tensor(weight[i]), padding=padding).numpy()[0] for i in (0, 1)])

    y = written_out(layer.conv, demodulate=True)
    expected = np.sqrt(2) * np.where(y > 0, y, 0.2 * y)
    np.testing.assert_allclose(layer(x, w, minigen.randn(2, 6, 6, 1)).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_rgb(x, w).numpy(), written_out(to_rgb, demodulate=False), rtol=1e-4, atol=1e-5)


def test_the_mapping_network_sees_directions_only():
    g = small_generator()
    z = minigen.randn(3, 5)
    np.testing.assert_allclose(g.mapping(z).numpy(), g.mapping(7 * z).numpy(), rtol=1e-4, atol=1e-5)


def test_each_noise_map_reaches_the_image_and_only_by_its_strength():
    g = small_generator()
    w, noise = g.draw_styles(1, Generator(0)), g.synthesis.draw_noise(1, Generator(1))
    layers = [
        g.synthesis.first[0],
        g.synthesis.first[1],
        g.synthesis.second[0],
        g.synthesis.first[2],
        g.synthesis.second[1],
    ]
    assert [x.shape[1] for x in noise] == [4, 8, 8, 16, 16]
    assert len(layers) == len(noise)
    image = g.synthesis(w, noise).numpy()
    for i, layer in enumerate(layers):
        changed = [x + 1 if j == i else x for j, x in enumerate(noise)]
        assert np.abs(g.synthesis(w, changed).numpy() - image).max() > 1e-3
        strength = layer.strength.numpy()
        layer.strength.assign_(0 * strength)
        np.testing.assert_array_equal(g.synthesis(w, changed).numpy(), g.synthesis(w, noise).numpy())
        layer.strength.assign_(strength)


def test_every_layer_s_w_reaches_the_image():
    g = small_generator()
    w, noise = g.draw_styles(1, Generator(0)), g.synthesis.draw_noise(1, Generator(1))
    image = g.synthesis(w, noise).numpy()
    for i in range(g.synthesis.layers):
        changed = w.numpy().copy()
        changed[:, i] += 1
        assert np.abs(g.synthesis(Tensor(changed), noise).numpy() - image).max() > 1e-3


# Truncation and mixing


def test_psi_0_is_a_centre_and_psi_1_changes_nothing():
    w, centres = minigen.randn(5, 3, 4), np.random.default_rng(0).standard_normal((2, 4))
    nearest = np.array([[min(centres, key=lambda c: ((c - one) ** 2).sum()) for one in row] for row in w.numpy()])
    assert len(np.unique(nearest.reshape(-1, 4), axis=0)) == 2
    np.testing.assert_allclose(truncate(w, centres, 0.0).numpy(), nearest, rtol=1e-5)
    np.testing.assert_allclose(truncate(w, centres, 0.25).numpy(), nearest + (w.numpy() - nearest) / 4, atol=1e-6)
    np.testing.assert_allclose(truncate(w, centres, 1.0).numpy(), w.numpy(), atol=1e-6)


def test_one_centre_takes_variety_away():
    g = small_generator()
    w, noise = g.draw_styles(8, Generator(0)), g.synthesis.draw_noise(1, Generator(1))
    mean = w.numpy()[:, 0].mean(0, keepdims=True)
    spread = [g.paint(truncate(w, mean, psi), noise).astype(float).std(0).mean() for psi in (1.0, 0.5, 0.0)]
    assert spread[0] > spread[1] > spread[2] == 0


def test_layers_before_the_crossover_are_the_coarse_image_s():
    a, b = minigen.randn(3, 6, 4), minigen.randn(3, 6, 4)
    for c in range(7):
        mixed = mix(a, b, c).numpy()
        np.testing.assert_array_equal(mixed[:, :c], a.numpy()[:, :c])
        np.testing.assert_array_equal(mixed[:, c:], b.numpy()[:, c:])
    each = mix(a, b, np.array([0, 2, 6])).numpy()
    np.testing.assert_array_equal(each[0], b.numpy()[0])
    np.testing.assert_array_equal(each[1], np.concatenate([a.numpy()[1, :2], b.numpy()[1, 2:]]))
    np.testing.assert_array_equal(each[2], a.numpy()[2])


# The discriminator


@pytest.mark.parametrize(("n", "group"), [(8, 4), (8, 8), (4, 4), (6, 4), (3, 4)])
def test_minibatch_stddev(n, group):
    x = np.random.default_rng(0).standard_normal((n, 3, 2, 5))
    y = minibatch_stddev(Tensor(x), group).numpy()
    np.testing.assert_array_equal(y[..., :5], x)
    groups = n // group if n % group == 0 else 1
    for g in range(groups):  # image i is in group i mod groups
        own = x[g::groups]
        deviation = np.sqrt(((own - own.mean(0)) ** 2).mean(0) + 1e-8).mean()
        np.testing.assert_allclose(y[g::groups, ..., 5], deviation)


def test_images_that_are_all_alike_give_themselves_away():
    d = StyleDiscriminator((8, 8, 3), channels=(4, 4))
    x = minigen.randn(4, 8, 8, 3).numpy()
    assert (minibatch_stddev(Tensor(np.repeat(x[:1], 4, 0))).numpy()[..., -1] < 1e-3).all()
    alike, among_others = d(Tensor(np.repeat(x[:1], 4, 0))).numpy()[0], d(Tensor(x)).numpy()[0]
    assert abs(alike - among_others) > 1e-3


def test_resampling_moves_nothing_to_a_side():
    """If all weights are symmetric: no filter and no padding may move anything to a side."""
    assert_mirrored(upsample)
    d = StyleDiscriminator((16, 16, 3), channels=(4, 4, 4))
    weight = d.halve[0].weight.numpy()
    d.halve[0].weight.assign_(weight + weight[:, ::-1])
    assert_mirrored(lambda x: d.halve[0](x, stride=2))


def assert_mirrored(function):
    x = minigen.randn(2, 16, 16, 4)
    y, of_mirrored = function(x).numpy(), function(Tensor(np.ascontiguousarray(x.numpy()[:, :, ::-1]))).numpy()
    np.testing.assert_allclose(of_mirrored[:, :, ::-1], y, atol=1e-5)


def test_each_layer_of_d_keeps_the_variance_of_what_it_is_given():
    d = StyleDiscriminator((32, 32, 3), channels=(64, 64, 32, 16))
    for halve, width in zip(d.halve, (16, 32, 64), strict=True):
        y = halve(minigen.randn(64, 16, 16, width), stride=2).numpy()
        assert y.shape[1:3] == (8, 8) and 0.6 < np.square(y[:, 1:-1, 1:-1]).mean() < 1.6
