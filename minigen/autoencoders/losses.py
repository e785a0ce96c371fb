"""Losses and bounds, one number per item: (N,); and, for a whole set, whether the posterior has collapsed.

An autoencoder maps an image x to a code z and back. A variational one (Kingma & Welling 2014) has a distribution
q(z | x) over codes, a prior p(z) = N(0, 1) and a likelihood p(x | z), and descends on the negative of

    ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x)                                       (eq. 3)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import to_device
from ..nn import functional as F
from ..random import randn
from ..tensor import Tensor, array_of


def _total(x: Tensor) -> Tensor:
    """(N, ...) -> (N,)."""
    return x.reshape(len(x), -1).sum(-1)


def squared_error(x: Any, target: Any) -> Tensor:
    """|x - target|^2 of each item: (N, ...), (N, ...) -> (N,)."""
    return _total(F.mse_loss(x, target, reduction="none"))


def bernoulli_nll(logits: Any, target: Any) -> Tensor:
    """-log p(target) of each item in nats, each pixel being 1 with probability sigmoid(logits): (N, ...) -> (N,)."""
    return _total(F.binary_cross_entropy_with_logits(logits, target, reduction="none"))


class DiagonalGaussian:
    """q(z | x) = N(mean, exp(log_variance)), independent in each of its dimensions: both are (N, ..., C).

    `from_parameters` takes what an encoder gives, (N, ..., 2 C): the means, then the log variances.
    """

    def __init__(self, mean: Tensor, log_variance: Tensor):
        if mean.shape != log_variance.shape:
            raise ValueError(f"DiagonalGaussian: mean {mean.shape} and log_variance {log_variance.shape} must agree")
        self.mean, self.log_variance = mean, log_variance

    @classmethod
    def from_parameters(cls, parameters: Tensor, low: float = -20.0, high: float = 10.0) -> DiagonalGaussian:
        """(N, ..., 2 C) -> the distribution; log variances are clipped to [low, high], lest exp overflows."""
        if parameters.shape[-1] % 2:
            raise ValueError(
                f"DiagonalGaussian: needs means and log variances, an even last axis; got {parameters.shape}"
            )
        mean, log_variance = ops.split(parameters, 2, -1)
        return cls(mean, ops.clip(log_variance, low, high))

    def sample(self, generator: Any = None) -> Tensor:
        """z = mean + std eps, eps normal: differentiable in both (the reparameterisation, Kingma & Welling, eq. 4)."""
        mean = self.mean
        eps = randn(*mean.shape, dtype=mean.dtype, generator=generator, device=mean.device)
        return mean + ops.exp(0.5 * self.log_variance) * eps

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) of each item, in nats (Kingma & Welling 2014, appendix B): (N,)."""
        return _total(F.kl_standard_normal(self.mean, self.log_variance))

    def log_prob(self, z: Any) -> Tensor:
        """log q(z) of each item: (N, ..., C) -> (N,)."""
        d = z - self.mean
        return -0.5 * _total(d * d * ops.exp(-self.log_variance) + self.log_variance + math.log(2 * math.pi))


def standard_normal_log_prob(z: Any) -> Tensor:
    """log N(z; 0, 1) of each item: (N, ...) -> (N,)."""
    return -0.5 * _total(z * z + math.log(2 * math.pi))


def importance_weighted_bound(log_weights: Any) -> Tensor:
    """log (1/K) sum_k w_k, which is between the ELBO (K = 1) and log p(x) (K -> infinity): (K, N) -> (N,).

    w_k = p(x | z_k) p(z_k) / q(z_k | x) with z_k from q (Burda et al. 2016, eq. 8).
    """
    return ops.logsumexp(log_weights, 0) - math.log(len(log_weights))


def active_units(means: Any, threshold: float = 0.01) -> int:
    """How many dimensions of the code say something about x: var_x E_q[z] > 0.01 (Burda et al. 2016, section 5.2).

    means (N, C): the mean of q(z | x) of many images. The others have collapsed onto the prior.
    """
    means = to_device(array_of(means), "cpu")
    return int(np.count_nonzero(means.var(axis=0) > threshold))


def collapse_notice(active: int, units: int) -> str | None:
    """A sentence if most of the code has collapsed onto the prior (fewer than a quarter of the units), else None."""
    if active * 4 >= units:
        return None
    return f"posterior collapse: {active} of {units} latent units active: lower beta or warm it up"
