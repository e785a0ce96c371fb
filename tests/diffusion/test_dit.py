"""DiT: shapes, the start at zero, its block and its positions against slow transcriptions, and what it is told."""

import math

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import DiT
from minigen.diffusion.dit import DiTBlock, position_embedding

from .networks import check_parameter_gradients, filled, silent_parameters


def small_dit(**settings):
    minigen.manual_seed(0)
    return DiT(**{"in_channels": 3, "hidden_size": 8, "depth": 2, "num_heads": 2, **settings})


@pytest.mark.parametrize("patch_size", [1, 2, 3])
@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 3), (3, 2)])
def test_output_has_the_shape_of_the_input_and_starts_at_zero(patch_size, rows, columns):
    network = small_dit(patch_size=patch_size)
    shape = 2, rows * patch_size, columns * patch_size, 3
    y = network(minigen.randn(*shape), np.array([0, 9]))
    assert y.shape == shape and y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), 0)
    assert small_dit(patch_size=patch_size, out_channels=5)(minigen.randn(*shape), [0, 9]).shape == (*shape[:3], 5)


def test_blocks_start_as_the_identity():
    x, e = minigen.randn(2, 5, 8), minigen.randn(2, 8)
    np.testing.assert_array_equal(DiTBlock(8, 2)(x, e).numpy(), x.numpy())


def layer_norm(row):
    return (row - row.mean()) / math.sqrt(row.var() + 1e-6)


def gelu(v):
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def test_a_block_equals_a_transcription():
    """Peebles & Xie 2023, figure 3, sample by sample, patch by patch and head by head."""
    minigen.manual_seed(0)
    block = filled(DiTBlock(8, 2, mlp_ratio=1.5).astype(np.float64), 0.3)
    x, e = (minigen.randn(*shape, dtype=np.float64) for shape in ((2, 5, 8), (2, 8)))
    w = {name: p.data for name, p in block.named_parameters()}

    def linear(name, row):
        return row @ w[f"{name}.weight"] + w[f"{name}.bias"]

    expected = np.empty((2, 5, 8))
    for n in range(2):
        shift1, scale1, gate1, shift2, scale2, gate2 = linear("modulation", e.data[n]).reshape(6, 8)
        qkv = [linear("qkv", layer_norm(row) * (1 + scale1) + shift1) for row in x.data[n]]
        for i in range(5):
            attended = []
            for head in range(2):
                at = slice(4 * head, 4 * head + 4)
                scores = np.array([np.exp(qkv[i][:8][at] @ other[8:16][at] / math.sqrt(4)) for other in qkv])
                attended.append(sum(p * other[16:][at] for p, other in zip(scores / scores.sum(), qkv, strict=True)))
            h = x.data[n, i] + gate1 * linear("out", np.concatenate(attended))
            hidden = np.array([gelu(v) for v in linear("mlp1", layer_norm(h) * (1 + scale2) + shift2)])
            assert hidden.shape == (12,)
            expected[n, i] = h + gate2 * linear("mlp2", hidden)
    np.testing.assert_allclose(block(x, e).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_positions_are_sines_and_cosines_of_row_and_column():
    places = position_embedding(3, 5, 8)
    assert places.shape == (3, 5, 8)
    for i in range(3):
        for j in range(5):
            expected = [f(place / 100**k) for place in (i, j) for f in (math.sin, math.cos) for k in (0, 1)]
            np.testing.assert_allclose(places[i, j], expected)


def test_places_of_patches_matter():
    """Without positions, a transformer would give patches that trade places outputs that do so too."""
    network, t = filled(small_dit()), np.array([5])
    x = minigen.randn(1, 2, 4, 3)
    swapped = Tensor(np.concatenate([x.data[:, :, 2:], x.data[:, :, :2]], 2))
    y, z = network(x, t).data, network(swapped, t).data
    assert np.abs(z - np.concatenate([y[:, :, 2:], y[:, :, :2]], 2)).max() > 1e-2


def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone():
    network = filled(small_dit(num_classes=2))
    assert silent_parameters(network, minigen.randn(3, 4, 4, 3), np.array([3, 700, 42]), np.arange(3)) == []


def test_gradients_of_parameters_are_right():
    network = filled(small_dit(num_classes=2, in_channels=1)).astype(np.float64)
    check_parameter_gradients(network, minigen.randn(2, 4, 2, 1, dtype=np.float64), np.array([3.5, 800]), np.arange(2))


def test_time_and_class_matter():
    network, x = filled(small_dit(num_classes=2)), minigen.randn(1, 4, 4, 3)
    assert network.null_class == 2 and small_dit().null_class is None
    first = network(x, np.array([1]), np.array([0])).data
    for t, label in ((1.5, 0), (900, 0), (1, 1), (1, 2)):
        assert np.abs(network(x, np.array([t]), np.array([label])).data - first).max() > 1e-4


def test_bad_input_is_named():
    def zeros(*shape):
        return Tensor(np.zeros(shape, np.float32))

    with pytest.raises(
        ValueError, match=r"x must be \(N, H, W, 3\) with H, W divisible by 2, got shape \(1, 4, 3, 3\)"
    ):
        small_dit()(zeros(1, 4, 3, 3), np.array([0]))
    with pytest.raises(ValueError, match=r"x must be \(N, H, W, 3\) .*, got shape \(1, 4, 4, 1\)"):
        small_dit()(zeros(1, 4, 4, 1), np.array([0]))
    with pytest.raises(ValueError, match=r"DiT: t must hold one timestep for each of 2 samples, got shape \(1,\)"):
        small_dit()(zeros(2, 4, 4, 3), np.array([0]))
    with pytest.raises(ValueError, match="DiT: made with num_classes=2, but called without labels"):
        small_dit(num_classes=2)(zeros(1, 4, 4, 3), np.array([0]))
    for size, heads in ((6, 2), (8, 3)):
        with pytest.raises(
            ValueError, match=f"hidden_size must be divisible by 4 and by num_heads={heads}, got {size}"
        ):
            small_dit(hidden_size=size, num_heads=heads)
