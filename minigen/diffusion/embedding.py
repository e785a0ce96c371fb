"""What a denoiser is told besides x: the time, as sines and cosines, and the class, as a learned vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import device_of, on_device_of, to_device
from ..nn import Embedding, Linear, Module
from ..tensor import Tensor, array_of


def timestep_embedding(t: Any, dim: int) -> Tensor:
    """(N,) -> (N, dim), float32: sines and cosines of t at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017,
    3.5). dim must be even; t may be integers or floats."""
    half, t = dim // 2, array_of(t)
    frequencies = to_device(np.exp(-math.log(10000) * np.arange(half) / half), device_of(t))
    with on_device_of(t):
        angles = t.astype(np.float64)[:, None] * frequencies
        return Tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


class ConditionEmbedding(Module):
    """t (N,), labels (N,) or None -> (N, dim): silu(mlp(timestep_embedding(t)) + table[label]).

    `num_classes` K makes the table, of K + 1 rows: the last one means "no class", for classifier-free guidance (Ho &
    Salimans 2022). `channels` is the length of the timestep's embedding.
    """

    def __init__(self, channels: int, dim: int, num_classes: int | None = None):
        super().__init__()
        if channels % 2:
            raise ValueError(f"ConditionEmbedding: channels must be even, for sines and cosines, got {channels}")
        self.channels, self.num_classes = channels, num_classes
        self.time1, self.time2 = Linear(channels, dim), Linear(dim, dim)
        self.classes = None if num_classes is None else Embedding(num_classes + 1, dim)

    def forward(self, t: Any, labels: Any = None, condition: Tensor | None = None) -> Tensor:
        """`condition` (N, dim) is added to what the silu sees."""
        like = self.time1.weight
        h = self.time2(
            ops.silu(self.time1(ops.astype(timestep_embedding(t, self.channels), like.dtype).to(like.device)))
        )
        h = h if self.classes is None else h + self.classes(labels)
        return ops.silu(h if condition is None else h + condition)


def check_conditions(whose: str, n: int, t: Any, labels: Any, num_classes: int | None) -> None:
    """There must be a timestep for each of n samples and, if and only if there are classes, a label."""
    if np.shape(t) != (n,):
        raise ValueError(f"{whose}: t must hold one timestep for each of {n} samples, got shape {np.shape(t)}")
    if num_classes is None:
        if labels is not None:
            raise ValueError(f"{whose}: made without classes (num_classes=K), but called with labels")
        return
    if labels is None:
        raise ValueError(f"{whose}: made with num_classes={num_classes}, but called without labels")
    labels = to_device(array_of(labels), "cpu")
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        given = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(f"{whose}: labels must be one integer for each of {n} samples, got {given}")
    if n and not 0 <= labels.min() <= labels.max() <= num_classes:
        given = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"{whose}: labels must be from 0 to {num_classes}, which means no class, got {given}")
