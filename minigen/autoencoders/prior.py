"""A prior over the codes of an image, to sample from: a small autoregressive transformer.

The codes k_1 ... k_L of an image, row by row, are one of the num_codes^L sentences of a language. The probability of
one is the product of its words', each given the class y of the image and the words before it:

    p(k_1 ... k_L | y) = prod_i p(k_i | y, k_1 ... k_(i-1))

A transformer (Vaswani et al. 2017) computes all factors at once: position i sees the class and the codes before i, as
attention looks only backwards. Sampling takes one position after the other (van den Oord et al. 2017, section 3.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..nn import Embedding, LayerNorm, Linear, Module, ModuleList, init
from ..nn import functional as F
from ..nn.blocks import TransformerBlock, zeroed
from ..tensor import Tensor


class CodePrior(Module):
    """p(codes | class): codes (N, L) of `num_codes` kinds, classes (N,) of `num_classes`."""

    def __init__(
        self,
        num_codes: int,
        length: int,
        num_classes: int = 1,
        channels: int = 128,
        heads: int = 4,
        blocks: int = 2,
    ):
        super().__init__()
        self.length = length
        self.code, self.label = Embedding(num_codes, channels), Embedding(num_classes, channels)
        self.position = Embedding(length, channels)
        for table in (self.code, self.label, self.position):
            init.normal_(table.weight, std=0.05)  # small, so that what the blocks add is soon heard above them
        self.blocks = ModuleList([TransformerBlock(channels, heads) for _ in range(blocks)])
        self.last_norm = LayerNorm(channels)
        self.last = zeroed(Linear(channels, num_codes))

    def forward(self, codes: Any, classes: Any) -> Tensor:
        """The logits of positions 1 to l, given the codes before them: (N, l - 1), (N,) -> (N, l, num_codes)."""
        n, before = codes.shape
        if before >= self.length:
            raise ValueError(f"CodePrior: at most {self.length - 1} codes come before another, got {codes.shape}")
        known = ops.pad(self.code(codes), [(0, 0), (1, 0), (0, 0)])  # the code before; the first position has none
        x = known + self.position.weight[: before + 1] + self.label(classes).reshape(n, 1, -1)
        for block in self.blocks:
            x = block(x)
        return self.last(self.last_norm(x))

    def loss(self, codes: Any, classes: Any, reduction: str = "mean") -> Tensor:
        """-log p of each code given those before it, in nats: (N, L), (N,) -> their mean, or (N, L) with 'none'."""
        return F.cross_entropy(self(codes[:, :-1], classes), codes, reduction)

    def sample(self, classes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Codes drawn from the prior, one position after the other: classes (N,) -> (N, L).

        uniform (N, L) are random numbers from [0, 1): a code is where the cumulated probabilities pass its number. So
        a sample depends on its own row alone, not on those that are drawn with it.
        """
        if uniform.shape != (len(classes), self.length):
            raise ValueError(f"CodePrior: uniform must be {(len(classes), self.length)}, got shape {uniform.shape}")
        codes = np.empty((len(classes), 0), np.int64)
        with no_grad():
            for i in range(self.length):
                probabilities = ops.softmax(self(codes, classes)[:, -1], -1).numpy()
                passed = probabilities.cumsum(-1)[:, :-1] <= uniform[:, i, None]
                codes = np.concatenate([codes, passed.sum(-1, keepdims=True)], 1)
        return codes
