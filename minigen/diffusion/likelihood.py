"""Exact likelihood: the probability-flow equation carries data to noise, and the change of volume on the way is the
change of density (Song et al. 2021, arXiv:2011.13456, section 4.3 and appendix D.2).

In y = x / alpha and s = log sigma the equation of `samplers` is

    dy / ds = y - D(y),    d log p(y) / ds = -div (y - D) = -(d - trace of D's Jacobian),

and Hutchinson's estimate of the trace is the mean of e . (J e) over random vectors e of signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np

from ..autograd import enable_grad, grad
from ..backend import kernels_for, to_device, using
from ..random import Generator, default_generator
from ..tensor import Tensor
from .denoiser import Denoiser
from .samplers import Progress
from .timetable import Timetable, alpha_bar_of_sigma, sigma_of_alpha_bar


def log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    timetable: Timetable,
    probes: int = 1,
    generator: Generator | None = None,
    progress: Progress = iter,
) -> np.ndarray:
    """log p of data x0 (N, ...), as dense as numbers of any size can be, in nats: float64 (N,).

    The levels are those of the timetable, but for clean data and pure noise: x0 counts as being at the least noisy
    one, and ends as a standard normal x. Heun's method, two evaluations and derivatives of the denoiser a step, whose
    estimates should not be clipped. `probes` is the number of vectors e, of which each sample has its own, the same at
    all levels; more of them make the estimate less noisy.

    Of 8-bit images scaled to [-1, 1], with uniform noise as wide as a value added, the bits per number are at most
    log2(127.5) - log_likelihood / (d log 2).
    """
    if probes < 1:
        raise ValueError(f"log_likelihood: probes must be at least 1, got {probes}")
    sigmas = [s for s in map(sigma_of_alpha_bar, timetable.alpha_bars.tolist()) if 0 < s < math.inf][::-1]
    if len(sigmas) < 2:
        raise ValueError(f"log_likelihood: needs two levels or more between data and pure noise, got {len(sigmas)}")
    generator = generator or default_generator
    axes, d = tuple(range(1, x0.ndim)), x0[0].size
    with using(x0.device):
        kernels = kernels_for(x0.data)
        signs = [
            np.sign(kernels.uniform(x0.shape, generator.seed, generator.next_draw(), 0, x0.dtype) - 0.5 + 2.0**-26)
            for _ in range(probes)
        ]

        def flow(y, sigma):
            """dy / ds and its divergence, (N, ...) and (N,)."""
            alpha_bar = alpha_bar_of_sigma(sigma)
            alpha = math.sqrt(alpha_bar)
            with enable_grad():
                x = Tensor((alpha * y).astype(x0.dtype), True)
                x0_hat = denoiser(x, alpha_bar)
                traces = []
                for e in signs:
                    (pulled,) = grad((x0_hat * e).sum(), [x], retain_graph=True)
                    traces.append(alpha * (pulled.data.astype(np.float64) * e).sum(axis=axes))
            return y - x0_hat.data, d - sum(traces) / probes

        y, change = x0.data.astype(np.float64), 0.0
        pairs: Iterable = progress(list(itertools.pairwise(sigmas)))
        for now, then in pairs:
            h = math.log(then / now)
            slope, divergence = flow(y, now)
            trial_slope, trial_divergence = flow(y + h * slope, then)
            y = y + h / 2 * (slope + trial_slope)
            change = change + h / 2 * (divergence + trial_divergence)
        # x = alpha y is standard normal, and dx = alpha^d dy
        alpha = math.sqrt(alpha_bar_of_sigma(sigmas[-1]))
        prior = -0.5 * ((alpha * y) ** 2).sum(axis=axes) - d / 2 * math.log(2 * math.pi) + d * math.log(alpha)
        density = prior + change
    return to_device(density, "cpu")
