"""The U-Net: the network of a diffusion model (Ronneberger et al. 2015; Ho et al. 2020, appendix B).

Down: residual blocks at each resolution, halving it between levels, each block's output kept. In the middle: attention
or, for images of one size, dense layers over all places. Up: residual blocks that also see what the way down kept,
doubling the resolution.

    x -> patches -> [blocks] -> keep ----------------> [blocks] -> patches -> y
                       | half                            ^ double
                    [blocks] -> keep -------------> [blocks]
                       |                                 ^
                       +-> block, attention, block ------+   (or: dense mixing, block, block)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..nn import GroupNorm, Module, ModuleList
from ..nn.blocks import (
    CONVS,
    AttentionBlock,
    MixingBlock,
    ResidualBlock,
    depth_to_space,
    norm_silu,
    space_to_depth,
    zeroed,
)
from ..tensor import Tensor
from .embedding import ConditionEmbedding, check_conditions

AXES = {1: "L", 2: "H, W", 3: "D, H, W"}  # the spatial ones, by their number


class UNet(Module):
    """x (N, *S, in_channels), t (N,) and, with `num_classes`, labels (N,), on any device -> (N, *S, out_channels).

    S is H, W, or as many axes as `dims` says: 1 for sequences, 2 for images, 3 for volumes. t are integers or floats
    from 0 to about 1000. labels are integers from 0 to num_classes - 1, or `null_class`, which means no class: what
    classifier-free guidance needs. `out_channels` are as many as `in_channels` unless given.

    Level i has channels * multipliers[i] channels, `blocks` residual blocks on the way down and as many on the way up,
    and attention after each where `attention[i]`; there always is some in the middle. With `patch` p the network works
    on p x p pixels at a time, at 1/p of the resolution and so 1/p^2 of the cost. S must be divisible by p, and by 2
    for each level below the first. `dropout` is that of the residual blocks.

    With `size`, the only S that it then takes, dense layers over all places (`MixingBlock`) stand in the middle instead
    of attention. They know where everything is, as pictures with their object in the middle ask for: what little can be
    told from much noise, such as how bright a picture will be and which way it leans, is a weighted sum of all pixels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 2,
        attention: tuple[bool, ...] = (False, True),
        heads: int = 4,
        patch: int = 1,
        num_groups: int = 8,
        num_classes: int | None = None,
        dims: int = 2,
        dropout: float = 0.0,
        size: tuple[int, ...] | None = None,
    ):
        super().__init__()
        if dims not in CONVS:
            raise ValueError(f"UNet: dims must be 1, 2 or 3, got {dims}")
        if len(attention) != len(multipliers):
            raise ValueError(f"UNet: {len(multipliers)} multipliers but {len(attention)} entries in attention")
        if any(channels * m % heads for m in multipliers):
            raise ValueError(f"UNet: heads={heads} does not divide {[channels * m for m in multipliers]} channels")
        step = patch * 2 ** (len(multipliers) - 1)
        if size is not None and (len(size) != dims or any(length % step for length in size)):
            raise ValueError(f"UNet: size must be {AXES[dims]}, each divisible by {step}, got {size}")
        out_channels = in_channels if out_channels is None else out_channels
        self.in_channels, self.dims, self.patch, self.null_class = in_channels, dims, patch, num_classes
        self.size, self.step = size if size is None else tuple(size), step
        conv, embedding = CONVS[dims], 4 * channels
        self.embed = ConditionEmbedding(channels, embedding, num_classes)
        self.first = conv(in_channels * patch**dims, channels, 3, padding=1)

        def block(inside: int, outside: int, attends: bool) -> ModuleList:
            parts = ModuleList([ResidualBlock(inside, outside, num_groups, embedding, dims, dropout)])
            return parts.append(AttentionBlock(outside, heads, num_groups)) if attends else parts

        c, kept = channels, []
        self.down, self.halve = ModuleList(), ModuleList()
        for i, (m, attends) in enumerate(zip(multipliers, attention, strict=True)):
            level = ModuleList()
            for _ in range(blocks):
                level.append(block(c, channels * m, attends))
                c = channels * m
                kept.append(c)
            self.down.append(level)
            if i + 1 < len(multipliers):
                self.halve.append(conv(c, c, 3, stride=2, padding=1))
        self.mixing: MixingBlock | None = None
        if size is not None:
            small = tuple(length // self.step for length in size)
            self.mixing = MixingBlock(c, small, max(1, c // 4), 4 * embedding, num_groups, embedding)
        self.middle = ModuleList([block(c, c, size is None), block(c, c, False)])
        self.up, self.double = ModuleList(), ModuleList()
        for i, (m, attends) in reversed(list(enumerate(zip(multipliers, attention, strict=True)))):
            level = ModuleList()
            for _ in range(blocks):
                level.append(block(c + kept.pop(), channels * m, attends))
                c = channels * m
            self.up.append(level)
            if i > 0:
                self.double.append(conv(c, c, 3, padding=1))
        self.last_norm = GroupNorm(num_groups, c)
        self.last = zeroed(conv(c, out_channels * patch**dims, 3, padding=1))

    def blocks_in_order(self) -> list[ModuleList]:
        """Every residual block, with the attention after it if there is some, in the order in which they run."""
        levels = [*self.down, self.middle, *self.up]
        return [block for level in levels for block in level]

    def check_input(self, x: Tensor) -> None:
        axes, sizes, channels = AXES[self.dims], tuple(x.shape[1:-1]), x.shape[-1]
        if self.size is not None:
            fits, needed = sizes == self.size, f"(N, {', '.join(map(str, self.size))}, {self.in_channels})"
        else:
            fits = len(sizes) == self.dims and not any(length % self.step for length in sizes)
            needed = f"(N, {axes}, {self.in_channels}) with {axes} divisible by {self.step}"
        if not fits or channels != self.in_channels:
            raise ValueError(f"UNet: x must be {needed}, got shape {x.shape}")

    def forward(
        self,
        x: Tensor,
        t: Any,
        labels: Any = None,
        after_block: Callable[[Tensor], Tensor] | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """`after_block` is called with what comes out of each block, and gives what goes on in its place.

        `condition` (N, 4 channels) is added to the embedding of the time, which every block is told.
        """
        self.check_input(x)
        check_conditions("UNet", len(x), t, labels, self.null_class)
        embedding = self.embed(t, labels, condition)

        def run(block: ModuleList, h: Tensor) -> Tensor:
            h = block[0](h, embedding)
            if len(block) > 1:
                h = block[1](h)
            return h if after_block is None else after_block(h)

        h = self.first(space_to_depth(x, self.patch))
        kept = []
        for i, level in enumerate(self.down):
            for block in level:
                h = run(block, h)
                kept.append(h)
            if i < len(self.halve):
                h = self.halve[i](h)
        if self.mixing is not None:
            h = self.mixing(h, embedding)
        for block in self.middle:
            h = run(block, h)
        for i, level in enumerate(self.up):
            for block in level:
                h = run(block, ops.concatenate([h, kept.pop()], axis=-1))
            if i < len(self.double):
                h = self.double[i](ops.interpolate(h, 2))
        return depth_to_space(self.last(norm_silu(self.last_norm, h)), self.patch)
