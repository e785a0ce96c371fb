"""Starting values for weights. Each function fills a tensor in place, and returns it.

Weights are stored as (*kernel, in, out): fan_in is the product of all axes but the last, fan_out of all but the one
before it.
"""

from __future__ import annotations

import math

import numpy as np

from .. import random
from ..backend import on_device_of
from ..tensor import Tensor


def _fans(t: Tensor) -> tuple[int, int]:
    if t.ndim < 2:
        raise ValueError(f"init: fan-in and fan-out need a weight (*kernel, in, out), got shape {t.shape}")
    taps = math.prod(t.shape[:-2])
    return taps * t.shape[-2], taps * t.shape[-1]


def zeros_(t: Tensor) -> Tensor:
    return constant_(t, 0.0)


def ones_(t: Tensor) -> Tensor:
    return constant_(t, 1.0)


def constant_(t: Tensor, value: float) -> Tensor:
    with on_device_of(t.data):
        return t.assign_(np.full_like(t.data, value))


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    with on_device_of(t.data):
        return t.assign_(mean + std * random.randn(*t.shape, dtype=t.dtype, device=t.device).data)


def uniform_(t: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    with on_device_of(t.data):
        return t.assign_(low + (high - low) * random.rand(*t.shape, dtype=t.dtype, device=t.device).data)


def kaiming_normal_(t: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    """Standard deviation gain / sqrt(fan_in); the gain sqrt(2) suits ReLU (He et al. 2015, eq. 10)."""
    return normal_(t, 0.0, gain / math.sqrt(_fans(t)[0]))


def kaiming_uniform_(t: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    """As `kaiming_normal_`, uniform: the bound is sqrt(3) times the standard deviation."""
    bound = gain * math.sqrt(3 / _fans(t)[0])
    return uniform_(t, -bound, bound)


def xavier_normal_(t: Tensor, gain: float = 1.0) -> Tensor:
    """Standard deviation gain sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12)."""
    return normal_(t, 0.0, gain * math.sqrt(2 / sum(_fans(t))))


def xavier_uniform_(t: Tensor, gain: float = 1.0) -> Tensor:
    """As `xavier_normal_`, uniform (Glorot & Bengio 2010, eq. 16)."""
    bound = gain * math.sqrt(6 / sum(_fans(t)))
    return uniform_(t, -bound, bound)
