"""Normalisation: subtract the mean, divide by the standard deviation, scale and shift each channel.

They differ in what shares a mean. x is (N, *S, C), with any number of spatial axes S:

    group_norm     one sample's positions and the channels of one group
    instance_norm  one sample's positions, each channel by itself: group_norm with as many groups as channels
    layer_norm     the trailing axes, each position by itself: group_norm with one group and no positions
    batch_norm     the whole batch's positions, each channel by itself
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import check_one_device, kernels_for, on_device_of
from ..tensor import Tensor
from .activation import silu as silu_of
from .elementwise import sqrt
from .reduce import mean, var
from .shape import reshape


def _normalise(x: Tensor, axis: Any, eps: float) -> Tensor:
    return (x - mean(x, axis, keepdims=True)) / sqrt(var(x, axis, keepdims=True) + eps)


def _affine(y: Tensor, weight: Any, bias: Any) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _plain_group_norm(x, weight, bias, *, num_groups, eps, silu):
    """What `group_norm` computes, in plain operations (Wu & He 2018, eq. 1 to 6)."""
    n, *positions, c = x.shape
    grouped = reshape(x, n, math.prod(positions), num_groups, c // num_groups)
    y = _affine(reshape(_normalise(grouped, (1, 3), eps), x.shape), weight, bias)
    return silu_of(y) if silu else y


@primitive(plain=_plain_group_norm, saves=True)
def _group_norm(x, weight, bias, *, num_groups, eps, silu):
    y, x_mean, rstd = kernels_for(x).group_norm(x, num_groups, weight, bias, eps, silu)
    return y, (x_mean, rstd)


@_group_norm.vjp
def _(g, _y, x, weight, bias, *, num_groups, eps, silu, saved):
    weight, bias = (None if p is None else p.data for p in (weight, bias))
    gradients = kernels_for(x.data).group_norm_backward(g.data, x.data, weight, bias, *saved, num_groups, silu)
    return tuple(None if d is None else Tensor(d) for d in gradients)


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """x (N, *S, C), weight and bias (C,) -> like x. Wu & He 2018, "Group Normalization"."""
    return _group_norm(x, weight, bias, num_groups=num_groups, eps=eps, silu=False)


def group_norm_silu(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """silu(group_norm(x, ...)) in one pass over memory."""
    return _group_norm(x, weight, bias, num_groups=num_groups, eps=eps, silu=True)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """x (N, *S, C), weight and bias (C,) -> like x. Ulyanov et al. 2016."""
    if x.ndim < 3:
        raise ValueError(f"instance_norm: x must be (N, *S, C) with at least one spatial axis, got shape {x.shape}")
    return group_norm(x, x.shape[-1], weight, bias, eps)


def _plain_layer_norm(x, weight, bias, *, axes, eps):
    return _affine(_normalise(x, tuple(range(x.ndim - axes, x.ndim)), eps), weight, bias)


@primitive(plain=_plain_layer_norm, saves=True)
def _layer_norm(x, weight, bias, *, axes, eps):
    rows, weight, bias = _in_rows(axes, x, weight, bias)
    y, x_mean, rstd = kernels_for(rows).group_norm(rows, 1, weight, bias, eps)
    return y.reshape(x.shape), (x_mean, rstd)


@_layer_norm.vjp
def _(g, _y, x, weight, bias, *, axes, eps, saved):
    shapes = [x.shape, *[None if p is None else p.shape for p in (weight, bias)]]
    rows = _in_rows(axes, *[None if p is None else p.data for p in (x, weight, bias)])
    gradients = kernels_for(x.data).group_norm_backward(g.data.reshape(rows[0].shape), *rows, *saved, 1)
    return tuple(None if d is None else Tensor(d.reshape(s)) for d, s in zip(gradients, shapes, strict=True))


def _in_rows(axes, x, weight, bias):
    """x as a matrix whose columns are its last `axes` axes, weight and bias as its rows."""
    channels = math.prod(x.shape[-axes:])
    rows = x.reshape(math.prod(x.shape[:-axes]), channels)
    return rows, *[None if p is None else p.reshape(channels) for p in (weight, bias)]


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Over the trailing axes `normalized_shape`, which weight and bias share. Ba et al. 2016."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"layer_norm: the last axes of x {x.shape} are not normalized_shape {shape}")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.shape) != shape:
            raise ValueError(f"layer_norm: {name} has shape {p.shape} but normalized_shape is {shape}")
    return _layer_norm(x, weight, bias, axes=len(shape), eps=eps)


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """x (N, *S, C), all else (C,) -> like x. Ioffe & Szegedy 2015.

    In training the batch's own statistics are used, and the running ones (Tensors, or None) move towards them by
    `momentum`, the variance in its unbiased form; otherwise the running ones are used.
    """
    channels = x.shape[-1]
    for name, p in dict(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias).items():
        if p is not None and tuple(p.shape) != (channels,):
            raise ValueError(f"batch_norm: {name} has shape {p.shape} but x {x.shape} has {channels} channels")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: needs running_mean and running_var unless training=True")
        return _affine((x - running_mean) / sqrt(running_var + eps), weight, bias)
    count = math.prod(x.shape[:-1])
    if count < 2:
        raise ValueError(f"batch_norm: training needs at least 2 values for each channel, x has shape {x.shape}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both running_mean and running_var, or neither")
    over_batch = reshape(x, 1, count, channels)  # one sample, whose channels are groups of their own
    y, (batch_mean, rstd) = _group_norm.run(over_batch, weight, bias, num_groups=channels, eps=eps, silu=False)
    if running_mean is not None and running_var is not None:
        check_one_device("batch_norm", [y.data, running_mean.data, running_var.data])
        with on_device_of(y.data):
            unbiased = np.maximum(rstd[0] ** -2 - x.dtype.type(eps), 0) * (count / (count - 1))
            for running, now in ((running_mean, batch_mean[0]), (running_var, unbiased)):
                running.assign_((1 - momentum) * running.data + momentum * now)
    return reshape(y, x.shape)
