"""The small classifier that features come from, and how it learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import autograd, nn, ops, optim
from ..data import DataLoader, Dataset, held_out, shapes, to_float, warp
from ..data.base import require
from ..nn import functional as F
from ..nn.blocks import CONVS, space_to_depth
from ..random import Generator, replay
from ..tensor import Tensor

SIZE = 64  # numbers in a feature: few, so that few samples will do for a Frechet distance
CHANNELS, BATCH, EPOCHS, LEARNING_RATE = 32, 64, 20, 2e-3
VOLUME_CHANNELS, VOLUME_EPOCHS, VOLUME_LEARNING_RATE = 8, 5, 4e-3  # a volume costs as much as many images
SEED = 2**62  # of the classifier, the same whatever the seed of a run
DRAWN = 10_000  # shapes that it learns from
VERSION = 1  # to be raised with any other change here, so that a classifier kept on disk is not taken for today's
SETTINGS = (SIZE, CHANNELS, BATCH, EPOCHS, LEARNING_RATE, SEED, DRAWN, VERSION)


class Classifier(nn.Module):
    """Images (N, H, W, C) or volumes (N, D, H, W, C) in [-1, 1] -> logits of each attribute, by way of 64 numbers, the
    features.

    Three convolutions, the second of stride 2, over patches of 2 x 2 pixels (2 x 2 x 2 voxels): all sides must be
    multiples of 4.
    values: attribute -> the values that it has
    """

    mean: Tensor  # of the code, over the images that were learned from
    std: Tensor

    def __init__(self, image_shape: tuple[int, ...], values: dict[str, np.ndarray]):
        super().__init__()
        *sides, channels = image_shape
        if any(side % 4 for side in sides):
            given = " x ".join(map(str, sides))
            raise ValueError(f"Features: the sides of the images must be multiples of 4, got {given}")
        conv, width = CONVS[len(sides)], CHANNELS if len(sides) == 2 else VOLUME_CHANNELS
        self.convolutions = nn.ModuleList(
            [
                conv(2 ** len(sides) * channels, width, 3, padding=1),
                conv(width, 2 * width, 3, stride=2, padding=1),
                conv(2 * width, 2 * width, 3, padding=1),
            ]
        )
        self.last = nn.Linear(math.prod(side // 4 for side in sides) * 2 * width, SIZE)
        self.heads = nn.ModuleList([nn.Linear(SIZE, len(v)) for v in values.values()])
        self.values = values
        self.register_buffer("mean", np.zeros(SIZE, np.float32))
        self.register_buffer("std", np.ones(SIZE, np.float32))

    def code(self, x: Tensor) -> Tensor:
        """(N, H, W, C) or (N, D, H, W, C) -> (N, 64)."""
        x = space_to_depth(x, 2)
        for conv in self.convolutions:
            if x.ndim == 4:
                x = ops.conv2d_leaky_relu(x, conv.weight, conv.bias, **conv.settings, negative_slope=0.2)
            else:
                x = ops.leaky_relu(conv(x), 0.2)
        return self.last(x.reshape(len(x), -1))

    def features(self, x: Tensor) -> Tensor:
        """The code, each number of mean 0 and variance 1 over the images that were learned from."""
        return (self.code(x) - self.mean) / self.std

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = ops.silu(self.code(x))
        return {name: head(hidden) for name, head in zip(self.values, self.heads, strict=True)}

    def read(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The most likely value of each attribute: name -> (N,)."""
        logits = {name: in_batches(lambda x, name=name: self(x)[name], images) for name in self.values}
        return {name: values[logits[name].argmax(1)] for name, values in self.values.items()}


def in_batches(function: Any, images: np.ndarray, size: int = 250) -> np.ndarray:
    """function(x) of uint8 images (N, ...) as floats in [-1, 1], without a tape: (N, ...)."""
    parts = [to_float(images[i : i + size]) for i in range(0, len(images), size)]
    with autograd.no_grad():
        return np.concatenate([function(Tensor(x)).numpy() for x in parts])


def targets(data: Dataset) -> dict[str, np.ndarray]:
    """What there is to learn of it: its labels and attributes, as far as they have two values or more."""
    every = {"label": data.labels, **(data.attributes or {})}
    return {name: values for name, values in every.items() if values is not None and len(np.unique(values)) > 1}


def learn(data: Dataset, where: str) -> tuple[Classifier, dict[str, float]]:
    """A classifier that has learned from `data`, and the share of held-out images it reads right, of each attribute.

    Nothing is drawn from the default generator. `where` it will be kept, for the progress bar.
    """
    training, test = _examples(data)
    known = targets(training)
    with replay({"seed": SEED, "draw": 0}):
        classifier = Classifier(data.images.shape[1:], {name: np.unique(values) for name, values in known.items()})
    if known:
        _descend(classifier, training.images, known, where)
    code = in_batches(classifier.code, training.images)
    classifier.mean.assign_(code.mean(0))
    classifier.std.assign_(np.maximum(code.std(0), 1e-6))
    read, right = classifier.read(test.images), targets(test)
    return classifier, {name: float((read[name] == right[name]).mean()) for name in known if name in right}


def _examples(data: Dataset) -> tuple[Dataset, Dataset]:
    """What to learn from, and held-out images. Of `shapes` others are drawn, in the held-out pairs, too."""
    if data.name != "shapes" or data.attributes is None:
        return held_out(data)
    common, rare = shapes(DRAWN, SEED), shapes(DRAWN // 8, SEED, held_out=True)
    known = {name: np.concatenate([values, targets(rare)[name]]) for name, values in targets(common).items()}
    training = Dataset(np.concatenate([common.images, rare.images]), known.pop("label"), attributes=known)
    return training, shapes(2000, SEED + 1)


def _descend(classifier: Classifier, images: np.ndarray, known: dict[str, np.ndarray], where: str) -> None:
    """Minimises the sum of the attributes' cross-entropies. Grey images are warped at random."""
    indices = {name: np.searchsorted(classifier.values[name], labels) for name, labels in known.items()}
    batches = DataLoader(images, *indices.values(), batch_size=min(BATCH, len(images)), seed=SEED)
    epochs, learning_rate = (EPOCHS, LEARNING_RATE) if images.ndim == 4 else (VOLUME_EPOCHS, VOLUME_LEARNING_RATE)
    steps = epochs * batches.batches_per_epoch
    optimizer = optim.Adam(classifier.parameters(), lr=learning_rate)
    schedule = optim.CosineLR(optimizer, steps, warmup_steps=steps // 20)
    generator = Generator(SEED)
    tqdm = require("tqdm", "tqdm", "Features").tqdm
    for _ in tqdm(range(steps), unit="step", desc=f"learning features, kept in {where}", mininterval=0.5):
        x, *labels = next(batches)
        x = warp(x, generator) / 127.5 - 1 if x.ndim == 4 and x.shape[-1] == 1 else to_float(x)
        logits = classifier(Tensor(x))
        losses = [F.cross_entropy(logits[name], y) for name, y in zip(known, labels, strict=True)]
        optimizer.zero_grad()
        sum(losses[1:], start=losses[0]).backward()
        optimizer.step()
        schedule.step()
