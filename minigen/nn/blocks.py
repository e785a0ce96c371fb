"""Blocks that networks are built from: residual blocks, attention (over images, and over sequences from the left to the
right), dense mixing of all places, and pixels turned into channels and back.

S stands for the spatial axes: L of sequences, H and W of images, D, H and W of volumes.
"""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..tensor import Tensor
from . import init
from .layers import Conv1d, Conv2d, Conv3d, Dropout, GroupNorm, LayerNorm, Linear
from .module import Module

CONVS: dict[int, Any] = {1: Conv1d, 2: Conv2d, 3: Conv3d}  # by the number of spatial axes


class ResidualBlock(Module):
    """(N, *S, in) -> (N, *S, out), S of `dims` axes: x plus two convolutions and, with `embedding=E`, an embedding
    (N, E) added between them. `dropout` is the probability with which what the last convolution sees is zeroed.

    The last convolution starts at zero. So the block starts as the identity, or, if the number of channels changes, as
    the 1 x 1 convolution that changes it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_groups: int = 8,
        embedding: int | None = None,
        dims: int = 2,
        dropout: float = 0.0,
    ):
        super().__init__()
        conv = CONVS[dims]
        self.norm1 = GroupNorm(num_groups, in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1)
        self.embed = None if embedding is None else Linear(embedding, out_channels)
        self.norm2 = GroupNorm(num_groups, out_channels)
        self.dropout = Dropout(dropout)
        self.conv2 = zeroed(conv(out_channels, out_channels, 3, padding=1))
        self.skip = conv(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        check_embedding(self, embedding)
        h = self.conv1(norm_silu(self.norm1, x))
        if self.embed is not None:
            h = h + self.embed(embedding).reshape(len(h), *(1,) * (h.ndim - 2), -1)
        h = self.conv2(self.dropout(norm_silu(self.norm2, h)))
        return h + (x if self.skip is None else self.skip(x))


class AttentionBlock(Module):
    """(N, *S, C) -> the same: every pixel looks at every other; a residual that starts at zero."""

    def __init__(self, channels: int, heads: int, num_groups: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"AttentionBlock: heads={heads} does not divide channels={channels}")
        self.heads = heads
        self.norm = GroupNorm(num_groups, channels)
        self.qkv = Linear(channels, 3 * channels)
        self.out = zeroed(Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, *sizes, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, math.prod(sizes), 3, self.heads, c // self.heads)
        attended = ops.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return x + self.out(attended.reshape(x.shape))


class TransformerBlock(Module):
    """(N, L, C) -> the same: attention, in which position i sees 1 to i, then two linear layers; both are residuals.

    The norms come first (Xiong et al. 2020), and both residuals start at zero: the block starts as the identity.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"TransformerBlock: heads={heads} does not divide channels={channels}")
        self.heads = heads
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.qkv, self.attended = Linear(channels, 3 * channels), zeroed(Linear(channels, channels))
        self.widen, self.narrow = Linear(channels, 4 * channels), zeroed(Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, length, channels = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, channels // self.heads)
        h = ops.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], is_causal=True)
        x = x + self.attended(h.reshape(n, length, channels))
        return x + self.narrow(ops.gelu(self.widen(self.norm2(x))))


class MixingBlock(Module):
    """(N, *sizes, C) -> the same: every place sees every other through dense layers over all of them; a residual that
    starts at zero. With `embedding=E` it is told an embedding (N, E).

    Where attention weighs places by what is there, this weighs them by where they are, as the MLP-Mixer does
    (Tolstikhin et al. 2021, arXiv:2105.01601). Each place is first reduced to `reduced` numbers; those of all places
    together pass through `hidden` ones:  x + out(W2 silu(W1 reduce(norm(x)) + E embedding)).
    """

    def __init__(
        self,
        channels: int,
        sizes: tuple[int, ...],
        reduced: int,
        hidden: int,
        num_groups: int = 8,
        embedding: int | None = None,
    ):
        super().__init__()
        self.sizes = tuple(sizes)
        numbers = math.prod(sizes) * reduced
        self.norm = GroupNorm(num_groups, channels)
        self.reduce = Linear(channels, reduced)
        self.mix1, self.mix2 = Linear(numbers, hidden), Linear(hidden, numbers)
        self.embed = None if embedding is None else Linear(embedding, hidden)
        self.out = zeroed(Linear(reduced, channels))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        n, *sizes, _ = x.shape
        if tuple(sizes) != self.sizes:
            raise ValueError(f"MixingBlock: made for places {self.sizes}, got x of shape {x.shape}")
        check_embedding(self, embedding)
        h = self.mix1(self.reduce(self.norm(x)).reshape(n, -1))
        if self.embed is not None:
            h = h + self.embed(embedding)
        return x + self.out(self.mix2(ops.silu(h)).reshape(n, *sizes, -1))


def check_embedding(block: Any, embedding: Tensor | None) -> None:
    """A block must be called with an embedding if and only if it was made for one."""
    if (embedding is None) != (block.embed is None):
        made, given = ("without" if missing is None else "with" for missing in (block.embed, embedding))
        raise ValueError(f"{type(block).__name__}: made {made} an embedding (embedding=E), but called {given} one")


def zeroed(layer: Module) -> Any:
    """A layer that gives zeros until it learns."""
    for p in layer.parameters():
        init.zeros_(p)
    return layer


def norm_silu(norm: GroupNorm, x: Tensor) -> Tensor:
    """silu(norm(x)), in one pass."""
    return ops.group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def space_to_depth(x: Tensor, p: int) -> Tensor:
    """(N, *S, C) -> (N, *S/p, p^dims C): the pixels of each patch, p long in all `dims` axes, as channels."""
    if p == 1:
        return x
    n, *sizes, c = x.shape
    if any(size % p for size in sizes):
        raise ValueError(f"space_to_depth: the sizes of x must be divisible by {p}, got shape {x.shape}")
    dims, small = len(sizes), [size // p for size in sizes]
    outer, inner = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)  # (N,H/p,p,W/p,p,C): of patches, and in them
    patches = x.reshape(n, *[m for size in small for m in (size, p)], c).transpose(0, *outer, *inner, 2 * dims + 1)
    return patches.reshape(n, *small, p**dims * c)


def depth_to_space(x: Tensor, p: int) -> Tensor:
    """(N, *S, p^dims C) -> (N, *S p, C), the inverse of `space_to_depth`."""
    if p == 1:
        return x
    n, *sizes, c = x.shape
    dims, patch = len(sizes), p ** len(sizes)
    if c % patch:
        raise ValueError(f"depth_to_space: the channels of x must be divisible by {patch}, got shape {x.shape}")
    turns = [axis for i in range(dims) for axis in (1 + i, 1 + dims + i)]  # (N,H,W,p,p,C) -> (N,H,p,W,p,C)
    pixels = x.reshape(n, *sizes, *(p,) * dims, c // patch).transpose(0, *turns, 2 * dims + 1)
    return pixels.reshape(n, *[size * p for size in sizes], c // patch)
