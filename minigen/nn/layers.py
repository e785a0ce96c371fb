"""Layers with weights, and those that behave differently in training. Shapes and equations: see `functional`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..backend import on_device_of
from ..tensor import Tensor, tensor
from . import functional as F
from . import init
from .module import Module, Parameter


def _empty(*shape: int) -> Parameter:
    return Parameter(np.empty(shape, np.float32))


def _init_weight_and_bias(weight: Parameter, bias: Parameter | None, fan_in: int) -> None:
    """PyTorch's default for linear and convolution layers: both uniform within 1 / sqrt(fan_in)."""
    bound = 1 / math.sqrt(max(fan_in, 1))
    init.uniform_(weight, -bound, bound)
    if bias is not None:
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """(..., in_features) -> (..., out_features): x @ weight + bias, weight (in, out)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = _empty(in_features, out_features)
        self.bias = _empty(out_features) if bias else None
        _init_weight_and_bias(self.weight, self.bias, in_features)

    def forward(self, x: Any) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, bias={self.bias is not None}"


class _Conv(Module):
    """What the convolution layers share."""

    axes: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        **settings: Any,
    ):
        super().__init__()
        kernel = (kernel_size,) * self.axes if isinstance(kernel_size, int) else tuple(kernel_size)
        divided = out_channels if self.transposed else in_channels
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        shape = (in_channels, divided // groups) if self.transposed else (divided // groups, out_channels)
        self.weight = _empty(*kernel, *shape)
        self.bias = _empty(out_channels) if bias else None
        self.settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, **settings)
        _init_weight_and_bias(self.weight, self.bias, math.prod(kernel) * divided // groups)

    def forward(self, x: Any) -> Tensor:
        name = f"conv_transpose{self.axes}d" if self.transposed else f"conv{self.axes}d"
        return getattr(F, name)(x, self.weight, self.bias, **self.settings)

    def extra_repr(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"weight={self.weight.shape}, {settings}, bias={self.bias is not None}"


class Conv1d(_Conv):
    """(N, L, in) -> (N, L', out)."""

    axes = 1


class Conv2d(_Conv):
    """(N, H, W, in) -> (N, H', W', out)."""

    axes = 2


class Conv3d(_Conv):
    """(N, D, H, W, in) -> (N, D', H', W', out)."""

    axes = 3


class _ConvTranspose(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            output_padding=output_padding,
        )


class ConvTranspose1d(_ConvTranspose):
    """(N, L, in) -> (N, L', out)."""

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """(N, H, W, in) -> (N, H', W', out)."""

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """(N, D, H, W, in) -> (N, D', H', W', out)."""

    axes = 3


class _Affine(Module):
    """A norm's weight and bias, 1 and 0 at the start."""

    def __init__(self, shape: tuple[int, ...], affine: bool, eps: float):
        super().__init__()
        self.weight = init.ones_(_empty(*shape)) if affine else None
        self.bias = init.zeros_(_empty(*shape)) if affine else None
        self.eps = eps


class GroupNorm(_Affine):
    """(N, *S, num_channels) -> the same."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}")
        super().__init__((num_channels,), affine, eps)
        self.num_groups = num_groups

    def forward(self, x: Any) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class LayerNorm(_Affine):
    """(..., *normalized_shape) -> the same."""

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        super().__init__(self.normalized_shape, elementwise_affine, eps)

    def forward(self, x: Any) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class InstanceNorm(_Affine):
    """(N, *S, num_features) -> the same, for any number of spatial axes."""

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False):
        super().__init__((num_features,), affine, eps)

    def forward(self, x: Any) -> Tensor:
        return F.instance_norm(x, self.weight, self.bias, self.eps)


class BatchNorm(_Affine):
    """(N, *S, num_features) -> the same, for any number of spatial axes."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True):
        super().__init__((num_features,), affine, eps)
        self.momentum = momentum
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))

    def forward(self, x: Any) -> Tensor:
        running = (self.running_mean, self.running_var)  # type: ignore[attr-defined]
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)


BatchNorm1d = BatchNorm2d = BatchNorm3d = BatchNorm
InstanceNorm1d = InstanceNorm2d = InstanceNorm3d = InstanceNorm


class Embedding(Module):
    """Integers (...) -> (..., embedding_dim): rows of `weight`, normal at the start."""

    def __init__(self, num_embeddings: int, embedding_dim: int):
        super().__init__()
        self.weight = init.normal_(_empty(num_embeddings, embedding_dim))

    def forward(self, indices: Any) -> Tensor:
        return F.embedding(indices, self.weight)


class Dropout(Module):
    """In training, zeroes each element with probability p and divides the rest by 1 - p (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be from 0 up to 1 (excluded), got {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0:
            return x
        x = x if isinstance(x, Tensor) else tensor(x)
        with on_device_of(x.data):
            kept = random.rand(*x.shape, dtype=x.dtype, device=x.device).data >= self.p
            return x * (kept / (1 - self.p)).astype(x.dtype)


class _Activation(Module):
    """A function of `functional` as a module; keyword arguments go to the function."""

    function: str

    def __init__(self, **settings: Any):
        super().__init__()
        self.settings = settings

    def forward(self, x: Any) -> Tensor:
        return getattr(F, self.function)(x, **self.settings)


class ReLU(_Activation):
    function = "relu"


class LeakyReLU(_Activation):
    function = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01):
        super().__init__(negative_slope=negative_slope)


class SiLU(_Activation):
    function = "silu"


class GELU(_Activation):
    function = "gelu"

    def __init__(self, approximate: str = "none"):
        super().__init__(approximate=approximate)


class Softplus(_Activation):
    function = "softplus"


class Sigmoid(_Activation):
    function = "sigmoid"


class Tanh(_Activation):
    function = "tanh"
