"""Batches in a reproducible order, and the step between bytes and the numbers that a network sees.

The batch at position p is a pure function of (seed, p): epoch e goes through the data in the order
`permutation(n, seed, draw=e)`. So the position is all there is to save, and resuming continues exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array, on_device_of
from ..random import permutation
from .upload import Uploads


class DataLoader:
    """Endless iterator over batches of one or more arrays of equal length.

    DataLoader(images, labels, batch_size=64) gives tuples (images, labels); DataLoader(images, batch_size=64)
    gives bare arrays. The incomplete last batch of an epoch is dropped; the next epoch has another order.

    With device="cuda" they are CuPy arrays, of which `Tensor(x)` makes tensors there. Each batch is copied to the GPU
    while the one before it is worked on.
    """

    def __init__(self, *arrays: np.ndarray, batch_size: int, shuffle: bool = True, seed: int = 0, device: str = "cpu"):
        if not arrays:
            raise TypeError("DataLoader: needs at least one array")
        for i, array in enumerate(arrays):
            if not isinstance(array, np.ndarray) or array.ndim == 0:
                raise TypeError(
                    f"DataLoader: argument {i} must be a NumPy array with a batch axis, "
                    f"got {type(array).__name__} of shape {np.shape(array)}"
                )
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"DataLoader: the arrays must be equally long, got lengths {lengths}")
        if not isinstance(batch_size, (int, np.integer)) or not 1 <= batch_size <= lengths[0]:
            raise ValueError(f"DataLoader: batch_size must be an int from 1 to {lengths[0]} (all), got {batch_size!r}")
        self.arrays = arrays
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.batches_per_epoch = lengths[0] // batch_size
        self._batch = 0  # batches served so far
        self._epoch, self._order = -1, np.arange(lengths[0])  # the order of the epoch at hand
        self._uploads = None if device == "cpu" else Uploads(arrays, self._chosen, device)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._uploads is None:
            chosen = self._chosen(self._batch)
            batch = tuple(array[chosen] for array in self.arrays)
        else:
            batch = self._uploads.batch(self._batch)
        self._batch += 1
        return batch if len(batch) > 1 else batch[0]

    def _chosen(self, batch: int) -> np.ndarray:
        """The indices of a batch's items."""
        epoch, position = divmod(batch, self.batches_per_epoch)
        if self.shuffle and epoch != self._epoch:
            self._epoch, self._order = epoch, permutation(len(self._order), self.seed, epoch)
        return self._order[position * self.batch_size :][: self.batch_size]

    def state_dict(self) -> dict[str, int]:
        """The position: {"batch": number of batches served}."""
        return {"batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues where `state` was taken, given the same arrays, batch size, shuffle and seed."""
        batch = state.get("batch")
        if not isinstance(batch, int) or batch < 0:
            raise ValueError(f"DataLoader: the state must hold 'batch', an int of at least 0, got {state}")
        self._batch = batch


def to_float(images: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """uint8 0..255 -> float32 in [low, high]; most models here work in [-1, 1]. Any shape, NumPy or CuPy."""
    if images.dtype != np.uint8:
        raise TypeError(f"to_float: needs uint8 images, got {images.dtype}")
    with on_device_of(images):
        return images.astype(np.float32) / np.float32(255 / (high - low)) + np.float32(low)


def to_uint8(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """Floats in [low, high] -> uint8 0..255, rounded, clipped to the range. ValueError on NaN. Any shape."""
    if x.dtype.kind != "f":
        raise TypeError(f"to_uint8: needs floating-point values in [{low:g}, {high:g}], got {x.dtype}")
    with on_device_of(x):
        missing = np.isnan(x)
        if missing.any():
            raise ValueError(f"to_uint8: {missing.sum()} of {x.size} values are NaN: did the model diverge?")
        return np.rint((np.clip(x, low, high) - low) * (255 / (high - low))).astype(np.uint8)
