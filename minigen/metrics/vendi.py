"""How many different samples a set is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import check_features


def vendi_score(x: Any) -> float:
    """The Vendi score of features x (N, d): 1 if all are alike, N if no two have anything in common.

    The exponential of the entropy of the eigenvalues of K / N, where K is the cosine of each pair (Friedman & Dieng
    2023). It needs no real samples to compare with. At most d of the eigenvalues are not 0, so it is at most d.
    """
    (x,) = check_features("vendi_score", x)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.all():
        raise ValueError("vendi_score: features that are all 0 have no direction")
    x = x / length
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x  # both have the same eigenvalues, but for zeros
    values = np.linalg.eigvalsh(gram / len(x))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))
