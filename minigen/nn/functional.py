"""Everything a network computes, as functions: the operations of `minigen.ops`, and the losses below.

Losses average over all elements unless `reduction` is 'sum' or 'none'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import *  # noqa: F403
from ..ops import abs, clip, exp, gather, log_softmax, matmul, mean, softplus, sum
from ..ops.index import integers
from ..tensor import Tensor


def _reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{name}: reduction {reduction!r} is unknown: choose 'mean', 'sum' or 'none'")
    return mean(losses) if reduction == "mean" else sum(losses)


def _check_same_shape(name: str, x: Any, target: Any) -> None:
    if np.shape(x) != np.shape(target):
        shapes = f"the input has shape {np.shape(x)} but the target {np.shape(target)}"
        raise ValueError(f"{name}: {shapes}; they must agree")


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x (..., in), weight (in, out), bias (out,) -> (..., out)."""
    if x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"linear: x has {x.shape[-1] if x.ndim else 'no'} features (last axis of {x.shape}) "
            f"but weight {weight.shape} takes {weight.shape[0]}"
        )
    y = matmul(x, weight)
    return y if bias is None else y + bias


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2."""
    _check_same_shape("mse_loss", x, target)
    d = x - target
    return _reduce("mse_loss", d * d, reduction)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|."""
    _check_same_shape("l1_loss", x, target)
    return _reduce("l1_loss", abs(x - target), reduction)


def huber_loss(x: Any, target: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d^2 / 2 up to |d| = delta, and linear from there (Huber 1964)."""
    _check_same_shape("huber_loss", x, target)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    d = x - target
    within = clip(d, -delta, delta)
    return _reduce("huber_loss", within * (d - 0.5 * within), reduction)


def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Tensor:
    """-log softmax(logits)[target]. logits (..., classes), target (...) integers."""
    if np.shape(target) != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} have classes on the last axis, so the target must have shape "
            f"{logits.shape[:-1]}, got {np.shape(target)}"
        )
    classes = integers("cross_entropy", target, logits, -1)
    picked = gather(log_softmax(logits, -1), classes[..., None], -1)
    return _reduce("cross_entropy", -picked.reshape(classes.shape), reduction)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """-target log sigmoid(x) - (1 - target) log(1 - sigmoid(x)), which is softplus(x) - x target."""
    _check_same_shape("binary_cross_entropy_with_logits", x, target)
    return _reduce("binary_cross_entropy_with_logits", softplus(x) - x * target, reduction)


def kl_standard_normal(mean: Any, log_variance: Any) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), summed over the last axis: (..., C) -> (...).

    Kingma & Welling 2014, appendix B: 1/2 sum(mean^2 + variance - log variance - 1).
    """
    _check_same_shape("kl_standard_normal", mean, log_variance)
    return 0.5 * sum(mean * mean + exp(log_variance) - log_variance - 1, -1)
