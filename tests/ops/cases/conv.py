"""Cases of `minigen/ops/conv.py`."""

import numpy as np

import minigen
from minigen.autograd import registry

from .drawing import case


def along(value, axes):
    return (value,) * axes if isinstance(value, int) else value


def window(d, axes, names):
    """Settings, each an int for all axes or a tuple with one for each; small enough in three dimensions."""
    limits = dict(stride=(1, 3), padding=(0, 2), dilation=(1, 2))
    limits = {k: limits[k] for k in names}
    return {
        k: d.int(low, high) if d.flag() else tuple(d.int(low, high) for _ in range(axes))
        for k, (low, high) in limits.items()
    }


def channels(d):
    """Groups, and the channels of each group: one input channel in each makes it depthwise."""
    groups = d.size(1, 3)
    return groups, d.size(1, 2), d.size(1, 2)


def taps(kernel, positions):
    for k in np.ndindex(*kernel):
        for p in np.ndindex(*positions):
            yield k, p


def conv_formula(axes, stride, padding, dilation, groups):
    s, pad, dil = (along(v, axes) for v in (stride, padding, dilation))

    def formula(x, weight, bias=None):
        kernel, (per_group, out) = weight.shape[:axes], weight.shape[axes:]
        sizes = x.shape[1:-1]
        new = [(sizes[a] + 2 * pad[a] - dil[a] * (kernel[a] - 1) - 1) // s[a] + 1 for a in range(axes)]
        y = np.zeros((len(x), *new, out))
        for k, p in taps(kernel, new):
            at = tuple(s[a] * p[a] + dil[a] * k[a] - pad[a] for a in range(axes))
            if all(0 <= i < n for i, n in zip(at, sizes, strict=True)):
                for o in range(out):
                    first = o // (out // groups) * per_group
                    y[:, *p, o] += x[:, *at, first : first + per_group] @ weight[*k, :, o]
        return y if bias is None else y + bias

    return formula


def conv_transpose_formula(axes, stride, padding, output_padding, dilation, groups):
    s, pad, dil, extra = (along(v, axes) for v in (stride, padding, dilation, output_padding))

    def formula(x, weight, bias=None):
        kernel, (channels, per_group) = weight.shape[:axes], weight.shape[axes:]
        sizes = x.shape[1:-1]
        new = [(sizes[a] - 1) * s[a] - 2 * pad[a] + dil[a] * (kernel[a] - 1) + 1 + extra[a] for a in range(axes)]
        y = np.zeros((len(x), *new, per_group * groups))
        for k, p in taps(kernel, sizes):
            at = tuple(s[a] * p[a] + dil[a] * k[a] - pad[a] for a in range(axes))
            if all(0 <= i < n for i, n in zip(at, new, strict=True)):
                for c in range(channels):
                    first = c // (channels // groups) * per_group
                    y[:, *at, first : first + per_group] += x[:, *p, c, None] * weight[*k, c]
        return y if bias is None else y + bias

    return formula


def weight_grad_formula(axes, stride, padding, dilation, groups):
    s, pad, dil = (along(v, axes) for v in (stride, padding, dilation))

    def formula(x, g, kernel):
        sizes, per_group, out = x.shape[1:-1], x.shape[-1] // groups, g.shape[-1]
        weight = np.zeros((*kernel, per_group, out))
        for k, p in taps(kernel, g.shape[1:-1]):
            at = tuple(s[a] * p[a] + dil[a] * k[a] - pad[a] for a in range(axes))
            if all(0 <= i < n for i, n in zip(at, sizes, strict=True)):
                for o in range(out):
                    first = o // (out // groups) * per_group
                    weight[*k, :, o] += g[:, *p, o] @ x[:, *at, first : first + per_group]
        return weight

    return formula


def with_or_without_bias(d, x, weight, out):
    inputs = [d.normal(x), d.normal(weight)]
    return [*inputs, d.normal((out,))] if d.flag() else inputs


def draw_conv(d, axes):
    """Settings, and the shapes of x and of the weight."""
    settings = window(d, axes, ["stride", "padding", "dilation"])
    pad, dil = along(settings["padding"], axes), along(settings["dilation"], axes)
    groups, per_group, out = channels(d)
    settings["groups"] = groups
    kernel = [d.size(1, 3 if axes < 3 else 2) for _ in range(axes)]
    needed = [max(1, dil[a] * (kernel[a] - 1) + 1 - 2 * pad[a]) for a in range(axes)]
    sizes = [n + d.size(0, 3 if axes < 3 else 1) for n in needed]
    return settings, (d.batch(), *sizes, groups * per_group), (*kernel, per_group, groups * out)


def conv(axes):
    operation = getattr(minigen, f"conv{axes}d")

    @case(f"conv{axes}d")
    def _(d):
        settings, x, weight = draw_conv(d, axes)
        inputs = with_or_without_bias(d, x, weight, weight[-1])
        return lambda *xs: operation(*xs, **settings), inputs, conv_formula(axes, **settings)

    @case(f"conv{axes}d", "its weight gradient")
    def _(d):
        """A primitive of its own: differentiated twice, it checks the convolution to third order."""
        settings, x, weight = draw_conv(d, axes)
        for name in ("stride", "padding", "dilation"):
            settings[name] = along(settings[name], axes)
        kernel, formula = weight[:axes], weight_grad_formula(axes, **settings)
        g = conv_formula(axes, **settings)(np.zeros(x), np.zeros(weight)).shape
        operation = registry["conv_weight_grad"]
        return (
            lambda x, g: operation(x, g, kernel_size=kernel, **settings),
            [d.normal(x), d.normal(g)],
            lambda x, g: formula(x, g, kernel),
        )


def conv_transpose(axes):
    operation = getattr(minigen, f"conv_transpose{axes}d")

    @case(f"conv_transpose{axes}d")
    def _(d):
        settings = window(d, axes, ["stride", "dilation"])
        s, dil = along(settings["stride"], axes), along(settings["dilation"], axes)
        groups, per_group, out = channels(d)
        settings["groups"] = groups
        kernel = [d.size(1, 3 if axes < 3 else 2) for _ in range(axes)]
        sizes = [d.size(1, 3 if axes < 3 else 2) for _ in range(axes)]
        extra = settings["output_padding"] = tuple(d.int(0, n - 1) for n in s)
        spare = [(sizes[a] - 1) * s[a] + dil[a] * (kernel[a] - 1) + extra[a] for a in range(axes)]
        settings["padding"] = tuple(d.int(0, min(2, n // 2)) for n in spare)
        x, weight = (d.batch(), *sizes, groups * per_group), (*kernel, groups * per_group, out)
        inputs = with_or_without_bias(d, x, weight, groups * out)
        return lambda *xs: operation(*xs, **settings), inputs, conv_transpose_formula(axes, **settings)


@case("conv2d_leaky_relu")
def _(d):
    settings, x, weight = draw_conv(d, 2)
    plain = conv_formula(2, **settings)
    x, weight = d.normal(x), d.normal(weight)
    far = 1 + 2 * np.abs(plain(np.abs(x), np.abs(weight))).max(initial=0)  # from the kink, whatever moves a little
    bias = np.array([far if d.flag() else -far for _ in range(weight.shape[-1])])
    slope = d.choice(0.0, 0.2, 1.5)

    def formula(x, weight, bias):
        y = plain(x, weight, bias)
        return np.where(y < 0, slope * y, y)

    return lambda *xs: minigen.conv2d_leaky_relu(*xs, **settings, negative_slope=slope), [x, weight, bias], formula


for axes in (1, 2, 3):
    conv(axes)
    conv_transpose(axes)
