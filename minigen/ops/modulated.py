"""Modulated convolution (StyleGAN2, Karras et al. 2020, arXiv:1912.04958, eq. 1 to 3): each image has its own weight.

A style s (N, I) says how much an image makes of each input channel. It scales the weight; demodulation then scales each
output channel by what it takes to keep a variance of 1:

    w'[n,k,i,o]  = s[n,i] w[k,i,o]                                  (modulation)
    w''[n,k,i,o] = w'[n,k,i,o] d[n,o],  d[n,o] = 1 / sqrt(sum_{k,i} w'[n,k,i,o]^2 + eps)    (demodulation)

A convolution is linear in its weight, and s and d do not depend on the tap k. So the same comes of scaling the channels
of x by s and those of the result by d, with one weight for all; d[n,o] needs sum_i s[n,i]^2 (sum_k w[k,i,o]^2) only.
That is three steps over memory: x is scaled; convolved; and what is left, d, noise, bias and activation, is one more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import kernels_for
from ..tensor import Tensor
from .activation import leaky_relu
from .conv import Ints, conv2d
from .elementwise import sqrt
from .linalg import matmul
from .shape import broadcast_to, expand_dims


def _plain_modulate(x, scale, noise, bias, *, slope, gain):
    y = x if scale is None else x * expand_dims(scale, (1, 2))
    y = y if noise is None else y + noise
    y = y if bias is None else y + bias
    return gain * leaky_relu(y, slope)


@primitive(plain=_plain_modulate)
def _modulate(x, scale, noise, bias, *, slope, gain):
    return kernels_for(x).modulate(x, scale, noise, bias, slope, gain)


@_modulate.vjp
def _(g, _y, x, scale, noise, bias, *, slope, gain):
    parameters = [None if p is None else p.data for p in (scale, noise, bias)]
    gradients = kernels_for(x.data).modulate_backward(g.data, x.data, *parameters, slope, gain)
    return tuple(None if d is None else Tensor(d) for d in gradients)


@primitive
def _squared_over_taps(weight):
    """sum_k w[k,i,o]^2: (kh, kw, I, O) -> (I, O)."""
    return np.einsum("hwio,hwio->io", weight, weight)


@_squared_over_taps.vjp
def _(g, _y, weight):
    return weight * (2 * g)


def modulated_conv2d(
    x: Any,
    weight: Any,
    style: Any,
    demodulate: bool = True,
    stride: Ints = 1,
    padding: Ints = 0,
    eps: float = 1e-8,
) -> Tensor:
    """x (N, H, W, I), weight (kh, kw, I, O), style (N, I) -> (N, H', W', O); sizes as in `conv2d`."""
    y, scale = _convolve("modulated_conv2d", x, weight, style, demodulate, stride, padding, eps)
    return y if scale is None else _modulate(y, scale, None, None, slope=1.0, gain=1.0)


def modulated_conv2d_leaky_relu(
    x: Any,
    weight: Any,
    style: Any,
    bias: Any = None,
    noise: Any = None,
    demodulate: bool = True,
    stride: Ints = 1,
    padding: Ints = 0,
    eps: float = 1e-8,
    negative_slope: float = 0.01,
    gain: float = 1.0,
) -> Tensor:
    """gain leaky_relu(modulated_conv2d(x, ...) + noise + bias, negative_slope): a layer of StyleGAN2 (figure 2d).

    bias (O,); noise (N or 1, H', W', 1), the same for all channels.
    """
    name = "modulated_conv2d_leaky_relu"
    if not negative_slope >= 0:
        raise ValueError(f"{name}: negative_slope must not be negative, got {negative_slope}")
    if bias is not None and tuple(bias.shape) != weight.shape[-1:]:
        raise ValueError(f"{name}: bias has shape {bias.shape} but weight {weight.shape} needs {weight.shape[-1:]}")
    y, scale = _convolve(name, x, weight, style, demodulate, stride, padding, eps)
    if noise is not None:
        needed = (*y.shape[:-1], 1)
        if tuple(noise.shape) not in (needed, (1, *needed[1:])):
            raise ValueError(f"{name}: noise has shape {noise.shape} but needs {needed}, or 1 for all {len(y)} images")
        noise = broadcast_to(noise, needed)
    return _modulate(y, scale, noise, bias, slope=float(negative_slope), gain=float(gain))


def _convolve(
    name: str, x: Any, weight: Any, style: Any, demodulate: bool, stride: Ints, padding: Ints, eps: float
) -> tuple[Tensor, Tensor | None]:
    """The convolution of the scaled x, and d (N, O)."""
    if tuple(style.shape) != (x.shape[0], x.shape[-1]):
        raise ValueError(
            f"{name}: style has shape {style.shape} but needs {(x.shape[0], x.shape[-1])}: "
            f"one number for each image and channel of x {x.shape}"
        )
    scaled = _modulate(x, style, None, None, slope=1.0, gain=1.0)
    y = conv2d(scaled, weight, stride=stride, padding=padding)
    return y, 1 / sqrt(matmul(style * style, _squared_over_taps(weight)) + eps) if demodulate else None
