"""Denoisers that are known exactly: of data that follow a mixture of Gaussians."""

import numpy as np

from minigen import Tensor
from minigen.diffusion import Denoiser


class MixtureDenoiser(Denoiser):
    """E[x0 | x] for independent numbers x0, each from N(mean_k, std_k^2) with chance weight_k.

    In differentiable operations, so that log_likelihood can take its Jacobian.
    """

    def __init__(self, means, stds, weights):
        self.parts = list(zip(means, stds, weights, strict=True))

    def terms(self, x, alpha_bar):
        """log of weight times density, and E[x0 | x, k], of each part."""
        alpha = np.sqrt(alpha_bar)
        for mean, std, weight in self.parts:
            variance = float(alpha_bar * std**2 + 1 - alpha_bar)
            off = x - float(alpha * mean)
            log_density = float(np.log(weight) - 0.5 * np.log(2 * np.pi * variance)) - off * off * (0.5 / variance)
            yield log_density, mean + off * float(alpha * std**2 / variance)

    def log_density(self, x, alpha_bar):
        """Of each number of x."""
        logs = [log for log, _ in self.terms(x, alpha_bar)]
        top = np.max([log.data for log in logs], axis=0)
        return sum((log - top).exp() for log in logs).log() + top

    def __call__(self, x, alpha_bar):
        total = self.log_density(x, alpha_bar)
        return sum((log - total).exp() * mean for log, mean in self.terms(x, alpha_bar))


class Known(Denoiser):
    """A function from arrays (x, alpha_bar) to an array."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x, alpha_bar):
        return Tensor(np.asarray(self.function(x.data, alpha_bar), x.dtype))
