"""What every metric of features asks of them."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_features(name: str, *sets: Any) -> list[np.ndarray]:
    """Each set as float64 (N, d), with N >= 1 and one d for all, and no number that is not finite."""
    arrays = [np.asarray(x, np.float64) for x in sets]
    shapes = [x.shape for x in arrays]
    if any(x.ndim != 2 or not x.size for x in arrays) or len({shape[1] for shape in shapes}) != 1:
        raise ValueError(f"{name}: needs features (N, d), of one d, got shapes {', '.join(map(str, shapes))}")
    if not all(np.isfinite(x).all() for x in arrays):
        raise ValueError(f"{name}: some features are not finite numbers: did the model diverge?")
    return arrays
