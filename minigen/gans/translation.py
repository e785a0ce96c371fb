"""Generators that turn an image into another of the same size."""

from __future__ import annotations

from itertools import pairwise

from .. import ops
from ..nn import Conv2d, ConvTranspose2d, GroupNorm, InstanceNorm, Module, ModuleList
from ..nn.blocks import ResidualBlock, depth_to_space, norm_silu, space_to_depth
from ..tensor import Tensor

MOST = 4  # times `channels`: no layer of a U-Net has more


class UNetGenerator(Module):
    """(N, H, W, in_channels) -> (N, H, W, out_channels) in [-1, 1]; H and W divisible by 2^halvings, and larger.

    Convolutions of 4 x 4 with stride 2 go down to H / 2^halvings, transposed ones come back up, and each level on the
    way up is also handed what the way down had there, the input itself at last: so the lines of a drawing need not
    pass through the narrow middle. After Isola et al. (2017, section 3.2.1), with SiLU for ReLU, and without dropout,
    whose noise their generator learned to ignore.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: int = 32, halvings: int = 3):
        super().__init__()
        self.halvings = halvings
        widths = [channels * min(2**i, MOST) for i in range(halvings)]
        self.first = Conv2d(in_channels, channels, 4, stride=2, padding=1)
        self.down = ModuleList([Down(a, b) for a, b in pairwise(widths)])
        self.up, arriving = ModuleList(), widths[-1]
        for beside, width in zip([in_channels, *widths[:-1]][::-1], [channels // 2, *widths[:-1]][::-1], strict=True):
            self.up.append(Up(arriving, width))
            arriving = width + beside
        self.last = Conv2d(arriving, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        factor = 2**self.halvings
        if x.ndim != 4 or any(side % factor or side == factor for side in x.shape[1:3]):
            raise ValueError(
                f"UNetGenerator: x must be (N, H, W, C) with H and W multiples of {factor}, from {2 * factor} on, "
                f"got shape {x.shape}"
            )
        beside = [x]
        x = ops.silu(self.first(x))
        for down in self.down:
            beside.append(x)
            x = down(x)
        for up in self.up:
            x = ops.concatenate([up(x), beside.pop()], -1)
        return ops.tanh(self.last(x))


class Down(Module):
    """(N, H, W, in) -> (N, H/2, W/2, out)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = InstanceNorm(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(self.norm(self.conv(x)))


class Up(Module):
    """(N, H, W, in) -> (N, 2H, 2W, out)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = InstanceNorm(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(self.norm(self.conv(x)))


class ResNetGenerator(Module):
    """(N, H, W, in_channels) -> (N, H, W, out_channels) in [-1, 1]; H and W divisible by 4.

    Down to a quarter of the sides, residual blocks there, and up again, as in Johnson et al. (2016) and CycleGAN (Zhu
    et al. 2017). The first halving puts the pixels of each 2 x 2 square side by side, at a quarter of the cost, and
    what there is then is handed to the end as well: on small pictures, outlines are too fine for a quarter of the
    sides. The blocks add to what arrives, and normalise groups of channels only inside: a norm of whole channels
    (instance norm) on the way would lose the colour of a plain background.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: int = 32, blocks: int = 3, num_groups: int = 8):
        super().__init__()
        self.first = Conv2d(4 * in_channels, channels, 3, padding=1)
        self.down = Conv2d(channels, 2 * channels, 4, stride=2, padding=1)
        self.blocks = ModuleList([ResidualBlock(2 * channels, 2 * channels, num_groups) for _ in range(blocks)])
        self.norm = GroupNorm(num_groups, 2 * channels)
        self.up = ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
        self.joined = ResidualBlock(2 * channels, channels, num_groups)
        self.last = Conv2d(channels, 4 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] % 4 or x.shape[2] % 4:
            raise ValueError(f"ResNetGenerator: needs x (N, H, W, C), H and W multiples of 4, got shape {x.shape}")
        fine = ops.silu(self.first(space_to_depth(x, 2)))
        x = self.down(fine)
        for block in self.blocks:
            x = block(x)
        x = self.joined(ops.concatenate([self.up(norm_silu(self.norm, x)), fine], -1))
        return ops.tanh(depth_to_space(self.last(ops.silu(x)), 2))
