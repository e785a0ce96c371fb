"""The best denoiser of a finite set of images, and what it is good for: targets that do not scatter.

If data were M images x_j, each as likely, the mean of x0 given x = alpha x0 + beta eps would be

    E[x0 | x] = sum_j w_j x_j,    w = softmax_j(-|x - alpha x_j|^2 / (2 beta^2))

As a denoiser it is of no use: what it makes of noise are the M images themselves. As a target it is (Xu et al. 2023,
arXiv:2302.00670): a network learns from pairs of x and the one image that x was made of, though others could have
become the same x; with much noise, nearly all. It has to find their mean by averaging over many steps. But this is the
mean, and the squared error has its minimum at the same place, whether its targets are means or scatter around them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..tensor import Tensor
from .denoiser import Denoiser
from .process import per_sample


class PosteriorMean(Denoiser):
    """That of images (M, ...), floats, on any device. In `Diffusion.loss` they are those that the network learns from.

    Each call costs 2 N M products of two numbers for each pixel, for N samples.
    """

    def __init__(self, images: Any):
        if images.dtype.kind != "f":
            raise TypeError(f"PosteriorMean: needs images of floats, got {images.dtype}")
        self.images = Tensor(images.data if isinstance(images, Tensor) else images).reshape(len(images), -1)  # (M,P)
        self.turned = Tensor(self.images.data.T.copy())  # (P,M), in order: it makes the product faster
        self.device = self.images.device
        self.half_squares = 0.5 * (self.images * self.images).sum(axis=1)

    def __call__(self, x: Tensor, alpha_bar: float | np.ndarray) -> Tensor:
        """x (N, ...), alpha_bar: a number, or (N,), below 1 -> (N, ...)."""
        if x[0].size != self.images.shape[1]:
            raise ValueError(f"PosteriorMean: made of images of {self.images.shape[1]} numbers, got x of {x.shape}")
        level = np.broadcast_to(alpha_bar, (len(x),))
        with no_grad():
            flat = x.reshape(len(x), -1)
            likeness = per_sample(flat, np.sqrt(level) / (1 - level)) * (flat @ self.turned)
            weights = ops.softmax(likeness - per_sample(flat, level / (1 - level)) * self.half_squares, -1)  # (N,M)
            return (weights @ self.images).reshape(x.shape)
