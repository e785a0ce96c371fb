"""Blocks that image networks are built from: residual blocks, attention, and pixels turned into channels and back."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from . import init
from .layers import Conv2d, GroupNorm, Linear
from .module import Module


class ResidualBlock(Module):
    """(N, H, W, in) -> (N, H, W, out): x plus two convolutions and, with `embedding=E`, an embedding (N, E) added
    between them.

    The last convolution starts at zero. So the block starts as the identity, or, if the number of channels changes, as
    the 1 x 1 convolution that changes it.
    """

    def __init__(self, in_channels: int, out_channels: int, num_groups: int = 8, embedding: int | None = None):
        super().__init__()
        self.norm1 = GroupNorm(num_groups, in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1)
        self.embed = None if embedding is None else Linear(embedding, out_channels)
        self.norm2 = GroupNorm(num_groups, out_channels)
        self.conv2 = zeroed(Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        if (embedding is None) != (self.embed is None):
            made, given = ("without" if missing is None else "with" for missing in (self.embed, embedding))
            raise ValueError(f"ResidualBlock: made {made} an embedding (embedding=E), but called {given} one")
        h = self.conv1(norm_silu(self.norm1, x))
        if self.embed is not None:
            h = h + self.embed(embedding).reshape(len(h), 1, 1, -1)
        h = self.conv2(norm_silu(self.norm2, h))
        return h + (x if self.skip is None else self.skip(x))


class AttentionBlock(Module):
    """(N, H, W, C) -> the same: every pixel looks at every other; a residual that starts at zero."""

    def __init__(self, channels: int, heads: int, num_groups: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"AttentionBlock: heads={heads} does not divide channels={channels}")
        self.heads = heads
        self.norm = GroupNorm(num_groups, channels)
        self.qkv = Linear(channels, 3 * channels)
        self.out = zeroed(Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, h * w, 3, self.heads, c // self.heads)
        attended = ops.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return x + self.out(attended.reshape(n, h, w, c))


def zeroed(layer: Module) -> Any:
    """A layer that gives zeros until it learns."""
    for p in layer.parameters():
        init.zeros_(p)
    return layer


def norm_silu(norm: GroupNorm, x: Tensor) -> Tensor:
    """silu(norm(x)), in one pass."""
    return ops.group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def space_to_depth(x: Tensor, p: int) -> Tensor:
    """(N, H, W, C) -> (N, H/p, W/p, p p C): the pixels of each p x p patch as channels of one pixel."""
    if p == 1:
        return x
    n, h, w, c = x.shape
    if h % p or w % p:
        raise ValueError(f"space_to_depth: the height and width of x must be divisible by {p}, got shape {x.shape}")
    patches = x.reshape(n, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(n, h // p, w // p, p * p * c)


def depth_to_space(x: Tensor, p: int) -> Tensor:
    """(N, H, W, p p C) -> (N, H p, W p, C), the inverse of `space_to_depth`."""
    if p == 1:
        return x
    n, h, w, c = x.shape
    if c % p**2:
        raise ValueError(f"depth_to_space: the channels of x must be divisible by {p**2}, got shape {x.shape}")
    patches = x.reshape(n, h, w, p, p, c // p**2).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(n, h * p, w * p, c // p**2)
