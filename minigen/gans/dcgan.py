"""The networks of DCGAN (Radford et al. 2016): convolutions all the way, batch normalisation, and nothing else.

    generator:      z -> linear -> map -> double -> ... -> double -> tanh           (N, latent) -> (N, H, W, C)
    discriminator:  x -> halve -> ... -> halve -> linear                            (N, H, W, C) -> logits (N, 1)

Doubling is a transposed convolution of 4 x 4 with stride 2, halving a convolution of 4 x 4 with stride 2. The smallest
map is H / 2^levels x W / 2^levels with channels * 2^(levels - 1) channels; each level away from it has half of them.
With `middle` there are that many 3 x 3 convolutions more at the smallest map, where they cost least: for small images,
which leave little room for levels, and a network that needs depth all the same.
"""

from __future__ import annotations

import math
from itertools import pairwise

from .. import ops
from ..nn import BatchNorm2d, Conv2d, ConvTranspose2d, Linear, Module, ModuleList, SpectralNorm, init
from ..random import Generator, randn
from ..tensor import Tensor

SLOPE = 0.2  # of the discriminator's leaky ReLU (section 3)


class DCGANGenerator(Module):
    """Noise (N, latent) -> images (N, *image_shape) in [-1, 1]. Batch norm and ReLU after all layers but the last."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent: int = 64,
        channels: int = 32,
        levels: int = 2,
        middle: int = 0,
    ):
        super().__init__()
        self.latent, self.map_shape = latent, _map_shape("DCGANGenerator", image_shape, channels, levels)
        widths = [channels * 2**i for i in reversed(range(levels))]  # of the maps, the smallest first
        self.first = Linear(latent, math.prod(self.map_shape), bias=False)
        self.norms = ModuleList([BatchNorm2d(width) for width in [widths[0]] * middle + widths])
        self.middle = ModuleList([Conv2d(widths[0], widths[0], 3, padding=1, bias=False) for _ in range(middle)])
        self.double = ModuleList(
            [ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairwise(widths)]
        )
        self.last = ConvTranspose2d(channels, image_shape[-1], 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z).reshape(len(z), *self.map_shape)
        for norm, conv in zip(self.norms, [*self.middle, *self.double, self.last], strict=True):
            h = conv(ops.relu(norm(h)))
        return ops.tanh(h)

    def noise(self, n: int, generator: Generator | None = None) -> Tensor:
        """z (n, latent), standard normal, where the network is."""
        return randn(n, self.latent, generator=generator, device=self.first.weight.device)


class DCGANDiscriminator(Module):
    """Images (N, *image_shape) -> logits (N / pack, 1), higher for what looks real.

    norm:          "batch", after all layers but the first and the last, as in the paper; or None
    spectral_norm: every weight is divided by its largest singular value (Miyato et al. 2018); goes with norm=None
    pack:          how many images, one after the other in the batch, are judged together: their channels are
                   concatenated, so that a lack of variety shows (PacGAN, Lin et al. 2018)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: int = 32,
        levels: int = 2,
        norm: str | None = "batch",
        spectral_norm: bool = False,
        pack: int = 1,
        middle: int = 0,
    ):
        super().__init__()
        if norm not in ("batch", None):
            raise ValueError(f"DCGANDiscriminator: norm must be 'batch' or None, got {norm!r}")
        if spectral_norm and norm is not None:
            raise ValueError("DCGANDiscriminator: batch norm would undo the spectral norm: give norm=None with it")
        self.pack, self.image_shape = pack, tuple(image_shape)
        map_shape = _map_shape("DCGANDiscriminator", image_shape, channels, levels)
        widths = [image_shape[-1] * pack] + [channels * 2**i for i in range(levels)]
        self.halve = ModuleList([Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)])
        self.middle = ModuleList([Conv2d(widths[-1], widths[-1], 3, padding=1) for _ in range(middle)])
        normed = widths[2:] + [widths[-1]] * middle if norm == "batch" else []
        self.norms = ModuleList([BatchNorm2d(width) for width in normed])
        self.last = Linear(math.prod(map_shape), 1)
        layers = [*self.halve, *self.middle, self.last] if spectral_norm else []
        self.spectral = ModuleList([SpectralNorm(layer.weight) for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees: (N, *image_shape) -> (N / pack, features)."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"DCGANDiscriminator: needs images (N, {', '.join(map(str, self.image_shape))}), got {x.shape}"
            )
        if len(x) % self.pack:
            raise ValueError(f"DCGANDiscriminator: {len(x)} images cannot be judged {self.pack} at a time")
        n, height, width, channels = x.shape
        x = x.reshape(n // self.pack, self.pack, height, width, channels).transpose(0, 2, 3, 1, 4)
        h = x.reshape(n // self.pack, height, width, self.pack * channels)
        for i, layer in enumerate([*self.halve, *self.middle]):
            if i > 0 and len(self.norms):
                h = ops.conv2d(h, self._weight(i), layer.bias, **layer.settings)
                h = ops.leaky_relu(self.norms[i - 1](h), SLOPE)
            else:
                h = ops.conv2d_leaky_relu(h, self._weight(i), layer.bias, **layer.settings, negative_slope=SLOPE)
        return h.reshape(len(h), -1)

    def judge(self, features: Tensor) -> Tensor:
        """The last layer: (N / pack, features) -> (N / pack, 1)."""
        return features @ self._weight(-1) + self.last.bias

    def _weight(self, i: int) -> Tensor:
        """Of layer i, the last one being the linear one; divided by its largest singular value, if it is to be."""
        weight = [*self.halve, *self.middle, self.last][i].weight
        return self.spectral[i](weight) if len(self.spectral) else weight


def small_weights_(network: Module, std: float = 0.02) -> None:
    """Draws all weights anew from N(0, std^2), as the paper does (section 3).

    What comes before a batch norm gives the same for weights of any size; but the smaller they are, the further a step
    of Adam turns them, and the sooner the network learns.
    """
    for p in network.parameters():
        if p.ndim > 1:
            init.normal_(p, std=std)


def _map_shape(whose: str, image_shape: tuple[int, int, int], channels: int, levels: int) -> tuple[int, int, int]:
    """The shape of the smallest map."""
    height, width, _ = image_shape
    if levels < 1:
        raise ValueError(f"{whose}: levels must be at least 1, got {levels}")
    if height % 2**levels or width % 2**levels:
        raise ValueError(f"{whose}: the sides of image_shape must be divisible by {2**levels}, got {image_shape}")
    return height // 2**levels, width // 2**levels, channels * 2 ** (levels - 1)
