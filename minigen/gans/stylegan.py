"""The networks of StyleGAN 2 (Karras et al. 2020, arXiv:1912.04958), channels last.

    z --mapping--> w --affine, in each layer--> style s: the scale of each channel that the layer reads

    x'      = s x                                           modulation, per image and channel
    y       = d conv(x', weight),  d_o = 1 / sqrt(sum over taps and inputs of (s weight)^2)      demodulation, eq. 3
    layer   = leaky_relu(y + strength noise + bias)
    image   = tanh(sum over resolutions of upsampled to_rgb(x))      the skip generator, section 4.1 and figure 7b

Demodulation takes the place of StyleGAN 1's instance norm: it divides by the standard deviation that y *would* have for
inputs of variance 1, not by the one it has, so that nothing can be signalled by blobs that upset the statistics
(section 2.2).

What is not the paper's, for the sake of small images and of runs hundreds of times shorter than its own:

- The mapping network has two layers instead of eight.
- The generator starts from 8 places a side or more instead of 4, and its image goes through a tanh, so that a pixel
  that is as dark as can be needs no exact sum. Made to paint given images, it learns faster with each of the two.
- The discriminator has plain layers that halve the image, of 4 x 4 weights, instead of residual blocks with a filter.
  That filter takes from small images what tells their shapes apart: trained as classifiers, once, for 25 s of one core,
  the residual blocks named 37% of the shapes of `shapes` right, without the filter 89%, and the plain layers 99%.
- Styles differ more at the start (`STYLE_STD`), for variety; noise is slow to gain strength (`STRENGTH_RATE`).
- With `patch` p, the discriminator sees p x p pixels as one place with p^2 times the channels: it spends most of its
  time at full resolution otherwise (SWAGAN does so with wavelets, Gal et al. 2021, arXiv:2102.06108).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .. import ops, random
from ..autograd import no_grad
from ..data import to_uint8
from ..nn import Module, ModuleList
from ..nn.blocks import space_to_depth
from ..random import Generator
from ..tensor import Tensor
from .equalised import GAIN, SLOPE, EqualisedConv2d, EqualisedLinear, constant, normal

TAPS = np.array([1, 3, 3, 1], np.float32) / 4  # upsampling's low-pass filter; the sum is 2: every other pixel is 0
STYLE_STD = 2.0  # of the affine layers' weights at the start
RGB_STD = 0.3  # of to_rgb's weights at the start, so that most pixels are far from where the tanh is flat
STRENGTH_RATE = 0.1  # of noise inputs, beside all others: early on D takes noise for detail, and G would add it
BATCH = 250  # images painted at a time


def upsample(x: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, 2H, 2W, C): zeros between the pixels, then the filter along each axis."""
    return ops.upfirdn2d(x, Tensor(TAPS.astype(x.dtype)).to(x.device), up=2, padding=(2, 1))


def resolutions(image_shape: Sequence[int], smallest: int, patch: int = 1) -> list[tuple[int, int]]:
    """(height, width) of the feature maps, the smallest first.

    The largest one has a place for each `patch` x `patch` pixels of an image (H, W, C). It is halved for as long as
    both sides are even and the shorter one stays at `smallest` or above.
    """
    if image_shape[0] % patch or image_shape[1] % patch:
        raise ValueError(f"StyleGAN: the sides of the images must be multiples of patch = {patch}, got {image_shape}")
    sizes = [(image_shape[0] // patch, image_shape[1] // patch)]
    while min(sizes[0]) >= 2 * smallest and sizes[0][0] % 2 == sizes[0][1] % 2 == 0:
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    return sizes


class MappingNetwork(Module):
    """z (N, z_dim) ~ N(0, 1) -> w (N, w_dim): a few dense layers; they learn `learning_rate` times as fast as others.

    In w the factors of variation need not fill a ball evenly as they must in z, so they can be straight and apart
    (Karras et al. 2019, section 4). z is first scaled to the length sqrt(z_dim).
    """

    def __init__(self, z_dim: int, w_dim: int, layers: int, learning_rate: float):
        super().__init__()
        widths = [z_dim] + [w_dim] * layers
        self.z_dim = z_dim
        self.layers = ModuleList(
            [EqualisedLinear(a, b, activation=True, learning_rate=learning_rate) for a, b in pairwise(widths)]
        )

    def forward(self, z: Tensor) -> Tensor:
        x = z * ((z * z).mean(-1, keepdims=True) + 1e-8) ** -0.5
        for layer in self.layers:
            x = layer(x)
        return x


class ModulatedConv2d(Module):
    """x (N, H, W, in), w (N, w_dim) -> (N, H, W, out): each image has its own weight (eq. 1 to 3).

    std: of the learned weight at the start
    """

    def __init__(
        self,
        w_dim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        demodulate: bool = True,
        std: float = 1.0,
    ):
        super().__init__()
        self.style = EqualisedLinear(w_dim, in_channels, bias=1.0, std=STYLE_STD)
        self.weight = normal(kernel_size, kernel_size, in_channels, out_channels, std=std)
        self.scale = 1 / math.sqrt(kernel_size**2 * in_channels)
        self.demodulate, self.padding = demodulate, kernel_size // 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return ops.modulated_conv2d(x, self.weight, self.scales(w), self.demodulate, padding=self.padding)

    def scales(self, w: Tensor) -> Tensor:
        """The style times the equalised weight's scale, which is the same for all channels: (N, in)."""
        return self.style(w) * self.scale


class StyledLayer(Module):
    """x (N, H, W, in), w (N, w_dim), noise (N or 1, H', W', 1) -> (N, H', W', out): figure 2d.

    `up`: H' = 2 H, by upsampling first.
    """

    def __init__(self, w_dim: int, in_channels: int, out_channels: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv2d(w_dim, in_channels, out_channels, 3)
        self.strength, self.bias = constant(0, 1), constant(0, out_channels)
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        return ops.modulated_conv2d_leaky_relu(
            upsample(x) if self.up else x,
            self.conv.weight,
            self.conv.scales(w),
            self.bias,
            self.strength * STRENGTH_RATE * noise,
            padding=self.conv.padding,
            negative_slope=SLOPE,
            gain=GAIN,
        )


class SynthesisNetwork(Module):
    """w (N, layers, w_dim), noise -> images (N, H, W, C) in [-1, 1].

    From a learned constant of the smallest of `sizes`; `channels` are the widths at each of them. Two styled layers a
    resolution (one at the smallest), and what each resolution adds to the image. `layers` is the number of vectors w: a
    to_rgb shares its own with the next resolution's first layer.
    """

    def __init__(self, w_dim: int, sizes: Sequence[tuple[int, int]], channels: Sequence[int], out_channels: int):
        super().__init__()
        self.sizes, self.layers = list(sizes), 2 * len(sizes)
        self.constant = normal(1, *sizes[0], channels[0])
        widths = zip([channels[0], *channels[:-1]], channels, strict=True)
        self.first = ModuleList([StyledLayer(w_dim, a, b, up=i > 0) for i, (a, b) in enumerate(widths)])
        self.second = ModuleList([StyledLayer(w_dim, c, c) for c in channels[1:]])
        self.to_rgb = ModuleList(
            [ModulatedConv2d(w_dim, c, out_channels, 1, demodulate=False, std=RGB_STD) for c in channels]
        )
        self.bias = constant(0, out_channels)

    def forward(self, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        x = ops.broadcast_to(self.constant, (len(w), *self.constant.shape[1:]))
        x = self.first[0](x, w[:, 0], noise[0])
        image = self.to_rgb[0](x, w[:, 1]) + self.bias
        for i in range(1, len(self.sizes)):
            x = self.first[i](x, w[:, 2 * i - 1], noise[2 * i - 1])
            x = self.second[i - 1](x, w[:, 2 * i], noise[2 * i])
            image = upsample(image) + self.to_rgb[i](x, w[:, 2 * i + 1])
        return ops.tanh(image)

    def draw_noise(self, n: int, generator: Generator) -> list[Tensor]:
        """Fresh noise for n images: one map for each styled layer."""
        sizes = [self.sizes[0], *[size for size in self.sizes[1:] for _ in range(2)]]
        return [random.randn(n, *size, 1, generator=generator, device=self.bias.device) for size in sizes]


class StyleGenerator(Module):
    """z (N, z_dim) -> images (N, H, W, C): the mapping and the synthesis network.

    image_shape: (H, W, C)
    channels: of the feature maps, smallest resolution first
    mapping, mapping_rate: the mapping network's layers, and how fast they learn beside all others
    smallest: see `resolutions`
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        z_dim: int = 64,
        w_dim: int = 64,
        mapping: int = 2,
        mapping_rate: float = 0.01,
        smallest: int = 8,
    ):
        super().__init__()
        sizes = resolutions(image_shape, smallest)
        self.mapping = MappingNetwork(z_dim, w_dim, mapping, mapping_rate)
        self.synthesis = SynthesisNetwork(w_dim, sizes, widths(channels, len(sizes)), image_shape[-1])

    def forward(self, z: Tensor, generator: Generator) -> Tensor:
        return self.synthesis(self.styles(z), self.synthesis.draw_noise(len(z), generator))

    def draw_z(self, n: int, generator: Generator) -> Tensor:
        return random.randn(n, self.mapping.z_dim, generator=generator, device=self.synthesis.bias.device)

    def styles(self, z: Tensor) -> Tensor:
        """w, the same for all layers: (N, layers, w_dim)."""
        w = self.mapping(z)
        return ops.broadcast_to(w.reshape(len(w), 1, -1), (len(w), self.synthesis.layers, w.shape[-1]))

    def draw_styles(self, n: int, generator: Generator) -> Tensor:
        """w of n fresh z, without a tape: (n, layers, w_dim)."""
        with no_grad():
            return self.styles(self.draw_z(n, generator))

    def paint(self, w: Tensor, noise: Sequence[Tensor]) -> np.ndarray:
        """The images of w (N, layers, w_dim), all with the same noise, one of `draw_noise(1)`: uint8 (N, H, W, C)."""
        with no_grad():
            parts = [self.synthesis(w[i : i + BATCH], noise) for i in range(0, len(w), BATCH)]
            return np.concatenate([to_uint8(part.numpy()) for part in parts])


def widths(channels: Sequence[int], count: int) -> list[int]:
    """The channels of `count` resolutions, smallest first: the last of `channels`, the first repeated if too few."""
    if not channels:
        raise ValueError("StyleGAN: needs the channels of one resolution at least, got none")
    return [*[channels[0]] * (count - len(channels)), *channels][-count:]


def mix(coarse: Tensor, fine: Tensor, crossover: np.ndarray | int) -> Tensor:
    """w of both (N, layers, w_dim): the layers before `crossover` from `coarse`, those from there on from `fine`.

    crossover: a layer's number, or one for each image (N,). (Style mixing: Karras et al. 2019, section 3.1.)
    """
    n, layers, _ = coarse.shape
    from_coarse = np.arange(layers) < np.broadcast_to(crossover, n)[:, None]
    return ops.where(Tensor(from_coarse[..., None]).to(coarse.device), coarse, fine)


def truncate(w: Tensor, centres: np.ndarray, psi: float) -> Tensor:
    """w (N, layers, w_dim), pulled towards the nearest c of the centres (K, w_dim): w' = c + psi (w - c).

    One centre, the mean of w, is the truncation trick of Karras et al. 2019 (appendix B). Where images are of several
    kinds, what lies between these is none of them, and the centres of clusters of w do better (Mokady et al. 2022,
    arXiv:2202.12211, section 3.3).
    """
    distances = (centres**2).sum(1) - 2 * (w.numpy() @ centres.T)  # squared, (N, layers, K), but for |w|^2
    nearest = Tensor(centres[distances.argmin(-1)].astype(w.dtype)).to(w.device)
    return nearest + psi * (w - nearest)


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """(N, H, W, C) -> (N, H, W, C + 1): how much the images of a group differ, as one more channel.

    The standard deviation over the group of each number, averaged over the numbers; all images of the group get it.
    A generator whose samples are all alike gives itself away by it (Karras et al. 2018, section 3). Image i is in
    group i mod (N / group); all N are one group where N is no multiple of `group`.
    """
    n, h, w, c = x.shape
    groups = n // group if n % group == 0 else 1
    y = x.reshape(n // groups, groups, h, w, c)
    deviation = ops.sqrt(ops.var(y, 0) + 1e-8).mean((1, 2, 3))  # (groups,)
    channel = ops.broadcast_to(deviation.reshape(1, groups, 1, 1, 1), (n // groups, groups, h, w, 1))
    return ops.concatenate([x, channel.reshape(n, h, w, 1)], -1)


class StyleDiscriminator(Module):
    """(N, H, W, C) -> logits (N,): halved down to the smallest resolution, then what the batch has in common.

    image_shape: (H, W, C); channels: smallest resolution first, as in the generator; patch: see the top of this file;
    smallest: see `resolutions`
    """

    def __init__(self, image_shape: Sequence[int], channels: Sequence[int], patch: int = 1, smallest: int = 4):
        super().__init__()
        sizes, self.patch = resolutions(image_shape, smallest, patch), patch
        down = widths(channels, len(sizes))[::-1]
        self.from_rgb = EqualisedConv2d(patch**2 * image_shape[-1], down[0], 1)
        self.halve = ModuleList([EqualisedConv2d(a, b, 4, padding=1) for a, b in pairwise(down)])
        self.conv = EqualisedConv2d(down[-1] + 1, down[-1], 3)
        self.hidden = EqualisedLinear(sizes[0][0] * sizes[0][1] * down[-1], down[-1], activation=True)
        self.last = EqualisedLinear(down[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.from_rgb(space_to_depth(x, self.patch))
        for halve in self.halve:
            x = halve(x, stride=2)
        x = self.conv(minibatch_stddev(x))
        return self.last(self.hidden(x.reshape(len(x), -1))).reshape(-1)
