"""Networks that say how real an image looks."""

from __future__ import annotations

from .. import ops
from ..nn import Conv2d, InstanceNorm, Module, ModuleList
from ..tensor import Tensor


class PatchDiscriminator(Module):
    """(N, H, W, in_channels) -> logits (N, H', W', 1), one for each of many overlapping patches.

    `halvings` convolutions of 4 x 4 with stride 2 and twice the channels each time, one more with stride 1, and one
    that gives the logits; leaky ReLU between them. H' = H / 2^halvings - 2. A logit sees a patch of 16 x 16 pixels with
    one halving, of 34 x 34 with two, of 70 x 70 with three. After Isola et al. (2017, section 3.2.2), whose patches are
    16 and 70; `norm`: with instance normalisation in all hidden layers but the first, which makes faint textures as
    plain to see as strong ones.
    """

    def __init__(self, in_channels: int, channels: int = 32, halvings: int = 2, norm: bool = False):
        super().__init__()
        widths = [in_channels] + [channels * 2**i for i in range(halvings + 1)]
        strides = [2] * halvings + [1]
        self.hidden = ModuleList(
            [Conv2d(a, b, 4, s, padding=1) for a, b, s in zip(widths[:-1], widths[1:], strides, strict=True)]
        )
        self.norms = ModuleList([InstanceNorm(width, affine=True) for width in widths[2:]] if norm else [])
        self.last = Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.hidden):
            if self.norms and i:
                x = ops.leaky_relu(self.norms[i - 1](conv(x)), 0.2)
            else:
                x = ops.conv2d_leaky_relu(x, conv.weight, conv.bias, **conv.settings, negative_slope=0.2)
        return self.last(x)
