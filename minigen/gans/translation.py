"""Generators that turn an image into another of the same size."""

from __future__ import annotations

from itertools import pairwise

from .. import ops
from ..nn import Conv2d, ConvTranspose2d, InstanceNorm, Module, ModuleList
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
