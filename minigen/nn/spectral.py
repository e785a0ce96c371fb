"""Spectral normalisation: a weight whose largest singular value is held at 1."""

from __future__ import annotations

from typing import Any

import minigen

from .. import ops
from ..random import randn
from ..tensor import Tensor
from .module import Module


class SpectralNorm(Module):
    """weight -> weight / sigma, sigma being its largest singular value (Miyato et al. 2018).

        self.constrain = SpectralNorm(self.conv.weight)                 # beside the layer
        y = F.conv2d(x, self.constrain(self.conv.weight), ...)          # instead of self.conv(x)

    A weight (*kernel, in, out) counts as the matrix W (kernel in, out). Its singular vector u is found by power
    iteration (algorithm 1), one step at each call in training, from where the last one ended:

        v = W u / |W u|,    u = W^T v / |W^T v|,    sigma = |W u|

    `u` is a buffer, saved with the parameters. The gradient takes it as constant: where |W u| is largest, it does not
    matter to the first order. `start` is how many steps are made for the weight that is given first.
    """

    def __init__(self, weight: Tensor, start: int = 20):
        super().__init__()
        self.register_buffer("u", randn(weight.shape[-1], dtype=weight.dtype, device=weight.device).data)
        for _ in range(start):
            self._iterate(_matrix(weight))

    def forward(self, weight: Any) -> Tensor:
        w = _matrix(weight)
        if self.training:
            self._iterate(w)
        return weight / ops.norm(w @ self.u.detach())  # type: ignore[attr-defined]

    def _iterate(self, w: Tensor) -> None:
        with minigen.no_grad():
            v = w @ self.u  # type: ignore[attr-defined]
            u = (v / ops.norm(v)) @ w
            self.u.assign_((u / ops.norm(u)).data)  # type: ignore[attr-defined]


def _matrix(weight: Any) -> Tensor:
    """(*kernel, in, out) -> (kernel in, out)."""
    return weight.reshape(-1, weight.shape[-1])
