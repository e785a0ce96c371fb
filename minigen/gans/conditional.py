"""DCGAN's networks with a class: G makes what was asked for, D judges whether it is that."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..nn import Embedding, Module, init
from ..tensor import Tensor
from .dcgan import DCGANDiscriminator, DCGANGenerator


class ConditionalGenerator(Module):
    """Noise (N, latent) and labels (N,), from 0 to classes - 1 -> images (N, *image_shape) in [-1, 1].

    A `DCGANGenerator` of the noise and an embedding of the label, as long, side by side (Mirza & Osindero 2014).
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, latent: int = 64, **settings: Any):
        super().__init__()
        self.embedding = Embedding(classes, latent)
        self.generator = DCGANGenerator(image_shape, 2 * latent, **settings)

    def forward(self, z: Tensor, labels: Any) -> Tensor:
        return self.generator(ops.concatenate([z, self.embedding(labels)], -1))


class ProjectionDiscriminator(Module):
    """Images (N, *image_shape) and labels (N,) -> logits (N, 1), higher for what looks like a real one of its class.

        logit(x, y) = judge(h) + embedding_y . h,    h the features of x                (Miyato & Koyama 2018, eq. 3)

    The first part says whether x looks real, the second, which starts at zero, whether it looks like a y. `settings`
    are those of `DCGANDiscriminator`, but for `pack`.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, **settings: Any):
        super().__init__()
        self.discriminator = DCGANDiscriminator(image_shape, **settings)
        self.embedding = Embedding(classes, len(self.discriminator.last.weight))
        init.zeros_(self.embedding.weight)

    def forward(self, x: Tensor, labels: Any) -> Tensor:
        h = self.discriminator.features(x)
        return self.discriminator.judge(h) + (self.embedding(labels) * h).sum(-1, keepdims=True)


def mode_seeking(images: Tensor, noise: Tensor, eps: float = 1e-3) -> Tensor:
    """E[|z - z'|_1 / (|G(z, y) - G(z', y)|_1 + eps)], |.|_1 being the mean over an image's or a noise's numbers.

    To be added to G's loss: large where other noise gives nearly the same image, which is how a conditional GAN
    collapses, by one image for each class (Mao et al. 2019, eq. 3). images (2N, ...) of noise (2N, d): image i and
    i + N are of one class.
    """
    if len(images) != len(noise) or len(images) % 2:
        raise ValueError(f"mode_seeking: needs 2N images and as much noise, got {len(images)} and {len(noise)}")
    n = len(images) // 2
    apart = [ops.abs(x[:n] - x[n:]).reshape(n, -1).mean(-1) for x in (noise, images)]
    return (apart[0] / (apart[1] + eps)).mean()
