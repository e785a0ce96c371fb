"""Features: what a small classifier of our own makes of an image, for the metrics that compare sets of images.

    features = Features(load("digits"))   # learns the classifier; only once, for it is kept on disk
    features(images)                      # uint8 (N, H, W, C), or volumes (N, D, H, W, C) -> (N, 64)
    features.read(images)                 # the class of each: (N,)

In pixels, a digit that is moved by two is as far from itself as from another digit. The layer below a classifier's
output keeps what tells classes apart instead, which is why GANs are measured there (Salimans et al. 2016). Without
labels to learn from, even a network as it is initialised will do (Naeem et al. 2020).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..data import Dataset
from ..serialization import CheckpointError, load, save
from .classifier import SETTINGS, Classifier, in_batches, learn, targets


class Features:
    """A function from images to features, learned from a data set's labels and attributes.

    The classifier sees `held_out(data)[0]` alone, so what is measured on the held-out images is sound. Of `shapes` it
    sees others than those in `data`, the held-out pairs of shape and colour among them. Each feature has mean 0 and
    variance 1 over what it saw. All is the same for every seed of a run.

    accuracy: the shares of held-out images of which it reads the "label", and each attribute, right
    """

    def __init__(self, data: Dataset):
        self.image_shape = data.images.shape[1:]
        self.path = _folder() / f"features-{_digest(data)}.safetensors"
        try:
            self._restore(load(self.path))
        except (CheckpointError, KeyError, TypeError, ValueError) as error:
            if self.path.exists():
                print(f"{self.path} is broken ({error}): the features are learned again")
            self.classifier, self.accuracy = learn(data, str(self.path.parent))
            self._keep()
        if not self.classifier.values:
            print(f"{data.name!r} has no labels of two kinds or more, so its features are an untrained network's")

    def _restore(self, state: dict[str, Any]) -> None:
        self.classifier, self.accuracy = Classifier(self.image_shape, state["values"]), dict(state["accuracy"])
        self.classifier.load_state_dict(state["classifier"])

    def _keep(self) -> None:
        values, state = self.classifier.values, self.classifier.state_dict()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save({"values": values, "accuracy": self.accuracy, "classifier": state}, self.path)
        except OSError as error:
            print(f"the features cannot be kept in {self.path} ({error}): they will be learned again next time")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) or (N, D, H, W, C), as learned from -> float32 (N, 64)."""
        return in_batches(self.classifier.features, self._checked(images))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """How likely each label is, the labels in ascending order: (N, labels)."""
        if "label" not in self.classifier.values:
            raise ValueError("Features: the data set has no labels of two kinds or more, so none can be read")
        return in_batches(lambda x: ops.softmax(self.classifier(x)["label"], -1), self._checked(images))

    def read(self, images: np.ndarray) -> np.ndarray:
        """The most likely label of each image: (N,)."""
        chosen = self.probabilities(images).argmax(1)
        return self.classifier.values["label"][chosen]

    def attributes(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The most likely value of each attribute, as the data set numbers them: name -> (N,)."""
        read = self.classifier.read(self._checked(images))
        return {name: values for name, values in read.items() if name != "label"}

    def _checked(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape or not len(images):
            needed = f"uint8 (N, {', '.join(map(str, self.image_shape))})"
            raise ValueError(f"Features: needs images {needed}, got {images.dtype} of shape {images.shape}")
        return images


def _folder() -> Path:
    """~/.cache/minigen, or where XDG_CACHE_HOME says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigen"


def _digest(data: Dataset) -> str:
    """Of everything that the classifier depends on."""
    digest = hashlib.sha256(repr((SETTINGS, data.name, data.images.shape)).encode())
    for name, values in targets(data).items():
        digest.update(name.encode() + values.tobytes())
    digest.update(data.images.tobytes())
    return digest.hexdigest()[:16]
