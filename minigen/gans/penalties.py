"""Regularisers that are made of gradients, and so are descended on by way of second derivatives.

    gradient penalty  E[(|grad C(x)| - 1)^2] between the real and the fake     (Gulrajani et al. 2017, eq. 3)
    R1                E[|grad D(x)|^2] / 2 at the real                         (Mescheder et al. 2018, eq. 9)
    path length       E[(|J^T y| - a)^2], J = dG/dw at w, y normal, a the running mean of |J^T y|
                                                                              (Karras et al. 2020, eq. 4)

Each of them calls `grad(..., create_graph=True)`: the gradient is then itself on the tape. A norm's derivative where
it is 0 is taken to be 0, so that a network that is flat somewhere gets no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import autograd, ops
from ..tensor import Tensor

Network = Callable[[Tensor], Tensor]


def gradient_penalty(critic: Network, real: Tensor, fake: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """(|grad C(x)| - 1)^2 at x = share real + (1 - share) fake, averaged; and the norms (N,) themselves.

    real, fake (N, ...); share (N, 1, 1, ...) of uniform numbers in [0, 1). Weight: 10 in the paper. No gradient goes to
    `real` and `fake`. The critic must see each image by itself: batch norm would mix their gradients.
    """
    if real.shape != fake.shape:
        raise ValueError(f"gradient_penalty: real and fake must have the same shape, got {real.shape}, {fake.shape}")
    if share.shape != (len(real), *[1] * (real.ndim - 1)):
        raise ValueError(
            f"gradient_penalty: share must have one number an image, shape {(len(real), *[1] * (real.ndim - 1))}, "
            f"got {share.shape}"
        )
    between = share * real.detach() + (1 - share) * fake.detach()
    norms = ops.norm(_slopes(critic, between), axis=1)  # (N,D) -> (N,)
    return ((norms - 1) ** 2).mean(), norms


def r1_penalty(discriminator: Network, real: Tensor) -> Tensor:
    """|grad D(x)|^2 / 2 at the real images (N, ...), averaged: the 1/2 is in it, the paper's weight gamma is not.

    Taken only every k-th step ("lazily"), it is to be weighed with k gamma.
    """
    return (_slopes(discriminator, real) ** 2).sum(axis=1).mean() / 2


def _slopes(network: Network, x: Tensor) -> Tensor:
    """The gradient of each image's logit, or of the mean of its logits, at x (N, ...): (N, D), on the tape."""
    x = x.detach().requires_grad_()
    logits = network(x)
    if logits.ndim == 0 or len(logits) != len(x):
        raise ValueError(f"penalty: the network must give logits (N, ...) for x {x.shape}, got shape {logits.shape}")
    (slopes,) = autograd.grad(logits.reshape(len(x), -1).mean(axis=1).sum(), x, create_graph=True)
    return slopes.reshape(len(x), -1)


def path_lengths(images: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """|J^T y| of each image, (N,): how far it moves, by any measure that is fair to all pixels, for a step of w.

    images (N, H, W, C), made from latents w, (N, d) or (N, layers, d), that are on the tape; noise as the images, of
    standard normal numbers. y is noise / sqrt(H W); with several layers |.|^2 is averaged over them.
    """
    if noise.shape != images.shape:
        raise ValueError(f"path_lengths: noise must have the images' shape {images.shape}, got {noise.shape}")
    y = noise / math.sqrt(math.prod(images.shape[1:-1]))
    (turned,) = autograd.grad((images * y).sum(), latents, create_graph=True)  # J^T y, as latents
    layers = math.prod(latents.shape[1:-1])
    return ops.norm(turned.reshape(len(images), -1), axis=1) / math.sqrt(layers)


class PathLengthPenalty:
    """(|J^T y| - a)^2, averaged, with `mean` a the mean of |J^T y| over the calls so far, older ones forgotten:

        a = d a + (1 - d) E[|J^T y|],  d = decay, but k / (k + 1) at call k = 0, 1, ... if that is lower

    so that a is the plain mean at first. Weight: 2, and every 8-th step, in the paper.
    """

    def __init__(self, decay: float = 0.99):
        if not 0 <= decay < 1:
            raise ValueError(f"PathLengthPenalty: decay must be from 0 up to 1 (excluded), got {decay}")
        self.decay, self.mean, self.calls = decay, 0.0, 0

    def __call__(self, images: Tensor, latents: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty, and the lengths (N,): see `path_lengths`."""
        lengths = path_lengths(images, latents, noise)
        d = min(self.decay, self.calls / (self.calls + 1))
        self.mean = d * self.mean + (1 - d) * float(lengths.detach().mean().item())
        self.calls += 1
        return ((lengths - self.mean) ** 2).mean(), lengths

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean, self.calls = float(state["mean"]), int(state["calls"])
