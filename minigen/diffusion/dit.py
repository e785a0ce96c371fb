"""DiT: a transformer in the place of the U-Net (Peebles & Xie 2023, arXiv:2212.09748).

    x -> patches -> linear, + positions -> [blocks] -> norm, modulate -> linear -> patches -> y

Each patch of the image is one vector. Time and class enter by modulation alone: an embedding of them gives every block
the shift, scale and gate of its two parts, for all patches alike (adaLN-Zero, figure 3):

    x = x + gate1 attention(norm(x) (1 + scale1) + shift1)
    x = x + gate2       mlp(norm(x) (1 + scale2) + shift2)

All of them start at zero, gates among them: every block starts as the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..backend import to_device
from ..nn import Linear, Module, ModuleList
from ..nn.blocks import depth_to_space, space_to_depth, zeroed
from ..tensor import Tensor
from .embedding import ConditionEmbedding, check_conditions


class DiT(Module):
    """x (N, H, W, in_channels), t (N,) and, with `num_classes`, labels (N,), on any device -> (N, H, W, out_channels).

    t, labels, `null_class` and `out_channels` are as in `UNet`. H and W must be divisible by `patch_size`, and
    `hidden_size`, the length of a patch's vector, by 4 and by `num_heads`. The cost of `depth` blocks goes with the
    number of patches, that of attention with its square.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        hidden_size: int = 128,
        depth: int = 6,
        num_heads: int = 4,
        patch_size: int = 2,
        mlp_ratio: float = 4.0,
        num_classes: int | None = None,
    ):
        super().__init__()
        if hidden_size % 4 or hidden_size % num_heads:
            needed = f"divisible by 4 and by num_heads={num_heads}"
            raise ValueError(f"DiT: hidden_size must be {needed}, got {hidden_size}")
        out_channels = in_channels if out_channels is None else out_channels
        self.in_channels, self.hidden_size, self.patch_size = in_channels, hidden_size, patch_size
        self.null_class = num_classes
        self.embed = ConditionEmbedding(hidden_size, hidden_size, num_classes)
        self.first = Linear(in_channels * patch_size**2, hidden_size)
        self.blocks = ModuleList([DiTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth)])
        self.modulation = zeroed(Linear(hidden_size, 2 * hidden_size))
        self.last = zeroed(Linear(hidden_size, out_channels * patch_size**2))

    def forward(self, x: Tensor, t: Any, labels: Any = None) -> Tensor:
        p = self.patch_size
        if x.ndim != 4 or x.shape[-1] != self.in_channels or x.shape[1] % p or x.shape[2] % p:
            needed = f"(N, H, W, {self.in_channels}) with H, W divisible by {p}"
            raise ValueError(f"DiT: x must be {needed}, got shape {x.shape}")
        check_conditions("DiT", len(x), t, labels, self.null_class)
        embedding = self.embed(t, labels)
        h = self.first(space_to_depth(x, p))
        n, height, width, c = h.shape
        positions = position_embedding(height, width, c).astype(h.dtype)
        h = (h + to_device(positions, h.device)).reshape(n, height * width, c)
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = ops.split(self.modulation(embedding), 2, -1)
        y = self.last(modulated_norm(h, shift, scale))
        return depth_to_space(y.reshape(n, height, width, -1), p)


class DiTBlock(Module):
    """x (N, L, channels), embedding (N, channels) -> like x: attention and an MLP, modulated as above."""

    def __init__(self, channels: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.num_heads = num_heads
        hidden = int(mlp_ratio * channels)
        self.modulation = zeroed(Linear(channels, 6 * channels))
        self.qkv, self.out = Linear(channels, 3 * channels), Linear(channels, channels)
        self.mlp1, self.mlp2 = Linear(channels, hidden), Linear(hidden, channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = ops.split(self.modulation(embedding), 6, -1)
        n, length, c = x.shape
        qkv = self.qkv(modulated_norm(x, shift1, scale1)).reshape(n, length, 3, self.num_heads, c // self.num_heads)
        attended = ops.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        x = x + gate1.reshape(n, 1, c) * self.out(attended.reshape(x.shape))
        h = ops.gelu(self.mlp1(modulated_norm(x, shift2, scale2)), approximate="tanh")
        return x + gate2.reshape(n, 1, c) * self.mlp2(h)


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) (1 + scale) + shift: x (N, L, C), shift and scale (N, C); the norm has no weights of its own."""
    n, _, c = x.shape
    return ops.layer_norm(x, c, eps=1e-6) * (1 + scale).reshape(n, 1, c) + shift.reshape(n, 1, c)


def position_embedding(height: int, width: int, channels: int) -> np.ndarray:
    """(height, width, channels): sines and cosines of the row in the first half, of the column in the second, at
    wavelengths from 2 pi to 20,000 pi patches."""
    quarter = channels // 4
    frequencies = 10000.0 ** (-np.arange(quarter) / quarter)
    rows, columns = (np.arange(size)[:, None] * frequencies for size in (height, width))
    waves = [np.broadcast_to(wave(rows)[:, None], (height, width, quarter)) for wave in (np.sin, np.cos)]
    waves += [np.broadcast_to(wave(columns), (height, width, quarter)) for wave in (np.sin, np.cos)]
    return np.concatenate(waves, -1)
