"""Modulated convolution (StyleGAN2, Karras et al. 2020, arXiv:1912.04958, eq. 1 to 3): each image has its own weight.

A style s (N, I) says how much an image makes of each input channel. It scales the weight; demodulation then scales each
output channel by what it takes to keep a variance of 1:

    w'[n,k,i,o]  = s[n,i] w[k,i,o]                                  (modulation)
    w''[n,k,i,o] = w'[n,k,i,o] d[n,o],  d[n,o] = 1 / sqrt(sum_{k,i} w'[n,k,i,o]^2 + eps)    (demodulation)

A convolution is linear in its weight, and s and d do not depend on the tap k. So the same comes of scaling the channels
of x by s and those of the result by d, with one weight for all; d[n,o] needs sum_i s[n,i]^2 (sum_k w[k,i,o]^2) only.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .conv import Ints, conv2d
from .elementwise import sqrt
from .linalg import matmul
from .reduce import sum
from .shape import expand_dims


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
    if tuple(style.shape) != (x.shape[0], x.shape[-1]):
        raise ValueError(
            f"modulated_conv2d: style has shape {style.shape} but needs {(x.shape[0], x.shape[-1])}: "
            f"one number for each image and channel of x {x.shape}"
        )
    y = conv2d(x * expand_dims(style, (1, 2)), weight, stride=stride, padding=padding)
    if not demodulate:
        return y
    rstd = 1 / sqrt(matmul(style * style, sum(weight * weight, (0, 1))) + eps)  # (N, O)
    return y * expand_dims(rstd, (1, 2))
