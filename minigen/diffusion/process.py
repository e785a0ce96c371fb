"""The diffusion process: data to noise by a formula, noise to data by a trained network.

Forward:  x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps,  eps normal        (Ho et al. 2020, eq. 4)
The network sees x_t and t, and predicts one of
    eps                                                                  (Ho et al. 2020, eq. 14)
    x0
    v = sqrt(abar_t) eps - sqrt(1 - abar_t) x0                           (Salimans & Ho 2022, section 4)
of which each gives the other two. Sampling goes from pure noise through fewer and fewer noisy images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import Array, device_of, kernels_on, to_device, using
from ..nn import Module
from ..random import Generator, default_generator
from ..tensor import Tensor, array_of
from .schedules import SCHEDULES

LARGEST_WEIGHT = 5.0  # of an error of x0, see `Diffusion.loss`
SAMPLING_DRAW = 2**62  # sampling counts its draws from here on, training from 0: they never share noise
Network = Callable[[Tensor, np.ndarray], Tensor]  # (x_t, t) -> prediction, with t (N,) integers, always on the CPU


class Diffusion:
    """A schedule, and what the network predicts.

    `timesteps` T, `schedule` 'linear', 'cosine' or 'sigmoid', `prediction` 'eps', 'x0' or 'v'. Images may be on any
    device; timesteps and the schedule are few numbers, and stay on the CPU.
    """

    def __init__(self, timesteps: int = 1000, schedule: str = "cosine", prediction: str = "eps"):
        if schedule not in SCHEDULES:
            raise ValueError(f"Diffusion: schedule {schedule!r} is unknown: choose one of {sorted(SCHEDULES)}")
        if prediction not in ("eps", "x0", "v"):
            raise ValueError(f"Diffusion: prediction {prediction!r} is unknown: choose 'eps', 'x0' or 'v'")
        if not isinstance(timesteps, (int, np.integer)) or timesteps < 1:
            raise ValueError(f"Diffusion: timesteps must be a whole number of at least 1, got {timesteps}")
        self.timesteps, self.prediction = timesteps, prediction
        self.alphas_cumprod = SCHEDULES[schedule](timesteps)

    def _signal_and_noise(self, t: Any, x0: Any) -> tuple[Array, Array]:
        """sqrt(abar_t) and sqrt(1 - abar_t) for each sample of x0, in its dtype and on its device."""
        t = to_device(array_of(t), "cpu")
        if t.dtype.kind not in "iu" or np.any((t < 0) | (t >= self.timesteps)):
            raise ValueError(f"Diffusion: t must be integers from 0 to {self.timesteps - 1}, got {t}")
        abar = self.alphas_cumprod[t]
        return _like(x0, np.sqrt(abar)), _like(x0, np.sqrt(1 - abar))

    def add_noise(self, x0: Any, t: Any, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """x_t and the noise in it. x0 (N, ...), t (N,) -> two tensors (N, ...)."""
        generator = generator or default_generator
        alpha, sigma = self._signal_and_noise(t, x0)
        return ops.add_noise(x0, alpha, sigma, generator.seed, generator.next_draw())

    def target(self, x0: Any, noise: Any, t: Any) -> Tensor:
        """What the network should have said: eps, x0 or v."""
        if self.prediction == "eps":
            return noise
        if self.prediction == "x0":
            return x0
        each = (-1,) + (1,) * (x0.ndim - 1)
        alpha, sigma = (a.reshape(each) for a in self._signal_and_noise(t, x0))
        return alpha * noise - sigma * x0

    def loss(self, network: Network, x0: Any, generator: Generator | None = None) -> Tensor:
        """The mean squared error of the prediction at one random timestep per sample (Ho et al. 2020, eq. 14).

        An error of x0 counts 1 / (1 - abar_t) times, but at most 5 times: as the error of v that it amounts to, without
        letting the nearly clean images dominate (Salimans & Ho 2022, section 4; Hang et al. 2023).
        """
        generator = generator or default_generator
        t = self.random_timesteps(len(x0), generator)
        x_t, noise = self.add_noise(x0, t, generator)
        error = network(x_t, t) - self.target(x0, noise, t)
        if self.prediction == "x0":
            weight = np.minimum(1 / (1 - self.alphas_cumprod[t]), LARGEST_WEIGHT)
            error = error * _like(error, np.sqrt(weight).reshape(-1, *[1] * (x0.ndim - 1)))
        return (error * error).mean()

    def random_timesteps(self, n: int, generator: Generator) -> np.ndarray:
        """One timestep for each of n samples, evenly spread: the range is cut into n parts, one draw shifts them all.

        Every batch then covers all noise levels, which makes the loss less noisy (Kingma et al. 2021, appendix I.1).
        """
        u = kernels_on("cpu").uniform((1, 1), generator.seed, generator.next_draw(), dtype=np.float64)[0, 0]
        return ((np.arange(n) + u) / n * self.timesteps).astype(np.int64)

    def sampling_steps(self, steps: int) -> list[tuple[int, float, float]]:
        """(t, abar_t, abar_prev) for `steps` timesteps evenly spread from T - 1 down; the last abar_prev is 1."""
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"Diffusion: sampling steps must be from 1 to {self.timesteps}, got {steps}")
        kept = np.linspace(self.timesteps - 1, 0, steps).round().astype(int)
        abar = [*(float(a) for a in self.alphas_cumprod[kept]), 1.0]
        return [(int(t), abar[i], abar[i + 1]) for i, t in enumerate(kept)]

    def sample(
        self,
        network: Network,
        shape: tuple[int, ...],
        seed: int = 0,
        steps: int = 50,
        method: str = "ddim",
        eta: float = 0.0,
        clip: float | None = 1.0,
        first_sample: int = 0,
        device: str | None = None,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> Tensor:
        """Samples number first_sample, first_sample + 1, ... of a seed, in the given shape (N, ...).

        `method` is 'ddpm' (Ho et al. 2020, algorithm 2) or 'ddim' (Song et al. 2021) with its `eta`; `clip` bounds
        the estimates of x0. Each sample has random numbers of its own: sample i of a seed is the same image
        whichever batch it is computed in, to the bit with the CPU's kernels (but MINIGEN_KERNELS=reference: up to
        rounding), and on whichever device, up to rounding. `device` is by default that of the network's parameters.
        `progress` wraps the loop over steps, as `tqdm.tqdm` does.
        """
        if method not in ("ddpm", "ddim"):
            raise ValueError(f"Diffusion: method {method!r} is unknown: choose 'ddpm' or 'ddim'")
        if method == "ddpm" and eta != 0:
            raise ValueError(f"Diffusion: eta={eta} belongs to method 'ddim'; 'ddpm' has its own noise")
        settings: dict[str, Any] = dict(seed=seed, first_row=first_sample, prediction=self.prediction, clip=clip)
        if method == "ddim":
            settings["eta"] = eta
        step = ops.ddpm_step if method == "ddpm" else ops.ddim_step
        device = _device_of(network) if device is None else device
        with no_grad(), using(device):
            x = Tensor(kernels_on(device).normal(shape, seed, SAMPLING_DRAW, first_sample))
            for draw, (t, abar, abar_prev) in enumerate(progress(self.sampling_steps(steps)), start=SAMPLING_DRAW + 1):
                out = network(x, np.full(shape[0], t))
                x = step(x, Tensor(array_of(out)), abar, abar_prev, draw=draw, **settings)
        return x


def _like(x: Any, values: np.ndarray) -> Array:
    """Values in the dtype of x, a Tensor or an array, and on its device."""
    return to_device(values.astype(x.dtype), device_of(x.data if isinstance(x, Tensor) else x))


def _device_of(network: Network) -> str:
    parameters = network.parameters() if isinstance(network, Module) else iter(())
    return next((p.device for p in parameters), "cpu")
