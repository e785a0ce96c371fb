"""CLIP (Radford et al. 2021, arXiv:2103.00020): images and texts as points on one sphere, near each other where the
text says what the image shows.

    model = CLIP((32, 32, 3), Tokenizer.learn(captions))
    loss = model.loss(images, captions)
    model.encode_text(["a red star"]) @ model.encode_image(images).transpose(1, 0)    # cosines
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from .. import ops
from ..nn import Conv2d, Linear, Module, ModuleList, Parameter, init
from ..nn import functional as F
from ..nn.blocks import space_to_depth
from ..serialization import CheckpointError, load, save
from ..tensor import Tensor
from .text import TextEncoder, at_the_end
from .tokenizer import PADDING, Tokenizer

LARGEST_SCALE = 100.0  # of the cosines: section 2.5


class CLIP(Module):
    """An image encoder and a text encoder that learn to agree.

    image_shape: (H, W, C), the sides multiples of 4
    size:        numbers in an embedding
    settings:    those of `TextEncoder`: width, depth, heads
    """

    def __init__(self, image_shape: tuple[int, ...], tokenizer: Tokenizer, size: int = 64, **settings: Any):
        super().__init__()
        self.arguments = {"image_shape": list(image_shape), "size": size, **settings}
        self.tokenizer = tokenizer
        self.image = ImageEncoder(image_shape, size)
        self.text = TextEncoder(len(tokenizer), tokenizer.context, **settings)
        self.project = Linear(self.text.width, size, bias=False)
        self.log_scale = Parameter(np.float32(math.log(1 / 0.07)))

    def encode_image(self, x: Any) -> Tensor:
        """Images (N, H, W, C) in [-1, 1] -> (N, size), of length 1."""
        return normalised(self.image(x))

    def encode_text(self, texts: Any) -> Tensor:
        """Texts, or their tokens (N, L) -> (N, size), of length 1."""
        tokens = texts if hasattr(texts, "shape") else self.tokenizer(texts)
        return normalised(self.project(at_the_end(self.text(tokens), tokens)))

    def text_features(self, texts: Any) -> tuple[Tensor, np.ndarray, Tensor]:
        """Of N texts: features (N, L, width) of their pieces, whether there is such a piece (N, L), and features
        (N, width) of the whole. A generative model is told these (`minigen.diffusion.Prompt`)."""
        tokens = self.tokenizer(texts)
        features = self.text(tokens)
        return features, tokens != PADDING, at_the_end(features, tokens)

    def scale(self) -> Tensor:
        """What cosines are multiplied by before a softmax: 1 / temperature."""
        past = max(0.0, self.log_scale.item() - math.log(LARGEST_SCALE))
        return ops.exp(self.log_scale - past)  # its gradient goes on past the bound, so that it finds back

    def loss(self, x: Any, texts: Any) -> Tensor:
        """`contrastive_loss` of images (N, H, W, C) and the texts that go with them."""
        tokens = self.tokenizer(texts)
        longest = int((tokens != PADDING).sum(1).max())  # what pads all of them is left out: it costs time
        return contrastive_loss(self.encode_image(x), self.encode_text(tokens[:, :longest]), self.scale())

    def save(self, path: str | os.PathLike) -> None:
        """Writes all that `load` needs, in one safetensors file."""
        rules = {"rules": self.tokenizer.rules, "context": self.tokenizer.context}
        save({"arguments": json.dumps(self.arguments), "tokenizer": rules, "state": self.state_dict()}, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> CLIP:
        """The model in a file that `save` wrote, on the CPU."""
        saved = load(path)
        if saved.keys() != {"arguments", "tokenizer", "state"}:
            raise CheckpointError(f"{path} holds no CLIP: it has {', '.join(sorted(saved))[:80]}")
        model = cls(tokenizer=Tokenizer(**saved["tokenizer"]), **json.loads(saved["arguments"]))
        model.load_state_dict(saved["state"])
        return model


class ImageEncoder(Module):
    """(N, H, W, C) -> (N, size): convolutions over patches of 2 x 2 pixels, then two dense layers side by side. One
    knows where what it sees is; the other sees means and maxima over all places, and so knows a form wherever it is.

    Weights start as large as He et al. 2015 have them: all images would begin as nearly one point otherwise.
    """

    def __init__(self, image_shape: tuple[int, ...], size: int, channels: int = 32):
        super().__init__()
        height, width, in_channels = image_shape
        if height % 4 or width % 4:
            raise ValueError(f"CLIP: the sides of the images must be multiples of 4, got {height} x {width}")
        self.convolutions = ModuleList(
            [
                Conv2d(4 * in_channels, channels, 3, padding=1),
                Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
                Conv2d(2 * channels, 2 * channels, 3, padding=1),
            ]
        )
        self.placed = Linear(height // 4 * (width // 4) * 2 * channels, 2 * size)
        self.anywhere = Linear(4 * channels, 2 * size)
        self.last = Linear(2 * size, size)
        for layer in (*self.convolutions, self.placed, self.anywhere, self.last):
            init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = space_to_depth(x, 2)
        for conv in self.convolutions:
            h = ops.silu(conv(h))
        pooled = ops.concatenate([h.mean(axis=(1, 2)), h.max(axis=(1, 2))], -1)
        return self.last(ops.silu(self.placed(h.reshape(len(h), -1)) + self.anywhere(pooled)))


def contrastive_loss(a: Tensor, b: Tensor, scale: Any) -> Tensor:
    """The symmetric InfoNCE of pairs (N, C) and (N, C) on the unit sphere (Radford et al. 2021, figure 3).

    Which of all b belongs to a_i, and the other way: the mean of both cross-entropies of scale a b^T.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"contrastive_loss: needs pairs (N, C) and (N, C), got {a.shape} and {b.shape}")
    logits, own = scale * (a @ b.transpose(1, 0)), np.arange(len(a))
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.transpose(1, 0), own))


def normalised(x: Tensor) -> Tensor:
    """x (..., C) over its length."""
    return x / ops.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)
