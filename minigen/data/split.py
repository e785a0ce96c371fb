"""Which images are held out from training, so that a model can be measured on what it has not seen."""

from __future__ import annotations

import numpy as np

from .base import Dataset


def held_out(data: Dataset, share: float = 0.2) -> tuple[Dataset, Dataset]:
    """Training images, and that share of all images (at least one) which no network sees: always the same ones."""
    if len(data) < 2:
        raise ValueError(f"held_out: needs at least two images, since one is held out, got {len(data)}")
    order = np.random.default_rng(0).permutation(len(data))
    training, test = np.split(order, [len(data) - max(1, round(share * len(data)))])
    return data.subset(training), data.subset(test)
