"""Super-resolution: a small image made large by bicubic interpolation, and a network that adds what that leaves out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .. import ops
from ..backend import device_of
from ..data import to_float, to_uint8
from ..nn import Conv2d, Module, ModuleList
from ..nn.blocks import depth_to_space, zeroed
from ..tensor import Tensor


@lru_cache(64)
def bicubic_weights(size: int, new_size: int) -> np.ndarray:
    """The matrix (new_size, size), float32, that makes a line of pixels longer or shorter by bicubic interpolation.

    Output i lies at input c = (i + 1/2) / s - 1/2, with s = new_size / size, and is a mean of the inputs j around it,
    weighted with k((j - c) min(s, 1)): a line that is made shorter is smoothed first. The weights of each output sum
    to 1, beyond the ends there is nothing, and k is Keys's kernel (1981, with a = -1/2):

        k(t) = 3/2 |t|^3 - 5/2 |t|^2 + 1  for |t| < 1,   -1/2 |t|^3 + 5/2 |t|^2 - 4 |t| + 2  for |t| < 2,   else 0
    """
    if size < 1 or new_size < 1:
        raise ValueError(f"bicubic_weights: sizes must be at least 1 pixel, got {size} and {new_size}")
    scale = new_size / size
    centre = (np.arange(new_size)[:, None] + 0.5) / scale - 0.5
    t = np.abs(np.arange(size) - centre) * min(scale, 1.0)
    near, far = (1.5 * t - 2.5) * t**2 + 1, ((2.5 - 0.5 * t) * t - 4) * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    weights.flags.writeable = False  # the cache's
    return weights


def bicubic(x: Tensor, height: int, width: int) -> Tensor:
    """x (N, H, W, C) at another size: (N, height, width, C). Smooth edges can go beyond the range of x."""
    if x.ndim != 4:
        raise ValueError(f"bicubic: needs x (N, H, W, C), got shape {x.shape}")
    n, h, w, c = x.shape
    device = device_of(x.data)
    rows, columns = (Tensor(bicubic_weights(*sizes).astype(x.dtype)).to(device) for sizes in ((h, height), (w, width)))
    x = (columns @ x.reshape(n * h, w, c)).reshape(n, h, width * c)
    return (rows @ x).reshape(n, height, width, c)


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (N, H, W, C) at another size, by `bicubic`, rounded: uint8 (N, height, width, C)."""
    if images.dtype != np.uint8:
        raise TypeError(f"resize: needs uint8 images, got {images.dtype}")
    return to_uint8(bicubic(Tensor(to_float(images, 0, 255)), height, width).numpy(), 0, 255)


def shrink(images: np.ndarray, factor: int) -> np.ndarray:
    """What a super-resolver is given: uint8 (N, H, W, C) -> uint8 (N, H/factor, W/factor, C), by `resize`."""
    if images.ndim != 4 or any(side % factor for side in images.shape[1:3]):
        raise ValueError(f"shrink: needs images (N, H, W, C), H and W multiples of {factor}, got {images.shape}")
    return resize(images, images.shape[1] // factor, images.shape[2] // factor)


def over_symmetries(network: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The mean of what a network makes of x, turned and mirrored in all 8 ways, each result turned back.

    x (N, H, W, C) -> (N, H', W', C). The self-ensemble of Timofte et al. (2016) and of EDSR (Lim et al. 2017).
    """
    found = []
    for turns, mirrored in itertools.product(range(4), (False, True)):
        turned = np.rot90(x[:, :, ::-1] if mirrored else x, turns, (1, 2))
        back = np.rot90(network(np.ascontiguousarray(turned)), -turns, (1, 2))
        found.append(back[:, :, ::-1] if mirrored else back)
    return np.mean(found, axis=0)


class SuperResolver(Module):
    """(N, H, W, C) in [-1, 1] -> (N, factor H, factor W, C): x made large by `bicubic`, plus what a network adds.

    Before it has learned, it adds nothing. All convolutions are at the small size, where they see far and cost little,
    and the last one gives the factor x factor pixels of each small pixel as channels (Shi et al. 2016). Between them
    are residual blocks without normalisation: batch norm, which SRGAN had (Ledig et al. 2017), costs accuracy (EDSR,
    Lim et al. 2017).
    """

    def __init__(self, image_channels: int, channels: int = 32, blocks: int = 6, factor: int = 4):
        super().__init__()
        if factor < 1:
            raise ValueError(f"SuperResolver: factor must be at least 1, got {factor}")
        self.factor = factor
        self.first = Conv2d(image_channels, channels, 3, padding=1)
        self.blocks = ModuleList([_Block(channels) for _ in range(blocks)])
        self.last = zeroed(Conv2d(channels, image_channels * factor**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[-1] != self.first.weight.shape[2]:
            channels = self.first.weight.shape[2]
            raise ValueError(f"SuperResolver: x must be (N, H, W, {channels}), got shape {x.shape}")
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        large = bicubic(x, self.factor * x.shape[1], self.factor * x.shape[2])
        return large + depth_to_space(self.last(h), self.factor)


class _Block(Module):
    """(N, H, W, C) -> the same: x plus two convolutions, the identity until it learns."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zeroed(Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = ops.conv2d_leaky_relu(x, self.conv1.weight, self.conv1.bias, **self.conv1.settings, negative_slope=0.1)
        return x + self.conv2(h)
