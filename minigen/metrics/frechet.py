"""The Frechet distance between two sets of features, each taken for a normal distribution (Heusel et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import check_features


def frechet_distance(x: Any, y: Any) -> float:
    """|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x^1/2 S_y S_x^1/2)^1/2) of x (N, d) and y (M, d), in float64.

    mu are the means and S the covariances. The last root is of a symmetric matrix, so its trace is the sum of the roots
    of real eigenvalues; the usual (S_x S_y)^1/2 is of one that is not, and may come out complex. Needs N, M >= d, and
    two: of fewer, the covariances are singular, and the distance says more about the number of samples than about them.
    """
    x, y = check_features("frechet_distance", x, y)
    d = x.shape[1]
    if min(len(x), len(y)) < max(d, 2):
        raise ValueError(
            "frechet_distance: needs at least two samples of each, and as many samples as dimensions, "
            f"got {len(x)} and {len(y)} of {d} numbers"
        )
    difference = x.mean(0) - y.mean(0)
    s_x, s_y = (np.cov(a, rowvar=False).reshape(d, d) for a in (x, y))
    root = _root(s_x)
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s_y @ root), 0))
    distance = difference @ difference + np.trace(s_x) + np.trace(s_y) - 2 * roots.sum()
    return max(float(distance), 0.0)  # rounding may leave equal sets just below 0


def _root(s: np.ndarray) -> np.ndarray:
    """S^1/2 of a symmetric S without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh(s)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
