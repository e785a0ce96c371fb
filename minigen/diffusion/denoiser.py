"""The one interface of all trained networks: given x and how noisy it is, what was the clean x0?

However a network was trained, its answer and x give x0, and x0 and x give what any other network would have said. With
x = alpha x0 + beta eps (see `timetable`), the answers and their names are

    x0
    eps  = (x - alpha x0) / beta                              (Ho et al. 2020)
    v    = alpha eps - beta x0                                (Salimans & Ho 2022)
    flow = eps - x0, the velocity of x0 turning into eps      (Liu et al. 2023)

so each is a linear function of x and of each other one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kernels import denoising

from .. import ops
from ..nn import Module
from ..tensor import Tensor, array_of
from .timetable import signal_and_noise

PREDICTIONS = ("eps", "x0", "v", "flow")
Network = Callable[[Tensor, np.ndarray], Tensor]  # (x, t) -> its answer, with t (N,), always on the CPU


def x0_coefficients(prediction: str, alpha_bar: float) -> tuple[float, float]:
    """(c_x, c_out) of x0 = c_x x + c_out out."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"denoiser: prediction {prediction!r} is unknown: choose one of {PREDICTIONS}")
    if prediction == "eps" and alpha_bar == 0:
        raise ValueError("denoiser: at alpha_bar 0 x is all noise, so that a prediction of eps says nothing of x0")
    if prediction == "flow":
        alpha, beta = signal_and_noise(alpha_bar)
        return 1 / (alpha + beta), -beta / (alpha + beta)
    return denoising.x0_coefficients(prediction, alpha_bar)


def convert(out: Any, x: Any, alpha_bar: float, source: str, target: str) -> Tensor:
    """The prediction of one kind that says the same as `out` of another; out and x (N, ...).

    Both kinds are among 'eps', 'x0', 'v' and 'flow'. Where x is all data (alpha_bar 1), only 'x0' can be told.
    """
    to_x0 = x0_coefficients(source, alpha_bar)
    from_x, from_out = x0_coefficients(target, alpha_bar)
    if from_out == 0:
        raise ValueError(f"convert: at alpha_bar {alpha_bar}, x and x0 do not tell {target!r}")
    # from_x x + from_out y = x0 = to_x0[0] x + to_x0[1] out, solved for y
    return ops.linear_step([x, out], [(to_x0[0] - from_x) / from_out, to_x0[1] / from_out])


def halves(out: Tensor, x0: Any) -> tuple[Tensor, Tensor]:
    """A network's answer (N, ..., 2C) as the prediction and what it says of the variance, like x0 (N, ..., C)."""
    if out.shape != (*x0.shape[:-1], 2 * x0.shape[-1]):
        raise ValueError(
            f"Diffusion: for a learned variance the network must give {(*x0.shape[:-1], 2 * x0.shape[-1])}, twice the "
            f"channels of x0, got {out.shape}"
        )
    prediction, rest = ops.split(out, 2, axis=-1)
    return prediction, rest


class Denoiser:
    """denoiser(x, alpha_bar) is the estimate of x0, both (N, ...). Guidance and thresholds wrap one in another."""

    device = "cpu"

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        raise NotImplementedError

    def with_log_variance(self, x: Tensor, alpha_bar: float, alpha_bar_prev: float) -> tuple[Tensor, Tensor | None]:
        """The estimate, and the logarithm of the variance of an ancestral step if the network has learned one."""
        return self(x, alpha_bar), None


class Watched(Denoiser):
    """A denoiser that keeps what it sees and what it says, for pictures of the way from noise."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.device = denoiser, denoiser.device
        self.seen: list[np.ndarray] = []
        self.said: list[np.ndarray] = []

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        x0 = self.denoiser(x, alpha_bar)
        self.seen.append(x.numpy())
        self.said.append(x0.numpy())
        return x0


class Preconditioning(NamedTuple):
    """How a network is asked at one level: x0 = c_skip x + c_out network(c_in x, time).

    These are the columns of table 1 of Karras et al. 2022, for an x of variance 1.
    """

    c_in: float
    time: float
    c_skip: float
    c_out: float


class NetworkDenoiser(Denoiser):
    """A network, asked as `preconditioning(alpha_bar)` says.

    `clip` bounds the estimates. With `log_variance`, half of the network's channels are about the variance.
    """

    def __init__(
        self,
        network: Network,
        preconditioning: Callable[[float], Preconditioning],
        clip: float | None = None,
        log_variance: Callable[[Tensor, float, float], Tensor] | None = None,
    ):
        self.network, self.preconditioning, self.clip = network, preconditioning, clip
        self.log_variance = log_variance
        asked = network.func if isinstance(network, partial) else network  # such as partial(network, labels=labels)
        parameters = asked.parameters() if isinstance(asked, Module) else iter(())
        self.device = next((p.device for p in parameters), "cpu")

    def __call__(self, x: Tensor, alpha_bar: float) -> Tensor:
        return self._ask(x, alpha_bar)[0]

    def with_log_variance(self, x: Tensor, alpha_bar: float, alpha_bar_prev: float) -> tuple[Tensor, Tensor | None]:
        x0, rest = self._ask(x, alpha_bar)
        return x0, None if self.log_variance is None else self.log_variance(rest, alpha_bar, alpha_bar_prev)

    def _ask(self, x: Tensor, alpha_bar: float) -> tuple[Tensor, Any]:
        c_in, time, c_skip, c_out = self.preconditioning(alpha_bar)
        seen = x if c_in == 1 else ops.linear_step([x], [c_in])
        out = self.network(seen, np.full(len(x), time))
        out, rest = out if isinstance(out, Tensor) else Tensor(array_of(out)), None
        if self.log_variance is not None:
            out, rest = halves(out, x)
        return ops.linear_step([x, out], [c_skip, c_out], clip=self.clip), rest
