"""Cases of `minigen/ops/modulated.py`."""

import numpy as np

import minigen

from .conv import along, conv_formula, window
from .drawing import case


def modulated_conv_formula(demodulate, stride, padding, eps):
    """The definition: a weight for each image (Karras et al. 2020, eq. 1 and 3), and a convolution for each."""
    plain = conv_formula(2, stride, padding, dilation=1, groups=1)

    def formula(x, weight, style):
        y = np.zeros(plain(x, weight).shape)
        for n, scales in enumerate(style):
            modulated = weight * scales[:, None]
            if demodulate:
                modulated = modulated / np.sqrt((modulated**2).sum((0, 1, 2)) + eps)
            y[n] = plain(x[n : n + 1], modulated)[0]
        return y

    return formula


def far_from_zero(d, shape):
    """Numbers from 0.5 to 2 of either sign: at 0 a channel's norm has a kink, and close to it a second derivative that
    float32 has no digits for (1 / |w|^3, of which demodulation cancels nearly all)."""
    return np.where(d.bools(shape), 1, -1) * d.spaced(shape, low=0.5, high=2.0)


@case("modulated_conv2d")
def _(d):
    settings = window(d, 2, ["stride", "padding"]) | dict(
        demodulate=d.choice(True, False, True), eps=d.choice(1e-8, 0.3)
    )
    kernel, channels = [d.size(1, 3), d.size(1, 3)], d.size(1, 3)
    sizes = [max(1, k - 2 * p) + d.size(0, 3) for k, p in zip(kernel, along(settings["padding"], 2), strict=True)]
    x = d.normal((d.batch(), *sizes, channels))
    weight, style = far_from_zero(d, (*kernel, channels, d.size(1, 3))), far_from_zero(d, (len(x), channels))
    return lambda *xs: minigen.modulated_conv2d(*xs, **settings), [x, weight, style], modulated_conv_formula(**settings)
