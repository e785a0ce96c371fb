"""What every reader returns, and how optional packages are asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, videos or volumes in memory.

    images:     uint8 (N, H, W, C), or (N, D, H, W, C) with the frames or the depth first; N >= 1
    labels:     int64 (N,), or None
    name:       what to call it in messages and titles
    captions:   N strings, or None
    attributes: name -> int64 (N,), or None

    TypeError or ValueError if the arrays are anything else.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    name: str = "dataset"
    captions: list[str] | None = None
    attributes: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        _check_array(self.name, "images", self.images, np.uint8, "(N, H, W, C)", "(N, D, H, W, C)")
        if 0 in self.images.shape:
            raise ValueError(f"Dataset {self.name!r}: holds no pixels, images have shape {self.images.shape}")
        named = {f"attribute {name!r}": values for name, values in (self.attributes or {}).items()}
        if self.labels is not None:
            named["labels"] = self.labels
        for field, values in named.items():
            _check_array(self.name, field, values, np.int64, "(N,)")
            self._check_length(field, values)
        if self.captions is not None:
            if not isinstance(self.captions, list) or not all(isinstance(c, str) for c in self.captions):
                raise TypeError(f"Dataset {self.name!r}: captions must be a list of strings")
            self._check_length("captions", self.captions)

    def _check_length(self, field: str, values: Any) -> None:
        if len(values) != len(self.images):
            raise ValueError(f"Dataset {self.name!r}: {len(self.images)} images but {field} of length {len(values)}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Any) -> Dataset:
        """The items at these indices (whole numbers, a mask or a slice), with all that belongs to them."""
        indices = np.arange(len(self))[indices]
        return Dataset(
            self.images[indices],
            None if self.labels is None else self.labels[indices],
            self.name,
            None if self.captions is None else [self.captions[i] for i in indices],
            None if self.attributes is None else {name: a[indices] for name, a in self.attributes.items()},
        )


def _check_array(name: str, field: str, value: Any, dtype: type, *shapes: str) -> None:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"Dataset {name!r}: {field} must be a NumPy array, got {type(value).__name__}")
    if value.dtype != dtype or value.ndim not in [len(shape.strip("(,)").split(",")) for shape in shapes]:
        needed = f"{np.dtype(dtype)} of shape {' or '.join(shapes)}"
        raise ValueError(f"Dataset {name!r}: {field} must be {needed}, got {value.dtype} of shape {value.shape}")


def require(module: str, package: str, purpose: str) -> Any:
    """The imported `module` of an optional package; if missing, an ImportError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs the package {package}: pip install minigen[examples]") from error
