"""A space-time U-Net for videos (Ho et al. 2022, "Video Diffusion Models", arXiv:2204.03458, section 3).

The U-Net of images sees every frame as an image of its own; after each of its blocks, the frames are mixed, each
position by itself. (N, T, H, W, C) and (N T, H, W, C) are the same numbers, so going from one to the other costs
nothing:

    frames -> block -> [along T: convolution, attention] -> block -> [along T: convolution] -> ...

What mixes them starts as the identity: at first, a video is T independent images.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import to_device
from ..nn import Conv2d, GroupNorm, Linear, Module, ModuleList
from ..nn.blocks import norm_silu, zeroed
from ..tensor import Tensor, array_of
from .embedding import check_conditions, timestep_embedding
from .unet import UNet


class VideoUNet(Module):
    """x (N, T, H, W, in_channels), t (N,) and, with `num_classes`, labels (N,) -> (N, T, H, W, out_channels).

    A convolution along T follows each block of the U-Net, and attention along T each one that itself has attention.
    `temporal=False` gives a network of the same size that never looks beyond a frame: its videos are independent
    images. `settings` are those of `UNet`, in two dimensions; t, labels and `null_class` are as there.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        heads: int = 4,
        num_groups: int = 8,
        temporal: bool = True,
        **settings: Any,
    ):
        super().__init__()
        self.unet = UNet(in_channels, out_channels, heads=heads, num_groups=num_groups, **settings)
        self.null_class, self.temporal = self.unet.null_class, temporal
        self.mixing = ModuleList()
        for block in self.unet.blocks_in_order():
            channels = len(block[0].conv2.bias)
            mixing = ModuleList([TemporalConv(channels, num_groups)])
            if len(block) > 1:
                mixing.append(TemporalAttention(channels, heads, num_groups))
            self.mixing.append(mixing)

    def forward(self, x: Tensor, t: Any, labels: Any = None) -> Tensor:
        if x.ndim != 5:
            raise ValueError(f"VideoUNet: x must be (N, T, H, W, C), got shape {x.shape}")
        check_conditions("VideoUNet", len(x), t, labels, self.null_class)
        n, frames, *image = x.shape
        t, labels = (None if c is None else np.repeat(to_device(array_of(c), "cpu"), frames) for c in (t, labels))
        mixing, seen_together = iter(self.mixing), frames if self.temporal else 1

        def mix(h: Tensor) -> Tensor:
            video = h.reshape(-1, seen_together, *h.shape[1:])
            for layer in next(mixing):
                video = layer(video)
            return video.reshape(h.shape)

        y = self.unet(x.reshape(n * frames, *image), t, labels, after_block=mix)
        return y.reshape(n, frames, *y.shape[1:])


class TemporalConv(Module):
    """(N, T, *S, C) -> the same: each position sees itself in the frames before and after; a residual that starts at
    zero."""

    def __init__(self, channels: int, num_groups: int):
        super().__init__()
        self.norm = GroupNorm(num_groups, channels)
        self.conv = zeroed(Conv2d(channels, channels, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        n, frames, *sizes, c = x.shape
        h = norm_silu(self.norm, x).reshape(n, frames, math.prod(sizes), c)
        return x + self.conv(h).reshape(x.shape)


class TemporalAttention(Module):
    """(N, T, *S, C) -> the same: each position looks at itself in all frames, and knows their numbers; a residual that
    starts at zero."""

    def __init__(self, channels: int, heads: int, num_groups: int):
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(num_groups, channels)
        self.qkv = Linear(channels, 3 * channels)
        self.out = zeroed(Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, frames, *sizes, c = x.shape
        positions = math.prod(sizes)
        h = self.norm(x).reshape(n, frames, positions, c).transpose(0, 2, 1, 3)
        numbers = ops.astype(timestep_embedding(np.arange(frames), c), x.dtype).to(x.device)
        qkv = self.qkv(h + numbers).reshape(n * positions, frames, 3, self.heads, c // self.heads)
        attended = ops.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        y = self.out(attended.reshape(n, positions, frames, c)).transpose(0, 2, 1, 3)
        return x + y.reshape(x.shape)
