"""The best denoiser that is linear: what any network has to beat.

If data were Gaussian, of mean m and covariance S, the mean of x0 given x = alpha x0 + beta eps would be

    D(x) = m + alpha S (alpha^2 S + beta^2)^-1 (x - alpha m)        (Wiener 1949)

and of all linear functions this one has the least squared error for data of any kind with that m and S.
"""

from __future__ import annotations

import numpy as np

from ..backend import to_device
from ..tensor import Tensor
from .denoiser import Denoiser
from .timetable import signal_and_noise


class Wiener(Denoiser):
    """Mean and covariance are those of data (N, ...), floats; on the CPU."""

    def __init__(self, data: np.ndarray):
        flat = np.asarray(data, np.float64).reshape(len(data), -1)
        self.mean = flat.mean(0)
        self.values, self.vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True).reshape(flat.shape[1], -1))

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        alpha, beta = signal_and_noise(alpha_bar)
        values = np.maximum(self.values, 0.0)  # rounding may leave some below 0
        kept = alpha * values / (alpha**2 * values + beta**2)  # of each direction
        off = (to_device(x.data, "cpu").reshape(len(x), -1) - alpha * self.mean) @ self.vectors
        x0 = self.mean + (off * kept) @ self.vectors.T
        return Tensor(x0.reshape(x.shape).astype(x.dtype)).to(x.device)
