"""What the classes say that a classifier reads off generated images."""

from __future__ import annotations

from typing import Any

import numpy as np


def class_histogram_kl(read: Any, reference: Any, classes: Any = None) -> float:
    """KL(fakes || reference) in nats between two histograms of classes: 0 if they agree.

    read:      (N,) classes that were read off fakes
    reference: (M,) classes of real images
    classes:   all there are; by default those of the reference
    Half an image is added to each class of the reference, so that one without images does not make the KL infinite.
    Samples of the same distribution have about (classes - 1) / 2N on average, not 0.
    """
    read, reference = np.asarray(read), np.asarray(reference)
    classes = np.unique(reference if classes is None else classes)
    for name, labels in (("reference", reference), ("read", read)):
        if labels.ndim != 1 or not labels.size:
            raise ValueError(f"class_histogram_kl: {name} must be (N,) with N >= 1, got shape {labels.shape}")
        if not np.isin(labels, classes).all():
            raise ValueError(f"class_histogram_kl: {name} holds a class that is not among {classes.tolist()}")
    counts = (np.bincount(np.searchsorted(classes, labels), minlength=len(classes)) for labels in (read, reference))
    p, q = next(counts) / len(read), next(counts) + 0.5
    q = q / q.sum()
    there = p > 0  # 0 log 0 = 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def share_read(probabilities: Any, confidence: float = 0.8) -> float:
    """The share of images whose most likely class has more than this probability; probabilities (N, classes)."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not probabilities.size:
        raise ValueError(f"share_read: needs probabilities (N, classes), got shape {probabilities.shape}")
    return float((probabilities.max(1) > confidence).mean())
