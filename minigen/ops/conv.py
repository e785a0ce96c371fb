"""Convolution over 1, 2 or 3 spatial axes, channels last, closed under differentiation.

Three primitives, each the derivative of the others, so every order of derivative runs on the same kernels:

    y  = conv(x, w)                y[n,p,o] = sum over taps k and channels c of  x[n, s p + d k - pad, c] w[k,c,o]
    dx = conv_transpose(g, w^T)    w^T swaps the last two axes of w
    dw = conv_weight_grad(x, g)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import kernels_for
from ..tensor import Tensor
from .activation import leaky_relu
from .elementwise import activation_gradient, where
from .reduce import sum
from .shape import swapaxes

Ints = int | tuple[int, ...]


@primitive
def _conv(x, weight, bias, **settings):
    return kernels_for(x).conv(x, weight, bias, **settings)


@_conv.vjp
def _(g, _y, x, weight, _bias, **settings):
    return (
        lambda: _input_grad(g, x.shape, weight, settings),
        lambda: _conv_weight_grad(x, g, kernel_size=weight.shape[:-2], **settings),
        lambda: _bias_grad(g),
    )


def _plain_conv_leaky_relu(x, weight, bias, *, slope, **settings):
    return leaky_relu(_conv(x, weight, bias, **settings), slope)


@primitive(plain=_plain_conv_leaky_relu)
def _conv_leaky_relu(x, weight, bias, *, slope, **settings):
    return kernels_for(x).conv(x, weight, bias, **settings, slope=slope)


@_conv_leaky_relu.vjp
def _(g, y, x, weight, _bias, *, slope, **settings):
    g = activation_gradient("leaky_relu", g, y, lambda: where(y > 0, g, g * slope), slope)  # y has the sign of conv's
    return _conv.rule(g, None, x, weight, _bias, **settings)


def _input_grad(g: Tensor, x_shape: tuple[int, ...], weight: Tensor, settings: dict) -> Tensor:
    """The convolution's gradient with respect to an input of shape `x_shape`."""
    sizes = zip(x_shape[1:-1], weight.shape, *[settings[s] for s in ("stride", "padding", "dilation")], strict=False)
    unread = tuple((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in sizes)  # at the end, where no tap lands
    return _conv_transpose(g, swapaxes(weight, -1, -2), None, output_padding=unread, **settings)


def _bias_grad(g: Tensor) -> Tensor:
    return sum(g, axis=tuple(range(g.ndim - 1)))


@primitive
def _conv_transpose(x, weight, bias, **settings):
    return kernels_for(x).conv_transpose(x, weight, bias, **settings)


@_conv_transpose.vjp
def _(g, _y, x, weight, _bias, output_padding, **settings):
    return (
        lambda: _conv(g, swapaxes(weight, -1, -2), None, **settings),
        lambda: swapaxes(_conv_weight_grad(g, x, kernel_size=weight.shape[:-2], **settings), -1, -2),
        lambda: _bias_grad(g),
    )


@primitive
def _conv_weight_grad(x, g, *, kernel_size, **settings):
    return kernels_for(x).conv_weight_grad(x, g, kernel_size, **settings)


@_conv_weight_grad.vjp
def _(h, _y, x, g, *, kernel_size, **settings):
    # h has the shape of a weight, and plays its part
    return lambda: _input_grad(g, x.shape, h, settings), lambda: _conv(x, h, None, **settings)


def _call(axes: int, op: Any, x: Any, weight: Any, bias: Any, **settings: Any) -> Tensor:
    """Checks the number of spatial axes and spells int settings out: stride=2 becomes (2, 2)."""
    name = op.name + f"{axes}d"
    layout = {1: "(N, L, C)", 2: "(N, H, W, C)", 3: "(N, D, H, W, C)"}[axes]
    if x.ndim != axes + 2:
        raise ValueError(f"{name}: x must be {layout}, got shape {x.shape}")
    for key, value in settings.items():
        if key not in ("groups", "slope") and isinstance(value, (int, np.integer)):
            settings[key] = (value,) * axes
    return op(x, weight, bias, **settings)


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1, groups: int = 1
) -> Tensor:
    """x (N, L, C), weight (k, C/groups, O), bias (O,) -> (N, L', O) with
    L' = (L + 2 padding - dilation (k - 1) - 1) // stride + 1."""
    return _call(1, _conv, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1, groups: int = 1
) -> Tensor:
    """x (N, H, W, C), weight (kh, kw, C/groups, O), bias (O,) -> (N, H', W', O); sizes as in `conv1d`."""
    return _call(2, _conv, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv2d_leaky_relu(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    negative_slope: float = 0.01,
) -> Tensor:
    """leaky_relu(conv2d(x, ...), negative_slope) in one pass over memory; with negative_slope 0, a relu."""
    if not negative_slope >= 0:
        raise ValueError(f"conv2d_leaky_relu: negative_slope must not be negative, got {negative_slope}")
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _call(2, _conv_leaky_relu, x, weight, bias, slope=float(negative_slope), **settings)


def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1, groups: int = 1
) -> Tensor:
    """x (N, D, H, W, C), weight (kd, kh, kw, C/groups, O), bias (O,) -> (N, D', H', W', O)."""
    return _call(3, _conv, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """x (N, L, C), weight (k, C, O/groups), bias (O,) -> (N, L', O),
    L' = (L - 1) stride - 2 pad + dil (k - 1) + 1 + output_padding."""
    settings = dict(stride=stride, padding=padding, output_padding=output_padding, dilation=dilation, groups=groups)
    return _call(1, _conv_transpose, x, weight, bias, **settings)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """x (N, H, W, C), weight (kh, kw, C, O/groups), bias (O,) -> (N, H', W', O); sizes as in 1-D."""
    settings = dict(stride=stride, padding=padding, output_padding=output_padding, dilation=dilation, groups=groups)
    return _call(2, _conv_transpose, x, weight, bias, **settings)


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """x (N, D, H, W, C), weight (kd, kh, kw, C, O/groups), bias (O,) -> (N, D', H', W', O)."""
    settings = dict(stride=stride, padding=padding, output_padding=output_padding, dilation=dilation, groups=groups)
    return _call(3, _conv_transpose, x, weight, bias, **settings)
