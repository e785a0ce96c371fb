"""Generators that turn an image into another of the same size."""

from __future__ import annotations

from .. import ops
from ..nn import Conv2d, ConvTranspose2d, GroupNorm, Module, ModuleList
from ..nn.blocks import norm_silu
from ..tensor import Tensor

_MOST = 4  # times `channels`: a layer has no more


class UNetGenerator(Module):
    """(N, H, W, in_channels) -> (N, H, W, out_channels) in [-1, 1]; H and W divisible by 2^halvings.

    Convolutions of 4 x 4 with stride 2 go down to H / 2^halvings, transposed ones come back up, and each level on the
    way up is also handed what the way down had there: so the lines of the input need not pass through the narrow
    middle. After Isola et al. (2017, section 3.2.1), with group normalisation and SiLU for batch normalisation and
    ReLU, and without dropout, whose noise their generator learned to ignore.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: int = 32, halvings: int = 4, num_groups: int = 8):
        super().__init__()
        widths = [channels * min(2**i, _MOST) for i in range(halvings)]
        self.halvings = halvings
        self.down, self.down_norms = ModuleList(), ModuleList()
        for before, width in zip([in_channels, *widths], widths, strict=False):
            self.down.append(Conv2d(before, width, 4, stride=2, padding=1))
            self.down_norms.append(GroupNorm(num_groups, width))
        self.up, self.up_norms = ModuleList(), ModuleList()
        for i in reversed(range(1, halvings)):
            arriving = widths[i] if i == halvings - 1 else 2 * widths[i]
            self.up.append(ConvTranspose2d(arriving, widths[i - 1], 4, stride=2, padding=1))
            self.up_norms.append(GroupNorm(num_groups, widths[i - 1]))
        arriving = 2 * widths[0] if halvings > 1 else widths[0]
        self.last = ConvTranspose2d(arriving, out_channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        factor = 2**self.halvings
        if x.ndim != 4 or x.shape[1] % factor or x.shape[2] % factor:
            raise ValueError(
                f"UNetGenerator: x must be (N, H, W, C) with H and W divisible by {factor}, got shape {x.shape}"
            )
        skips = []
        for conv, norm in zip(self.down, self.down_norms, strict=True):
            x = norm_silu(norm, conv(x))
            skips.append(x)
        skips.pop()  # the middle itself
        for conv, norm in zip(self.up, self.up_norms, strict=True):
            x = ops.concatenate([norm_silu(norm, conv(x)), skips.pop()], -1)
        return ops.tanh(self.last(x))
