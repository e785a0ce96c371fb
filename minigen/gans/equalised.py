"""Layers with an equalised learning rate (Karras et al. 2018, arXiv:1710.10196, section 4.1).

    weight in use = gain / sqrt(fan_in) * weight learned,   weight learned ~ N(0, 1) at the start

The starting values are He's, as ever (unless a layer asks for another `std`). What changes is the speed of learning:
Adam moves every number by about the learning rate, and here all of them are of size 1, so that all layers learn at the
same relative speed, however wide.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..nn import Module, Parameter, init
from ..tensor import Tensor

SLOPE = 0.2  # of every leaky ReLU
GAIN = math.sqrt(2)  # before a leaky ReLU, which about halves the variance


def normal(*shape: int, std: float = 1.0) -> Parameter:
    return init.normal_(Parameter(np.empty(shape, np.float32)), std=std)  # type: ignore[return-value]


def constant(value: float, *shape: int) -> Parameter:
    return Parameter(np.full(shape, value, np.float32))


class EqualisedLinear(Module):
    """(..., in_features) -> (..., out_features). The bias starts at `bias`; `activation`: a leaky ReLU follows; `std`:
    of the learned weight at the start.

    With a `learning_rate` m, all this layer has learned moves m times as fast as elsewhere, from the same start.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: float = 0.0,
        activation: bool = False,
        learning_rate: float = 1.0,
        std: float = 1.0,
    ):
        super().__init__()
        self.weight = normal(in_features, out_features, std=std / learning_rate)  # the rate leaves the start as it is
        self.bias = constant(bias / learning_rate, out_features)
        self.activation, self.learning_rate = activation, learning_rate
        self.scale = learning_rate * (GAIN if activation else 1) / math.sqrt(in_features)

    def forward(self, x: Any) -> Tensor:
        y = x @ (self.weight * self.scale) + self.bias * self.learning_rate
        return ops.leaky_relu(y, SLOPE) if self.activation else y


class EqualisedConv2d(Module):
    """(N, H, W, in) -> (N, H, W, out), or half as high and wide with `stride=2`; padded to keep the size, by default.

    A leaky ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int | None = None,
    ):
        super().__init__()
        self.weight = normal(kernel_size, kernel_size, in_channels, out_channels)
        self.bias = constant(0, out_channels)
        self.scale = GAIN / math.sqrt(kernel_size**2 * in_channels)
        self.padding = kernel_size // 2 if padding is None else padding

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.weight * self.scale
        return ops.conv2d_leaky_relu(x, weight, self.bias, stride, self.padding, negative_slope=SLOPE)
