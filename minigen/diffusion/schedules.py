"""Noise schedules: how much of the data is left at each of T timesteps.

Each function gives `alphas_cumprod`, float64 of shape (T,): entry t is the share of the data in the variance of

    x_t = sqrt(alphas_cumprod[t]) x0 + sqrt(1 - alphas_cumprod[t]) noise,

near 1 at t = 0 and near 0 at t = T - 1. The variance that step t adds is beta_t = 1 - alphas_cumprod[t] /
alphas_cumprod[t - 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LARGEST_BETA = 0.999  # a beta of 1 would leave nothing to go back from


def linear_schedule(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> np.ndarray:
    """beta rises in a line (Ho et al. 2020, section 4). Stated for 1000 steps; for T steps, betas are 1000/T times
    as large, so that the end is as noisy."""
    scale = 1000 / timesteps
    betas = np.linspace(scale * beta_start, scale * beta_end, timesteps)
    return np.cumprod(1 - np.minimum(betas, LARGEST_BETA))


def scaled_linear_schedule(timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> np.ndarray:
    """sqrt(beta) rises in a line (Rombach et al. 2022, latent diffusion). Scaled for T as `linear_schedule`."""
    scale = 1000 / timesteps
    betas = scale * np.linspace(beta_start**0.5, beta_end**0.5, timesteps) ** 2
    return np.cumprod(1 - np.minimum(betas, LARGEST_BETA))


def cosine_schedule(timesteps: int, offset: float = 0.008) -> np.ndarray:
    """alphas_cumprod falls as a squared cosine (Nichol & Dhariwal 2021, eq. 17)."""
    t = np.arange(timesteps + 1) / timesteps
    return _from_curve(np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2)


def sigmoid_schedule(timesteps: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> np.ndarray:
    """alphas_cumprod falls as a sigmoid (Jabri et al. 2022, algorithm in appendix B)."""
    t = np.arange(timesteps + 1) / timesteps
    falling = 1 / (1 + np.exp((t * (end - start) + start) / tau))
    return _from_curve((falling - falling[-1]) / (falling[0] - falling[-1]))


def zero_terminal_snr(alphas_cumprod: np.ndarray) -> np.ndarray:
    """A schedule whose last step is pure noise: sqrt(alphas_cumprod) is shifted to end at 0, and scaled to begin as it
    did (Lin et al. 2024, arXiv:2305.08891, algorithm 1). Sampling begins from pure noise, so training should know it.
    """
    root = np.sqrt(alphas_cumprod)
    if len(root) < 2:
        raise ValueError(f"zero_terminal_snr: needs two timesteps or more, got {len(root)}")
    return (root[0] * (root - root[-1]) / (root[0] - root[-1])) ** 2


def _from_curve(curve: np.ndarray) -> np.ndarray:
    """alphas_cumprod at steps 1 to T of a curve given at 0 to T, with each beta bounded."""
    betas = 1 - curve[1:] / curve[:-1]
    return np.cumprod(1 - np.minimum(betas, LARGEST_BETA))


SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "sigmoid": sigmoid_schedule,
    "scaled_linear": scaled_linear_schedule,
}
