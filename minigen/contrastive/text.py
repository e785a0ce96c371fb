"""The text encoder of CLIP: a causal transformer (Radford et al. 2021, section 2.4; Vaswani et al. 2017).

    tokens -> vectors, + positions -> [blocks] -> norm -> features of every token; that at the end stands for the text

Each token sees those before it alone, so the one at the end has seen them all, and padding behind it changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..backend import to_device
from ..nn import Embedding, LayerNorm, Module, ModuleList, Parameter, init
from ..nn.blocks import TransformerBlock
from ..tensor import Tensor, array_of
from .tokenizer import END


class TextEncoder(Module):
    """Tokens (N, L), integers as `Tokenizer` gives them, L <= context -> features (N, L, width)."""

    def __init__(self, vocabulary: int, context: int = 32, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.context, self.width = context, width
        self.embed = Embedding(vocabulary, width)
        self.positions = init.normal_(Parameter(np.zeros((context, width), np.float32)), std=0.1)
        self.blocks = ModuleList([TransformerBlock(width, heads) for _ in range(depth)])
        # blocks must not start as the identity: texts would begin as one point, from which no image could learn
        for block in self.blocks:
            for layer in (block.attended, block.narrow):
                init.kaiming_normal_(layer.weight, gain=1.0)
        self.norm = LayerNorm(width)

    def forward(self, tokens: Any) -> Tensor:
        shape = np.shape(tokens)
        if len(shape) != 2 or shape[1] > self.context:
            raise ValueError(f"TextEncoder: tokens must be (N, L) with L up to {self.context}, got shape {shape}")
        h = self.embed(tokens) + self.positions[: shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


def at_the_end(features: Tensor, tokens: Any) -> Tensor:
    """Of features (N, L, C) those of each text's end: (N, C)."""
    ends = to_device(array_of(tokens), "cpu") == END
    if not ends.any(1).all():
        raise ValueError("at_the_end: a text without an end token; use those that Tokenizer gives")
    return ops.gather(features, ends.argmax(1)[:, None, None], 1).reshape(len(features), -1)
