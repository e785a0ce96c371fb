"""The U-Net: the network of a diffusion model (Ronneberger et al. 2015; Ho et al. 2020, appendix B).

Down: residual blocks at each resolution, halving it between levels, each block's output kept. In the middle:
attention. Up: residual blocks that also see what the way down kept, doubling the resolution.

    x -> patches -> [blocks] -> keep ----------------> [blocks] -> patches -> y
                       | half                            ^ double
                    [blocks] -> keep -------------> [blocks]
                       |                                 ^
                       +-> block, attention, block ------+
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import device_of, on_device_of, to_device
from ..nn import Conv2d, GroupNorm, Linear, Module, ModuleList
from ..nn.blocks import AttentionBlock, ResidualBlock, depth_to_space, norm_silu, space_to_depth, zeroed
from ..tensor import Tensor, array_of


def timestep_embedding(t: Any, dim: int) -> Tensor:
    """(N,) -> (N, dim): sines and cosines of t at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, 3.5)."""
    half, t = dim // 2, array_of(t)
    frequencies = to_device(np.exp(-math.log(10000) * np.arange(half) / half), device_of(t))
    with on_device_of(t):
        angles = t.astype(np.float64)[:, None] * frequencies
        return Tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


class UNet(Module):
    """x (N, H, W, in_channels), t (N,), on any device -> (N, H, W, out_channels).

    Level i has channels * multipliers[i] channels, `blocks` residual blocks on the way down and as many on the way up,
    and attention after each where `attention[i]`; there always is some in the middle. With `patch` p the network works
    on p x p pixels at a time, at 1/p of the resolution and so 1/p^2 of the cost. H and W must be divisible by p, and
    by 2 for each level below the first.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 2,
        attention: tuple[bool, ...] = (False, True),
        heads: int = 4,
        patch: int = 1,
        num_groups: int = 8,
    ):
        super().__init__()
        if len(attention) != len(multipliers):
            raise ValueError(f"UNet: {len(multipliers)} multipliers but {len(attention)} entries in attention")
        if any(channels * m % heads for m in multipliers):
            raise ValueError(f"UNet: heads={heads} does not divide {[channels * m for m in multipliers]} channels")
        out_channels = in_channels if out_channels is None else out_channels
        self.channels, self.patch = channels, patch
        embedding = 4 * channels
        self.time1, self.time2 = Linear(channels, embedding), Linear(embedding, embedding)
        self.first = Conv2d(in_channels * patch**2, channels, 3, padding=1)

        def block(inside: int, outside: int, attends: bool) -> ModuleList:
            parts = ModuleList([ResidualBlock(inside, outside, num_groups, embedding)])
            return parts.append(AttentionBlock(outside, heads, num_groups)) if attends else parts

        c, kept = channels, []
        self.down, self.halve = ModuleList(), ModuleList()
        for i, (m, attends) in enumerate(zip(multipliers, attention, strict=True)):
            level = ModuleList()
            for _ in range(blocks):
                level.append(block(c, channels * m, attends))
                c = channels * m
                kept.append(c)
            self.down.append(level)
            if i + 1 < len(multipliers):
                self.halve.append(Conv2d(c, c, 3, stride=2, padding=1))
        self.middle = ModuleList([block(c, c, True), block(c, c, False)])
        self.up, self.double = ModuleList(), ModuleList()
        for i, (m, attends) in reversed(list(enumerate(zip(multipliers, attention, strict=True)))):
            level = ModuleList()
            for _ in range(blocks):
                level.append(block(c + kept.pop(), channels * m, attends))
                c = channels * m
            self.up.append(level)
            if i > 0:
                self.double.append(Conv2d(c, c, 3, padding=1))
        self.last_norm = GroupNorm(num_groups, c)
        self.last = zeroed(Conv2d(c, out_channels * patch**2, 3, padding=1))

    def forward(self, x: Tensor, t: Any) -> Tensor:
        step = self.patch * 2 ** len(self.halve)
        if x.ndim != 4 or x.shape[1] % step or x.shape[2] % step:
            raise ValueError(f"UNet: x must be (N, H, W, C) with H and W divisible by {step}, got shape {x.shape}")
        if np.shape(t) != (len(x),):
            raise ValueError(f"UNet: t must hold one timestep for each of {len(x)} images, got shape {np.shape(t)}")
        embedding = timestep_embedding(t, self.channels).to(x.device)
        embedding = ops.silu(self.time2(ops.silu(self.time1(embedding))))
        h = self.first(space_to_depth(x, self.patch))
        kept = []
        for i, level in enumerate(self.down):
            for block in level:
                h = run_block(block, h, embedding)
                kept.append(h)
            if i < len(self.halve):
                h = self.halve[i](h)
        for block in self.middle:
            h = run_block(block, h, embedding)
        for i, level in enumerate(self.up):
            for block in level:
                h = run_block(block, ops.concatenate([h, kept.pop()], axis=-1), embedding)
            if i < len(self.double):
                h = self.double[i](ops.interpolate(h, 2))
        return depth_to_space(self.last(norm_silu(self.last_norm, h)), self.patch)


def run_block(block: ModuleList, x: Tensor, embedding: Tensor) -> Tensor:
    """A residual block and, if there is one, the attention after it."""
    x = block[0](x, embedding)
    return block[1](x) if len(block) > 1 else x
