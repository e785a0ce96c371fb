"""A U-Net that is told a text: cross-attention after every block (Rombach et al. 2022, section 3.3).

    x -> [block, look at the text] -> half -> [block, look at the text] -> ... -> y

Every place asks all pieces of the text (its queries, their keys) and adds what they answer. The text as a whole, one
vector, is added to the embedding of the time besides, so that the blocks hear of it, too (Podell et al. 2023, 2.2).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..backend import to_device
from ..nn import GroupNorm, Linear, Module, ModuleList
from ..nn.blocks import zeroed
from ..tensor import Tensor, array_of
from .unet import UNet


class Prompt(NamedTuple):
    """What a text encoder says of N texts.

    features: (N, L, C), of each of their pieces
    told:     (N, L), bool: whether there is such a piece, or padding
    whole:    (N, C), of the text as a whole
    """

    features: Tensor
    told: Any
    whole: Tensor


class TextUNet(Module):
    """x (N, *S, in_channels), t (N,), prompt -> (N, *S, out_channels).

    text_channels: C of a `Prompt`. `settings` are those of `UNet`, but there are no classes; t, S and out_channels are
    as there.
    """

    def __init__(
        self,
        text_channels: int,
        in_channels: int = 4,
        out_channels: int | None = None,
        channels: int = 64,
        heads: int = 4,
        num_groups: int = 8,
        **settings: Any,
    ):
        super().__init__()
        if settings.get("num_classes") is not None:
            raise ValueError("TextUNet: is told a text, so it has no classes: leave out num_classes")
        settings = dict(channels=channels, heads=heads, num_groups=num_groups, **settings)
        self.unet = UNet(in_channels, out_channels, **settings)
        self.text_channels = text_channels
        self.whole = Linear(text_channels, 4 * channels)
        self.attention = ModuleList(
            [
                CrossAttention(len(block[0].conv2.bias), text_channels, heads, num_groups)
                for block in self.unet.blocks_in_order()
            ]
        )

    def forward(self, x: Tensor, t: Any, prompt: Prompt) -> Tensor:
        shapes = [np.shape(part) for part in prompt]
        length = shapes[0][1] if len(shapes[0]) == 3 else 0
        if shapes != [(len(x), length, self.text_channels), (len(x), length), (len(x), self.text_channels)]:
            needed = f"({len(x)}, L, {self.text_channels}), ({len(x)}, L) and ({len(x)}, {self.text_channels})"
            raise ValueError(f"TextUNet: the parts of a prompt must be {needed}, got {', '.join(map(str, shapes))}")
        attention, there = iter(self.attention), to_device(array_of(prompt.told), x.device)

        def look(h: Tensor) -> Tensor:
            return next(attention)(h, prompt.features, there)

        return self.unet(x, t, after_block=look, condition=self.whole(prompt.whole))


class CrossAttention(Module):
    """x (N, *S, channels), text (N, L, text_channels), told (N, L), all on one device -> like x: every place looks at
    every piece of the text that is told; a residual that starts at zero."""

    def __init__(self, channels: int, text_channels: int, heads: int, num_groups: int):
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(num_groups, channels)
        self.query = Linear(channels, channels)
        self.key_value = Linear(text_channels, 2 * channels)
        self.out = zeroed(Linear(channels, channels))

    def forward(self, x: Tensor, text: Tensor, told: Any) -> Tensor:
        n, *sizes, _ = x.shape
        q = self.query(self.norm(x)).reshape(n, math.prod(sizes), self.heads, -1)
        kv = self.key_value(text).reshape(n, text.shape[1], 2, self.heads, -1)
        attended = ops.scaled_dot_product_attention(q, kv[:, :, 0], kv[:, :, 1], told[:, None, None])
        return x + self.out(attended.reshape(x.shape))
