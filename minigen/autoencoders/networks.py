"""Convolutional encoders and decoders, for codes that are feature maps or vectors.

    encoder:  x -> patches -> blocks -> half -> blocks -> half -> ... -> code map       (N,H,W,C) -> (N,H/f,W/f,code)
    decoder:  the same backwards                                                         (N,H/f,W/f,code) -> (N,H,W,C)

with f = patch * 2^(levels - 1). A vector code has a linear layer between it and the map: see `CodeEncoder`.
"""

from __future__ import annotations

import math

from .. import ops
from ..nn import Conv2d, GroupNorm, Linear, Module, ModuleList
from ..nn.blocks import ResidualBlock, depth_to_space, norm_silu, space_to_depth
from ..tensor import Tensor


class Encoder(Module):
    """(N, H, W, in_channels) -> (N, H/f, W/f, out_channels), f = patch * 2^(levels - 1).

    Level i has channels * multipliers[i] channels and `blocks` residual blocks; a convolution of stride 2 leads to the
    next. The first convolution sees each patch x patch square as one pixel, at 1/patch^2 of the cost.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int = 32,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        patch: int = 1,
        num_groups: int = 8,
    ):
        super().__init__()
        self.patch, self.factor = patch, _factor(patch, multipliers)
        widths = [channels * m for m in multipliers]
        self.first = Conv2d(in_channels * patch**2, widths[0], 3, padding=1)
        self.levels, self.halve = ModuleList(), ModuleList()
        for width, after in zip(widths, [*widths[1:], None], strict=True):
            self.levels.append(ModuleList([ResidualBlock(width, width, num_groups) for _ in range(blocks)]))
            if after is not None:
                self.halve.append(Conv2d(width, after, 3, stride=2, padding=1))
        self.last_norm = GroupNorm(num_groups, widths[-1])
        self.last = Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] % self.factor or x.shape[2] % self.factor:
            raise ValueError(
                f"Encoder: x must be (N, H, W, C) with H and W divisible by {self.factor}, got shape {x.shape}"
            )
        h = self.first(space_to_depth(x, self.patch))
        for i, level in enumerate(self.levels):
            for block in level:
                h = block(h)
            if i < len(self.halve):
                h = self.halve[i](h)
        return self.last(norm_silu(self.last_norm, h))


class Decoder(Module):
    """(N, h, w, in_channels) -> (N, h f, w f, out_channels): the mirror image of `Encoder`, with the same settings."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int = 32,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        patch: int = 1,
        num_groups: int = 8,
    ):
        super().__init__()
        self.patch, self.factor = patch, _factor(patch, multipliers)
        widths = [channels * m for m in reversed(multipliers)]
        self.first = Conv2d(in_channels, widths[0], 3, padding=1)
        self.levels, self.double = ModuleList(), ModuleList()
        for width, after in zip(widths, [*widths[1:], None], strict=True):
            self.levels.append(ModuleList([ResidualBlock(width, width, num_groups) for _ in range(blocks)]))
            if after is not None:
                self.double.append(Conv2d(width, after, 3, padding=1))
        self.last_norm = GroupNorm(num_groups, widths[-1])
        self.last = Conv2d(widths[-1], out_channels * patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z)
        for i, level in enumerate(self.levels):
            for block in level:
                h = block(h)
            if i < len(self.double):
                h = self.double[i](ops.interpolate(h, 2))
        return depth_to_space(self.last(norm_silu(self.last_norm, h)), self.patch)


class CodeEncoder(Module):
    """(N, H, W, C) -> (N, code_size): an `Encoder` whose map of `map_channels` is flattened into a linear layer."""

    def __init__(self, image_shape: tuple[int, int, int], code_size: int, map_channels: int = 16, **settings):
        super().__init__()
        self.encoder = Encoder(image_shape[-1], map_channels, **settings)
        self.image_shape = tuple(image_shape)
        map_shape = _map_shape("CodeEncoder", image_shape, self.encoder.factor, map_channels)
        self.last = Linear(math.prod(map_shape), code_size)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"CodeEncoder: x must be (N, *image_shape) with image_shape {self.image_shape}, got shape {x.shape}"
            )
        return self.last(ops.silu(self.encoder(x)).reshape(len(x), -1))


class CodeDecoder(Module):
    """(N, code_size) -> (N, H, W, C): the mirror image of `CodeEncoder`, with the same settings."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        code_size: int,
        map_channels: int = 16,
        multipliers: tuple[int, ...] = (1, 2),
        patch: int = 1,
        **settings,
    ):
        super().__init__()
        self.map_shape = _map_shape("CodeDecoder", image_shape, _factor(patch, multipliers), map_channels)
        self.first = Linear(code_size, math.prod(self.map_shape))
        self.decoder = Decoder(map_channels, image_shape[-1], multipliers=multipliers, patch=patch, **settings)

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(ops.silu(self.first(z)).reshape(len(z), *self.map_shape))


class Autoencoder(Module):
    """x -> code -> x, for images in [0, 1]: (N, H, W, C) -> (N, H, W, C), by way of a `CodeEncoder` and `CodeDecoder`.

    The code is `code_size` numbers of any size; a sigmoid keeps the pixels in [0, 1].
    """

    def __init__(self, image_shape: tuple[int, int, int], code_size: int, **settings):
        super().__init__()
        self.encoder = CodeEncoder(image_shape, code_size, **settings)
        self.decoder = CodeDecoder(image_shape, code_size, **settings)

    def encode(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, code_size)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(N, code_size) -> (N, H, W, C), in [0, 1]."""
        return ops.sigmoid(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _factor(patch: int, multipliers: tuple[int, ...]) -> int:
    """f: how many times smaller the sides of the code map are than the image's."""
    return patch * 2 ** (len(multipliers) - 1)


def _map_shape(whose: str, image_shape: tuple[int, int, int], factor: int, map_channels: int) -> tuple[int, int, int]:
    """(H/f, W/f, map_channels): what becomes of an image."""
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise ValueError(
            f"{whose}: the height and width of image_shape must be divisible by {factor}, got {image_shape}"
        )
    return height // factor, width // factor, map_channels
