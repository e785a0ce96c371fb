"""Blocks: what they start as, that embeddings are added, attention against plain ops, and pixels there and back."""

from functools import partial

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.nn import functional as F
from minigen.nn.blocks import (
    AttentionBlock,
    MixingBlock,
    ResidualBlock,
    TransformerBlock,
    depth_to_space,
    space_to_depth,
)

from ..diffusion import networks


@pytest.fixture(autouse=True)
def seeded():
    minigen.manual_seed(0)


filled = partial(networks.filled, scale=0.3)


def zeros(*shape):
    return Tensor(np.zeros(shape, np.float32))


def test_blocks_start_as_the_identity():
    for block in (
        ResidualBlock(8, 8, 2),
        AttentionBlock(8, 2, 4),
        MixingBlock(8, (4, 3), 2, 6, 2),
        TransformerBlock(8, 2),
    ):
        x = minigen.randn(2, 12, 8) if isinstance(block, TransformerBlock) else minigen.randn(2, 4, 3, 8)
        np.testing.assert_array_equal(block(x).numpy(), x.numpy())
        assert np.abs(filled(block)(x).numpy() - x.numpy()).max() > 0.1


def test_a_residual_block_of_other_channels_starts_as_its_skip():
    block, x = ResidualBlock(8, 4, 2), minigen.randn(2, 4, 3, 8)
    np.testing.assert_array_equal(block(x).numpy(), block.skip(x).numpy())


def test_a_residual_block_is_what_it_says():
    block, x, e = filled(ResidualBlock(8, 4, 2, embedding=5)), minigen.randn(2, 4, 3, 8), minigen.randn(2, 5)
    h = block.conv1(F.silu(block.norm1(x))) + block.embed(e).reshape(2, 1, 1, 4)
    expected = block.conv2(F.silu(block.norm2(h))) + block.skip(x)
    np.testing.assert_allclose(block(x, e).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [(5,), (4, 3), (2, 3, 2)])
def test_a_mixing_block_is_what_it_says(sizes):
    block, x, e = filled(MixingBlock(8, sizes, 2, 6, 4, embedding=5)), minigen.randn(3, *sizes, 8), minigen.randn(3, 5)
    h = F.silu(block.mix1(block.reduce(block.norm(x)).reshape(3, -1)) + block.embed(e))
    expected = x + block.out(block.mix2(h).reshape(3, *sizes, 2))
    np.testing.assert_allclose(block(x, e).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_in_a_mixing_block_every_place_sees_every_other():
    block, x = filled(MixingBlock(4, (3, 3), 2, 6, 2)), minigen.randn(1, 3, 3, 4)
    changed = x.data.copy()
    changed[0, 0, 0] = changed[0, 0, 0][::-1]
    assert (np.abs(block(Tensor(changed)).data - block(x).data) > 1e-6).any(-1).all()


@pytest.mark.parametrize("dims", [1, 3])
def test_blocks_work_in_any_number_of_dimensions(dims):
    block, e = filled(ResidualBlock(8, 4, 2, embedding=5, dims=dims)), minigen.randn(2, 5)
    x = minigen.randn(2, *(4, 3, 2)[:dims], 8)
    h = block.conv1(F.silu(block.norm1(x))) + block.embed(e).reshape(2, *(1,) * dims, 4)
    expected = block.conv2(F.silu(block.norm2(h))) + block.skip(x)
    np.testing.assert_allclose(block(x, e).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    block = filled(AttentionBlock(8, 2, 4))
    flat = block(x.reshape(2, -1, 1, 8))  # the places do not matter, only which they are
    np.testing.assert_allclose(block(x).numpy(), flat.reshape(x.shape).numpy(), rtol=1e-5, atol=1e-6)


def test_dropout_comes_before_the_last_convolution_and_only_in_training():
    block, x = filled(ResidualBlock(4, 4, 2, dropout=0.5)), minigen.randn(2, 6, 6, 4)
    before, last = F.silu(block.norm2(block.conv1(F.silu(block.norm1(x))))), block.conv2
    seen = []
    block.conv2 = lambda h: seen.append(h.numpy()) or last(h)
    block(x), block.eval()(x)
    kept = seen[0] != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(seen[0][kept], 2 * before.numpy()[kept], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen[1], before.numpy(), rtol=1e-4, atol=1e-5)


def test_an_embedding_comes_if_and_only_if_there_is_a_place_for_it():
    x, e = zeros(1, 2, 2, 4), zeros(1, 5)
    with pytest.raises(ValueError, match=r"ResidualBlock: made without an embedding .*, but called with one"):
        ResidualBlock(4, 4, 2)(x, e)
    with pytest.raises(ValueError, match=r"ResidualBlock: made with an embedding .*, but called without one"):
        ResidualBlock(4, 4, 2, embedding=5)(x)


def test_attention_is_a_weighted_mean_over_all_pixels():
    block, x = filled(AttentionBlock(6, 2, 3)), minigen.randn(2, 3, 2, 6)
    q, k, v = np.split(block.qkv(block.norm(x)).numpy().reshape(2, 6, 18), 3, -1)  # (N, pixels, C) each
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        scores = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(3))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v[..., part])
    attended = np.concatenate(heads, -1).reshape(2, 3, 2, 6).astype(np.float32)
    expected = x.numpy() + block.out(Tensor(attended)).numpy()
    np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_transformer_block_is_what_it_says():
    block, x = filled(TransformerBlock(8, 2)), minigen.randn(3, 5, 8)
    q, k, v = np.split(block.qkv(block.norm1(x)).numpy(), 3, -1)
    attended = np.zeros((3, 5, 8), np.float32)
    for head in (slice(0, 4), slice(4, 8)):
        scores = np.einsum("nic,njc->nij", q[..., head], k[..., head]) / 2
        scores[:, ~np.tri(5, dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended[..., head] = np.einsum("nij,njc->nic", weights / weights.sum(-1, keepdims=True), v[..., head])
    h = x + block.attended(Tensor(attended))
    expected = h + block.narrow(F.gelu(block.widen(block.norm2(h))))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="AttentionBlock: heads=3 does not divide channels=8"):
        AttentionBlock(8, 3, 2)
    with pytest.raises(ValueError, match="TransformerBlock: heads=3 does not divide channels=8"):
        TransformerBlock(8, 3)


def test_a_mixing_block_refuses_other_places_and_a_missing_embedding():
    with pytest.raises(ValueError, match=r"MixingBlock: made for places \(4, 3\), got x of shape \(2, 3, 4, 8\)"):
        MixingBlock(8, (4, 3), 2, 6, 2)(zeros(2, 3, 4, 8))
    with pytest.raises(ValueError, match=r"MixingBlock: made with an embedding .*, but called without one"):
        MixingBlock(8, (4, 3), 2, 6, 2, embedding=5)(zeros(2, 4, 3, 8))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_space_to_depth_and_back(p, dims):
    small = (2, 3, 4)[:dims]
    x = minigen.randn(2, *[size * p for size in small], 2)
    patches = space_to_depth(x, p)
    assert patches.shape == (2, *small, 2 * p**dims)
    for place in np.ndindex(small):
        patch = x.numpy()[:, *[slice(i * p, (i + 1) * p) for i in place]]
        np.testing.assert_array_equal(patches.numpy()[:, *place], patch.reshape(2, -1))
    np.testing.assert_array_equal(depth_to_space(patches, p).numpy(), x.numpy())


def test_patches_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"space_to_depth: .* divisible by 2, got shape \(1, 4, 5, 3\)"):
        space_to_depth(zeros(1, 4, 5, 3), 2)
    with pytest.raises(ValueError, match=r"depth_to_space: .* divisible by 4, got shape \(1, 2, 2, 6\)"):
        depth_to_space(zeros(1, 2, 2, 6), 2)
    with pytest.raises(ValueError, match=r"depth_to_space: .* divisible by 8, got shape \(1, 2, 2, 2, 4\)"):
        depth_to_space(zeros(1, 2, 2, 2, 4), 2)
