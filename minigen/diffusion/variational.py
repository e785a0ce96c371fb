"""The variational bound of DDPM on -log p(x0), and variances that the network learns from it.

    -log p(x0) <= KL(q(x_T | x0) || N(0, 1)) + sum over t > 0 of KL(q(x_t-1 | x_t, x0) || p(x_t-1 | x_t))
                  - log p(x0 | x_0)

(Ho et al. 2020, arXiv:2006.11239, eq. 5), all of Gaussians, but for the last: the chance of the data's 8-bit values.
With the variances of q fixed, p has the same; or else the network says v in [0, 1] for every number, and p has

    log variance = v log beta + (1 - v) log beta_posterior            (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15)

which lie between the best for data that are noise and data that are one point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..random import Generator, default_generator
from ..tensor import Tensor
from .denoiser import Network, halves, x0_coefficients
from .process import per_sample, spread
from .samplers import posterior_mean

if TYPE_CHECKING:
    from .ddpm import Diffusion

BIN = 1 / 255  # half of the width of an 8-bit value's bin in [-1, 1]


def variances(alpha_bar: float, alpha_bar_prev: float) -> tuple[float, float]:
    """log beta and log of the posterior's variance; at alpha_bar_prev 1, where the latter is 0, beta's in its place."""
    beta = 1 - alpha_bar / alpha_bar_prev
    posterior = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return math.log(beta), math.log(posterior if posterior > 0 else beta)


def log_variance(rest: Tensor, alpha_bar: float, alpha_bar_prev: float) -> Tensor:
    """Of p(x_prev | x), from what the network says, about -1 to 1, like x."""
    return _between(*variances(alpha_bar, alpha_bar_prev), rest)


def _between(largest: Any, smallest: Any, rest: Tensor) -> Tensor:
    return smallest + (largest - smallest) * 0.5 * (rest + 1.0)


def bound_terms(diffusion: Diffusion, x_t: Tensor, out: Tensor, rest: Tensor | None, x0: Any, t: np.ndarray) -> Tensor:
    """The term of step t for each sample, in nats per number: (N,).

    x_t and x0 (N, ...), t (N,); out (N, ...) the network's prediction and rest what it says of variances, or None.
    """
    abar = diffusion.alphas_cumprod
    now, then = abar[t], np.where(t > 0, abar[t - 1], 1.0)
    rows = list(zip(now.tolist(), then.tolist(), strict=True))

    def column(values: Any) -> Any:
        return per_sample(x0, np.array(values))

    c_x, c_out = (
        column(c) for c in zip(*(x0_coefficients(diffusion.prediction, a) for a in now.tolist()), strict=True)
    )
    mean_x, mean_x0 = (column(c) for c in zip(*(posterior_mean(*row) for row in rows), strict=True))
    largest, smallest = (column(c) for c in zip(*(variances(*row) for row in rows), strict=True))
    estimate = c_x * x_t + c_out * out
    log_var = smallest if rest is None else _between(largest, smallest, rest)
    off = mean_x0 * (estimate - x0)  # of the mean of p from that of q
    kl = 0.5 * (log_var - smallest + ops.exp(smallest - log_var) + off * off * ops.exp(-log_var) - 1.0)
    first = t == 0
    if first.any():
        decoder = _discretised(x0, mean_x * x_t + mean_x0 * estimate, log_var)
        kl = ops.where(column(first).astype(bool), decoder, kl)
    return kl.mean(axis=tuple(range(1, x0.ndim)))


def _discretised(x0: Any, mean: Tensor, log_var: Any) -> Tensor:
    """-log of the chance that a Gaussian falls into the bin of x0, one of 256 values in [-1, 1]; the outer bins
    reach to infinity (Ho et al. 2020, eq. 13)."""
    scale = ops.exp(-0.5 * log_var)
    upper, lower = (_cdf(scale * (x0 - mean + side)) for side in (BIN, -BIN))
    chance = ops.where(x0 < -0.999, upper, ops.where(x0 > 0.999, 1.0 - lower, upper - lower))
    return -ops.log(ops.maximum(chance, 1e-12))


def _cdf(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + ops.erf(z / math.sqrt(2)))


def bits_per_dimension(
    diffusion: Diffusion, network: Network, x0: Any, draws: int = 100, generator: Generator | None = None
) -> Tensor:
    """The bound on -log2 p of images, in bits per number: x0 (N, ...), 8-bit values scaled to [-1, 1] -> (N,).

    The sum over T steps is estimated from `draws` of them, evenly spread over the range and moved by one random number.
    """
    generator = generator or default_generator
    with no_grad():
        total: Any = 0.0
        for t in ((np.arange(draws) + spread(1, generator)) / draws * diffusion.timesteps).astype(np.int64):
            times = np.full(len(x0), t)
            x_t, _ = diffusion.add_noise(x0, times, generator)
            out, rest = network(x_t, times), None
            if diffusion.variance == "learned":
                out, rest = halves(out, x0)
            total = total + bound_terms(diffusion, x_t, out, rest, x0, times)
        last = float(diffusion.alphas_cumprod[-1])
        prior = 0.5 * (last * x0 * x0 - last - math.log(1 - last))  # KL(N(alpha x0, 1 - abar) || N(0, 1))
        return (total * (diffusion.timesteps / draws) + prior.mean(axis=tuple(range(1, x0.ndim)))) / math.log(2)
