"""A network for little noise, which says what to add to an image."""

from __future__ import annotations

from .. import ops
from ..nn import Conv2d, LayerNorm, Module, ModuleList
from ..nn.blocks import depth_to_space, space_to_depth, zeroed
from ..tensor import Tensor


class ResidualDenoiser(Module):
    """x plus a correction that takes the noise out: (N, H, W, C) -> the same, for images in [0, 1] of any size.

    Residual learning is DnCNN's (Zhang et al. 2017). Norms are over the channels of one position, as NAFNet's are
    (Chen et al. 2022), none over the image: so a network that was trained on small pieces does the same to a large one.
    It works on patch x patch pixels at a time, as FFDNet does (Zhang et al. 2018): `patch` must divide the sides.
    """

    def __init__(self, image_channels: int, channels: int = 32, blocks: int = 4, patch: int = 2):
        super().__init__()
        self.patch = patch
        self.first = Conv2d(image_channels * patch**2, channels, 3, padding=1)
        self.blocks = ModuleList([_Block(channels) for _ in range(blocks)])
        self.last = zeroed(Conv2d(channels, image_channels * patch**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(
                f"ResidualDenoiser: x must be (N, H, W, C) with H and W divisible by {self.patch}, got shape {x.shape}"
            )
        h = self.first(4 * space_to_depth(x - 0.5, self.patch))
        for block in self.blocks:
            h = block(h)
        return x + depth_to_space(0.2 * self.last(h), self.patch)


class _Block(Module):
    """(N, H, W, C) -> the same: x plus two convolutions, the identity until it learns."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = LayerNorm(channels)
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zeroed(Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(ops.silu(self.conv1(self.norm(x))))
