"""The networks of VGAN (Vondrick et al. 2016, section 2.2, one stream): DCGAN's, with time as one more axis.

    generator:      z -> linear -> volume -> double -> double -> double -> tanh     (N, latent) -> (N, T, H, W, C)
    discriminator:  x -> halve -> halve -> halve -> linear                          (N, T, H, W, C) -> logits (N, 1)

Doubling is a transposed convolution of 4 x 4 x 4 with stride 2, halving a convolution of 4 x 4 x 4 with stride 2: so a
motion is made, and judged, as a slanted edge in a picture is. The smallest volume is T / 8 x H / 8 x W / 8 with
4 channels; each level away from it has half the channels.
"""

from __future__ import annotations

import math
from itertools import pairwise

from .. import ops
from ..nn import BatchNorm3d, Conv3d, ConvTranspose3d, Linear, Module, ModuleList
from ..random import Generator, randn
from ..tensor import Tensor

LEVELS = 3


class VGANGenerator(Module):
    """Noise (N, latent) -> videos (N, *video_shape) in [-1, 1]. Batch norm and ReLU after all layers but the last."""

    def __init__(self, video_shape: tuple[int, int, int, int], latent: int = 32, channels: int = 16):
        super().__init__()
        self.latent, self.volume_shape = latent, _volume_shape("VGANGenerator", video_shape, channels)
        widths = [channels * 2**i for i in reversed(range(LEVELS))]  # of the volumes, the smallest first
        self.first = Linear(latent, math.prod(self.volume_shape), bias=False)
        self.norms = ModuleList([BatchNorm3d(width) for width in widths])
        self.double = ModuleList(
            [ConvTranspose3d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairwise(widths)]
        )
        self.last = ConvTranspose3d(channels, video_shape[-1], 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z).reshape(len(z), *self.volume_shape)
        for norm, double in zip(self.norms, [*self.double, self.last], strict=True):
            h = double(ops.relu(norm(h)))
        return ops.tanh(h)

    def noise(self, n: int, generator: Generator | None = None) -> Tensor:
        """z (n, latent), standard normal, where the network is."""
        return randn(n, self.latent, generator=generator, device=self.first.weight.device)


class VGANDiscriminator(Module):
    """Videos (N, *video_shape) -> logits (N, 1), higher for what looks real. No normalisation: a penalty on the
    gradient (`r1_penalty`) asks for one video's, by itself."""

    def __init__(self, video_shape: tuple[int, int, int, int], channels: int = 16):
        super().__init__()
        volume_shape = _volume_shape("VGANDiscriminator", video_shape, channels)
        widths = [video_shape[-1], *(channels * 2**i for i in range(LEVELS))]
        self.halve = ModuleList([Conv3d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)])
        self.last = Linear(math.prod(volume_shape), 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.halve:
            x = ops.leaky_relu(conv(x), 0.2)
        return self.last(x.reshape(len(x), -1))


def _volume_shape(whose: str, video_shape: tuple[int, int, int, int], channels: int) -> tuple[int, int, int, int]:
    """The shape of the smallest volume."""
    *sizes, _ = video_shape
    if any(size % 2**LEVELS for size in sizes):
        raise ValueError(f"{whose}: frames, height and width must be multiples of {2**LEVELS}, got {video_shape}")
    frames, height, width = (size // 2**LEVELS for size in sizes)
    return frames, height, width, channels * 2 ** (LEVELS - 1)
