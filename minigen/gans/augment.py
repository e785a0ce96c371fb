"""Augmentation inside the game: D sees real and generated images alike only after random, differentiable changes.

A D that has seen the real images too often knows them by heart, and then has nothing to teach. If it never sees an
unchanged image it cannot, and because the generated ones are changed by the same lot, G need not make changed ones.

    DiffAugment (Zhao et al. 2020, arXiv:2006.10738)          every image is changed
    ADA         (Karras et al. 2020, arXiv:2006.06676)        each change is made with a probability p that follows how
                                                              much D overfits
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..backend import Array, array_module, on_device_of
from ..random import Generator, rand, randint
from ..tensor import Tensor

SHIFT, HOLE = 1 / 8, 1 / 2  # of a side: how far an image moves at most, and the side of the hole that is cut out


def augment(
    x: Tensor,
    generator: Generator,
    probability: float = 1.0,
    changes: Sequence[Callable[[Tensor, Generator], Tensor]] | None = None,
) -> Tensor:
    """Images (N, H, W, C), each with its colours changed, moved, and with a hole cut out, as chance wills.

    Each of the three, or of the `changes` given, is done to an image with that probability, whatever is done besides: 1
    is DiffAugment.
    """
    if probability == 0:
        return x
    for change in (colour, translation, cutout) if changes is None else changes:
        chosen = Tensor(_uniform(x, generator).data < probability)
        x = ops.where(chosen, change(x, generator), x)
    return x


def colour(x: Tensor, generator: Generator) -> Tensor:
    """Brightness moved by up to 1/2, saturation scaled by 0 to 2, contrast by 1/2 to 3/2; x from -1 to 1."""
    brightness, saturation, contrast = (_uniform(x, generator) for _ in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(-1, keepdims=True)
    x = (x - grey) * (2 * saturation) + grey if x.shape[-1] > 1 else x
    middle = x.mean((1, 2, 3), keepdims=True)
    return (x - middle) * (contrast + 0.5) + middle


def translation(x: Tensor, generator: Generator) -> Tensor:
    """Each image moved by whole pixels, up to 1/8 of its height and width; zeros (grey) come in from beyond."""
    n, height, width, _ = x.shape
    down, right = (_whole(x, generator, -m, m + 1) for m in (round(SHIFT * height), round(SHIFT * width)))
    xp = array_module(x.data)
    with on_device_of(x.data):
        rows = xp.clip(xp.arange(height)[:, None] - down + 1, 0, height + 1)  # (N,H,1), of the padded image
        columns = xp.clip(xp.arange(width) - right + 1, 0, width + 1)  # (N,1,W)
        return ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])[xp.arange(n).reshape(n, 1, 1), rows, columns]


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """A rectangle of half the height and width is made zero (grey); its centre lies anywhere in the image."""
    _, height, width, _ = x.shape
    high, wide = round(HOLE * height), round(HOLE * width)
    top, left = _whole(x, generator, 0, height) - high // 2, _whole(x, generator, 0, width) - wide // 2
    xp = array_module(x.data)
    with on_device_of(x.data):
        row, column = xp.arange(height)[:, None], xp.arange(width)
        cut = (row >= top) & (row < top + high) & (column >= left) & (column < left + wide)  # (N,H,W)
        return x * (~cut)[..., None].astype(x.dtype)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    """A number from 0 to 1 for each image: (N, 1, 1, 1)."""
    return rand(len(x), 1, 1, 1, dtype=x.dtype, generator=generator, device=x.device)


def _whole(x: Tensor, generator: Generator, low: int, high: int) -> Array:
    """A whole number from low to high - 1 for each image: an array (N, 1, 1)."""
    return randint(low, high, (len(x), 1, 1), generator=generator, device=x.device).data


class AdaptiveProbability:
    """The p of ADA, section 3.1: up while D overfits, down while it does not, measured by r_t = E[sign D(real)].

    r_t is 0 for a D that is as often wrong as right about real images, and 1 for one that is never wrong. It is taken
    over `every` batches, and then p goes one step towards where r_t would be `target`; from 0 to 1 takes `images`.
    """

    def __init__(self, target: float = 0.6, images: int = 100_000, every: int = 4):
        self.target, self.images, self.every = target, images, every
        self.p, self.r = 0.0, 0.0
        self.sum, self.batches = 0.0, 0  # of the signs, and over how many batches, since the last step of p

    def update(self, real: Tensor) -> None:
        """Takes in D's logits for a batch of real images, as augmented as D saw them."""
        logits = real.numpy()
        self.sum, self.batches = self.sum + float(np.sign(logits).mean()), self.batches + 1
        if self.batches == self.every:
            self.r = self.sum / self.every
            step = float(np.sign(self.r - self.target)) * self.every * len(logits) / self.images
            self.p = min(max(self.p + step, 0.0), 1.0)
            self.sum, self.batches = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        return {"p": self.p, "r": self.r, "sum": self.sum, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.p, self.r, self.sum = (float(state[name]) for name in ("p", "r", "sum"))
        self.batches = int(state["batches"])
