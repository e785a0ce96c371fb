"""Are the fakes where the real ones are, and everywhere they are? Answers from nearest neighbours.

The manifold of a set is taken for the union of balls around its samples, each as large as the distance to the k-th
nearest other sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..data.base import require
from .checks import check_features

ROWS = 1000  # of a matrix of distances at a time, so that memory stays small


def precision_recall(real: Any, fake: Any, k: int = 3) -> tuple[float, float]:
    """The shares of fakes in the manifold of the real samples, and of real samples in that of the fakes.

    real (N, d), fake (M, d). Precision is fidelity, recall diversity (Kynkaanniemi et al. 2019).
    """
    real, fake = _check("precision_recall", real, fake, k)
    precision = (_balls_around(fake, real, k) > 0).mean()
    recall = (_balls_around(real, fake, k) > 0).mean()
    return float(precision), float(recall)


def density_coverage(real: Any, fake: Any, k: int = 5) -> tuple[float, float]:
    """In how many real balls a fake lies, over k; and the share of real balls that hold a fake.

    real (N, d), fake (M, d). Both use the balls of real samples alone, since those of fakes that lie far out are huge.
    Density has no upper bound, and is 1 on average for samples of one distribution (Naeem et al. 2020).
    """
    real, fake = _check("density_coverage", real, fake, k)
    density = _balls_around(fake, real, k).mean() / k
    coverage = (_nearest(real, fake, 1) <= _radii(real, k)).mean()
    return float(density), float(coverage)


def nearest_neighbour_accuracy(real: Any, fake: Any) -> float:
    """How often the nearest neighbour of a sample, among all others, is of its own kind: real or fake.

    real and fake (N, d), as many of each. 1/2 for samples of one distribution, 1 if the two can be told apart, or if
    the fakes are few points with many samples around each; less than 1/2 for copies of the real samples (Lopez-Paz &
    Oquab 2017, section 3; Yang et al. 2019, section 5.1). N samples of one distribution have 1/2 +- 1/sqrt(2N) or so.
    """
    real, fake = check_features("nearest_neighbour_accuracy", real, fake)
    if not len(real) == len(fake) >= 2:
        needed = "as many fakes as real samples, at least two"
        raise ValueError(f"nearest_neighbour_accuracy: needs {needed}, got {len(fake)} and {len(real)}")
    own_real, own_fake = _nearest(real, real, 2), _nearest(fake, fake, 2)  # the nearest is the sample itself
    right = np.concatenate([own_real < _nearest(real, fake, 1), own_fake < _nearest(fake, real, 1)])
    return float(right.mean())


def _check(name: str, real: Any, fake: Any, k: int) -> list[np.ndarray]:
    sets = check_features(name, real, fake)
    if not 1 <= k < min(map(len, sets)):
        sizes = " and ".join(str(len(x)) for x in sets)
        raise ValueError(f"{name}: k must be at least 1, and less than the number of samples, got k = {k} of {sizes}")
    return sets


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """|a_i - b_j| in blocks of rows."""
    cdist = require("scipy.spatial.distance", "scipy", "nearest neighbours of features").cdist
    return (cdist(a[i : i + ROWS], b) for i in range(0, len(a), ROWS))


def _nearest(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """The distance of each a to the k-th nearest b: (N,)."""
    return np.concatenate([np.partition(block, k - 1, axis=1)[:, k - 1] for block in _distances(a, b)])


def _radii(centres: np.ndarray, k: int) -> np.ndarray:
    """The distance of each centre to the k-th nearest other one: (N,)."""
    return _nearest(centres, centres, k + 1)  # the nearest is the centre itself


def _balls_around(x: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """In how many of the balls around the centres each x lies: (N,)."""
    radii = _radii(centres, k)
    return np.concatenate([(block <= radii).sum(1) for block in _distances(x, centres)])
