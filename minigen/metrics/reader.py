"""Whether a generated image reads as one of the classes of the real ones."""

from __future__ import annotations

import numpy as np

from ..data.base import require


class Reader:
    """A classifier of the real images, to say whether a sample reads as one of their classes.

    Logistic regression on pixels, fitted on four fifths of the real images; the rest gives the baseline.
    Images are uint8 (N, H, W, C), labels (N,). `classes` are the labels that it knows, in ascending order.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        linear_model = require("sklearn.linear_model", "scikit-learn", "Reader")
        order = np.random.default_rng(0).permutation(len(images))
        fitted, held_out = np.split(order, [len(images) * 4 // 5])
        self.classes = np.unique(labels[fitted])
        if len(self.classes) < 2:
            raise ValueError(f"Reader: what it is fitted on must be of at least two classes, got {len(self.classes)}")
        self.model = linear_model.LogisticRegression(C=10, max_iter=1000)
        self.model.fit(self._pixels(images[fitted]), labels[fitted])
        self.real = self.share_read(images[held_out])

    @staticmethod
    def _pixels(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8:
            raise TypeError(f"Reader: needs uint8 images, got {images.dtype}")
        return images.reshape(len(images), -1) / 255

    def share_read(self, images: np.ndarray, confidence: float = 0.8) -> float:
        """The share of images whose most likely class has more than this probability."""
        return float((self.model.predict_proba(self._pixels(images)).max(1) > confidence).mean())

    def read(self, images: np.ndarray) -> np.ndarray:
        """The most likely class of each image: (N,)."""
        return self.model.predict(self._pixels(images))

    def histogram(self, images: np.ndarray) -> list[int]:
        """How many of the images read as each of `classes`."""
        read = self.read(images)
        return [int((read == c).sum()) for c in self.classes]
