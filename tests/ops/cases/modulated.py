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


def draw_modulated_conv(d):
    """Settings; x, weight and style."""
    settings = window(d, 2, ["stride", "padding"]) | dict(
        demodulate=d.choice(True, False, True), eps=d.choice(1e-8, 0.3)
    )
    kernel, channels = [d.size(1, 3), d.size(1, 3)], d.size(1, 3)
    sizes = [max(1, k - 2 * p) + d.size(0, 3) for k, p in zip(kernel, along(settings["padding"], 2), strict=True)]
    x = d.normal((d.batch(), *sizes, channels))
    weight, style = far_from_zero(d, (*kernel, channels, d.size(1, 3))), far_from_zero(d, (len(x), channels))
    return settings, [x, weight, style]


@case("modulated_conv2d")
def _(d):
    settings, inputs = draw_modulated_conv(d)
    return lambda *xs: minigen.modulated_conv2d(*xs, **settings), inputs, modulated_conv_formula(**settings)


@case("modulated_conv2d_leaky_relu")
def _(d):
    settings, inputs = draw_modulated_conv(d)
    conv, slope, gain = modulated_conv_formula(**settings), d.choice(0.0, 0.2, 1.5), d.choice(1.0, 1.4)
    y = conv(*inputs)
    noise = d.normal((d.choice(1, len(y)), *y.shape[1:-1], 1))
    far = 2 + 2 * np.abs(y + noise).max(initial=0)  # from the kink, whatever moves a little
    bias = np.array([far if d.flag() else -far for _ in range(y.shape[-1])])

    def formula(x, weight, style, bias, noise):
        u = conv(x, weight, style) + noise + bias
        return gain * np.where(u < 0, slope * u, u)

    def operation(*xs):
        return minigen.modulated_conv2d_leaky_relu(*xs, **settings, negative_slope=slope, gain=gain)

    return operation, [*inputs, bias, noise], formula


@case("modulated_conv2d_leaky_relu", "without noise and bias")
def _(d):
    settings, (x, weight, style) = draw_modulated_conv(d)
    x, weight, style = np.abs(x) + 0.5, np.abs(weight), np.abs(style)  # the result is positive: no kink
    operation = minigen.modulated_conv2d_leaky_relu
    return lambda *xs: operation(*xs, **settings), [x, weight, style], modulated_conv_formula(**settings)
