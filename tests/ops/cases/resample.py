"""Cases of `minigen/ops/resample.py`."""

import math

import numpy as np

import minigen

from .conv import along
from .drawing import beside, case


def draw_image(d, axes):
    """Different values, so that no window has two largest."""
    limit = {1: 5, 2: 4, 3: 2}[axes]
    return d.spaced((d.batch(), *(d.size(1, limit) for _ in range(axes)), d.size(1, 2)))


@case("interpolate")
def _(d):
    axes = d.int(1, 3)
    factor = d.choice(2, 1.5, 0.5, 3, tuple(d.choice(1, 2, 2.5, 0.7) for _ in range(axes)))
    factors = along(factor, axes) if isinstance(factor, tuple) else (factor,) * axes
    x = draw_image(d, axes)

    def formula(x):
        y = np.empty((len(x), *(math.floor(n * f) for n, f in zip(x.shape[1:-1], factors, strict=True)), x.shape[-1]))
        for place in np.ndindex(y.shape[1:-1]):
            at = [min(math.floor(i / f), n - 1) for i, f, n in zip(place, factors, x.shape[1:-1], strict=True)]
            y[:, *place] = x[:, *at]
        return y

    return lambda x: minigen.interpolate(x, factor), [x], formula


@case("interpolate", "bilinear")
def _(d):
    factor = d.choice(2, 1.5, 0.5, 3, (2, 1), (0.7, 2.5))
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    x = draw_image(d, 2)

    def formula(x):
        """Pixel i covers [i, i + 1]; its value sits at the centre and is that of the nearest centre beyond the edge."""
        h, w = x.shape[1:3]
        y = np.empty((len(x), *(math.floor(n * f) for n, f in zip((h, w), factors, strict=True)), x.shape[-1]))
        for i, j in np.ndindex(y.shape[1:3]):
            row, column = (min(max((p + 0.5) / f - 0.5, 0), n - 1) for p, f, n in zip((i, j), factors, (h, w)))
            top, left = math.floor(row), math.floor(column)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            down, across = row - top, column - left
            upper = x[:, top, left] * (1 - across) + x[:, top, right] * across
            lower = x[:, bottom, left] * (1 - across) + x[:, bottom, right] * across
            y[:, i, j] = upper * (1 - down) + lower * down
        return y

    return lambda x: minigen.interpolate(x, factor, "bilinear"), [x], formula


@case("upfirdn2d")
def _(d):
    x, taps = draw_image(d, 2), d.normal(d.choice(4, 1, 2, 3, 6))
    k, (up, down) = len(taps), (d.choice(2, 1, 3, (1, 2)) for _ in range(2))
    ups, downs = along(up, 2), along(down, 2)
    sizes = [n * u for n, u in zip(x.shape[1:3], ups, strict=True)]

    def pad(*sizes):
        before, after = d.int(-1, 3), d.int(-1, 3)
        return before, after + max(0, k - min(sizes) - before - after)

    pads = [pad(*sizes)] * 2 if d.flag() else [pad(n) for n in sizes]
    settings = dict(up=up, down=down, padding=pads[0] if pads[0] == pads[1] else tuple(pads))

    def formula(x):
        """Zeros put in, then around; a loop over the outputs, each a sum of a convolution: the taps run backwards."""
        spread = np.zeros((len(x), x.shape[1] * ups[0], x.shape[2] * ups[1], x.shape[3]))
        spread[:, :: ups[0], :: ups[1]] = x
        wide = np.pad(spread, [(0, 0), (9, 9), (9, 9), (0, 0)])
        (top, bottom), (left, right) = pads
        wide = wide[:, 9 - top : wide.shape[1] - 9 + bottom, 9 - left : wide.shape[2] - 9 + right]
        y = np.empty((len(x), *[(n - k) // s + 1 for n, s in zip(wide.shape[1:3], downs, strict=True)], x.shape[3]))
        for i, j in np.ndindex(y.shape[1:3]):
            seen = wide[:, i * downs[0] :, j * downs[1] :][:, :k, :k]
            y[:, i, j] = np.einsum("nabc,a,b->nc", seen, taps[::-1], taps[::-1])
        return y

    def operation(x):
        return minigen.upfirdn2d(x, beside(x, minigen.tensor(taps).astype(x.dtype)), **settings)

    return operation, [x], formula


def draw_windows(d, axes):
    """An image and windows that fit it, overlapping and padded ones too; each setting an int or a tuple."""
    limit = 3 if axes < 3 else 2
    settings = dict(kernel_size=tuple(d.size(1, limit) for _ in range(axes)))
    if d.flag():
        settings["stride"] = d.choice(1, 2, tuple(d.int(1, 3) for _ in range(axes)))
    if d.flag():
        settings["padding"] = tuple(d.int(0, k // 2) for k in settings["kernel_size"])
    if len(set(settings["kernel_size"])) == 1 and d.flag():
        settings["kernel_size"] = settings["kernel_size"][0]
    kernel, padding = (along(v, axes) for v in (settings["kernel_size"], settings.get("padding", 0)))
    sizes = [max(1, k - 2 * p) + d.size(0, limit) for k, p in zip(kernel, padding, strict=True)]
    return d.spaced((d.batch(), *sizes, d.size(1, 2))), settings


def windows(x, kernel_size, stride=None, padding=0):
    """(place, the elements of x there, how many the window has with the padding): a loop over the windows."""
    axes = x.ndim - 2
    kernel, step, pad = (along(v, axes) for v in (kernel_size, kernel_size if stride is None else stride, padding))
    sizes = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[1:-1], pad, kernel, step, strict=True)]
    for place in np.ndindex(*sizes):
        starts = [s * i - p for s, i, p in zip(step, place, pad, strict=True)]
        part = tuple(slice(max(b, 0), max(b + k, 0)) for b, k in zip(starts, kernel, strict=True))
        yield sizes, place, x[:, *part].reshape(len(x), -1 if x.size else 1, x.shape[-1]), math.prod(kernel)


def pooling(x, function, **settings):
    y = None
    for sizes, place, inside, count in windows(x, **settings):
        y = np.empty((len(x), *sizes, x.shape[-1])) if y is None else y
        y[:, *place] = function(inside, count)
    return y


def pools(axes):
    average, largest = getattr(minigen, f"avg_pool{axes}d"), getattr(minigen, f"max_pool{axes}d")

    @case(f"avg_pool{axes}d")
    def _(d):
        x, settings = draw_windows(d, axes)
        counted = d.choice(None, True, False)
        told = {} if counted is None else dict(count_include_pad=counted)

        def mean(inside, count):
            return inside.sum(1) / (inside.shape[1] if counted is False else count)

        return lambda x: average(x, **settings, **told), [x], lambda x: pooling(x, mean, **settings)

    @case(f"max_pool{axes}d")
    def _(d):
        x, settings = draw_windows(d, axes)
        return (
            lambda x: largest(x, **settings),
            [x],
            lambda x: pooling(x, lambda inside, _: inside.max(1), **settings),
        )


for axes in (1, 2, 3):
    pools(axes)
