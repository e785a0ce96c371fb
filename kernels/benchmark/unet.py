"""The U-Net of the benchmark, 6.5 M parameters, as in Ho et al. 2020; `unet_torch.py` has the same in PyTorch.

It differs from `minigen.diffusion.UNet` in what the way up sees: the first convolution's output and the halved images
are kept too, and each level has a residual block more for them.
"""

from __future__ import annotations

from typing import Any

from minigen import Tensor, nn, ops
from minigen.diffusion.embedding import timestep_embedding
from minigen.nn.blocks import AttentionBlock, ResidualBlock, norm_silu

GROUPS = 8


class UNet(nn.Module):
    """x (N,H,W,3), t (N,) -> (N,H,W,3)."""

    def __init__(self, channels=64, multipliers=(1, 2, 2), blocks=2, attention=(False, True, False), heads=4):
        super().__init__()
        embedding = 4 * channels
        self.channels = channels
        self.time1, self.time2 = nn.Linear(channels, embedding), nn.Linear(embedding, embedding)
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, kept = channels, [channels]

        def block(inside: int, outside: int, attends: bool) -> nn.ModuleList:
            parts = nn.ModuleList([ResidualBlock(inside, outside, GROUPS, embedding)])
            return parts.append(AttentionBlock(outside, heads, GROUPS)) if attends else parts

        for level, (m, attends) in enumerate(zip(multipliers, attention)):
            for _ in range(blocks):
                self.down.append(block(c, m * channels, attends))
                c = m * channels
                kept.append(c)
            if level + 1 < len(multipliers):
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                kept.append(c)
        self.middle = nn.ModuleList([block(c, c, True), block(c, c, False)])
        for level, (m, attends) in reversed(list(enumerate(zip(multipliers, attention)))):
            for _ in range(blocks + 1):
                self.up.append(block(c + kept.pop(), m * channels, attends))
                c = m * channels
            if level > 0:
                self.up.append(nn.Conv2d(c, c, 3, padding=1))
        self.last_norm = nn.GroupNorm(GROUPS, c)
        self.last = nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Any) -> Tensor:
        embedding = ops.silu(self.time2(ops.silu(self.time1(timestep_embedding(t, self.channels)))))
        h = self.first(x)
        kept = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, nn.Conv2d) else run_block(layer, h, embedding)
            kept.append(h)
        for layer in self.middle:
            h = run_block(layer, h, embedding)
        for layer in self.up:
            if isinstance(layer, nn.Conv2d):
                h = layer(ops.interpolate(h, 2))
            else:
                h = run_block(layer, ops.concatenate([h, kept.pop()], axis=-1), embedding)
        return self.last(norm_silu(self.last_norm, h))


def run_block(block: Any, x: Tensor, embedding: Tensor) -> Tensor:
    x = block[0](x, embedding)
    return block[1](x) if len(block) > 1 else x
