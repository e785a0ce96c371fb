"""Denoisers whose estimates agree with what is known of the image: here with a smaller copy of it."""

from __future__ import annotations

import numpy as np

from ..tensor import Tensor
from .denoiser import Denoiser


class Consistent(Denoiser):
    """The estimates of a denoiser, changed as little as possible such that, made smaller, they are the given images.

    given:         (N, h, w, C)
    rows, columns: (h, H) and (w, W), the matrices A that make each column and each row of pixels of an image shorter

    With A+ the pseudo-inverse, x0 + A+ (given - A x0) keeps all of x0 that A does not see, and is `given` in what A
    does see (DDNM, Wang et al. 2022, arXiv:2212.00490; ILVR, Choi et al. 2021, arXiv:2108.02938, does nearly the
    same to the noisy images). So the sample is `given` in it, too, before it is clipped and rounded.
    """

    def __init__(self, denoiser: Denoiser, given: Tensor, rows: np.ndarray, columns: np.ndarray):
        for name, matrix, size in (("rows", rows, given.shape[1]), ("columns", columns, given.shape[2])):
            if matrix.ndim != 2 or len(matrix) != size or np.linalg.matrix_rank(matrix) < size:
                raise ValueError(
                    f"Consistent: {name} must be a matrix of {size} independent lines, for given {given.shape}, "
                    f"got shape {matrix.shape} of rank {np.linalg.matrix_rank(matrix)}"
                )
        self.denoiser, self.device, self.given = denoiser, denoiser.device, given
        self.smaller = [Tensor(m.astype(given.dtype)).to(given.device) for m in (rows, columns)]
        self.larger = [Tensor(np.linalg.pinv(m).astype(given.dtype)).to(given.device) for m in (rows, columns)]

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        x0 = self.denoiser(x, alpha_bar)
        return x0 + separable(self.given - separable(x0, *self.smaller), *self.larger)


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows x columns^T for each channel: x (N, H, W, C), (h, H), (w, W) -> (N, h, w, C)."""
    n, height, width, channels = x.shape
    x = (columns @ x.reshape(n * height, width, channels)).reshape(n, height, len(columns) * channels)
    return (rows @ x).reshape(n, len(rows), len(columns), channels)
