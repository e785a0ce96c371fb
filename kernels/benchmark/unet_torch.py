"""PyTorch's twins of our U-Nets: the benchmark's (`unet.py`), and with `all_kept=False` `minigen.diffusion.UNet`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

GROUPS = 8


def timestep_embedding(t: torch.Tensor, dim: int) -> torch.Tensor:
    frequencies = torch.exp(-math.log(10000) * torch.arange(dim // 2) / (dim // 2))
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


class ResidualBlock(nn.Module):
    def __init__(self, inside: int, outside: int, embedding: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, inside), nn.GroupNorm(GROUPS, outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.time = nn.Linear(embedding, outside)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(embedding)[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(GROUPS, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        rows = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(rows).reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        return x + self.out(attended).transpose(1, 2).reshape(n, c, h, w)


class UNet(nn.Module):
    """x (N,C,H,W), t (N,) -> the same shape. With `patch` p it works on p x p pixels at a time."""

    def __init__(
        self, in_channels=3, channels=64, multipliers=(1, 2, 2), blocks=2, attention=(False, True, False), heads=4,
        patch=1, all_kept=True,
    ):  # fmt: skip
        super().__init__()
        embedding = 4 * channels
        self.channels, self.patch, self.all_kept = channels, patch, all_kept
        self.time1, self.time2 = nn.Linear(channels, embedding), nn.Linear(embedding, embedding)
        self.first = nn.Conv2d(in_channels * patch**2, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, kept = channels, [channels] * all_kept

        def block(inside: int, outside: int, attends: bool) -> nn.ModuleList:
            parts = [ResidualBlock(inside, outside, embedding)]
            return nn.ModuleList([*parts, AttentionBlock(outside, heads)] if attends else parts)

        for level, (m, attends) in enumerate(zip(multipliers, attention)):
            for _ in range(blocks):
                self.down.append(block(c, m * channels, attends))
                c = m * channels
                kept.append(c)
            if level + 1 < len(multipliers):
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                kept += [c] * all_kept
        self.middle = nn.ModuleList([block(c, c, True), block(c, c, False)])
        for level, (m, attends) in reversed(list(enumerate(zip(multipliers, attention)))):
            for _ in range(blocks + all_kept):
                self.up.append(block(c + kept.pop(), m * channels, attends))
                c = m * channels
            if level > 0:
                self.up.append(nn.Conv2d(c, c, 3, padding=1))
        self.last_norm = nn.GroupNorm(GROUPS, c)
        self.last = nn.Conv2d(c, in_channels * patch**2, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        embedding = F.silu(self.time2(F.silu(self.time1(timestep_embedding(t, self.channels)))))
        h = self.first(F.pixel_unshuffle(x, self.patch))
        kept = [h] * self.all_kept
        for layer in self.down:
            halves = isinstance(layer, nn.Conv2d)
            h = layer(h) if halves else run_block(layer, h, embedding)
            if self.all_kept or not halves:
                kept.append(h)
        for layer in self.middle:
            h = run_block(layer, h, embedding)
        for layer in self.up:
            if isinstance(layer, nn.Conv2d):
                h = layer(F.interpolate(h, scale_factor=2.0))
            else:
                h = run_block(layer, torch.cat([h, kept.pop()], 1), embedding)
        return F.pixel_shuffle(self.last(F.silu(self.last_norm(h))), self.patch)


def run_block(block: Any, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    x = block[0](x, embedding)
    return block[1](x) if len(block) > 1 else x
