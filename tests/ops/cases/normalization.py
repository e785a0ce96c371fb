"""Cases of `minigen/ops/normalization.py`. Values are spaced, so that no variance is close to 0 unless it is 0."""

import math

import numpy as np

import minigen

from .drawing import beside, case


def normalise(values, eps):
    return (values - values.mean()) / math.sqrt(((values - values.mean()) ** 2).mean() + eps)


def draw_affine(d, shape):
    """None, a weight, a bias, or both: as inputs, and a function that tells them apart again."""
    weight, bias = d.flag(), d.flag()
    inputs = [d.normal(shape) for given in (weight, bias) if given]
    return inputs, lambda given: (given[0] if weight else None, given[-1] if bias else None)


def affine(y, weight, bias):
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def group_norm(name, silu):
    operation = getattr(minigen, name)

    @case(name)
    def _(d):
        groups, each, eps = d.size(1, 3), d.size(1, 3), d.choice(1e-5, 0.1)
        shape = (d.batch(), *(d.size(1, 3) for _ in range(d.int(0, 1 if d.tiny else 3))), groups * each)
        while math.prod(shape) > 50:
            shape = (*shape[:1], *shape[2:])
        rest, split = draw_affine(d, (groups * each,))

        def formula(x, *rest):
            y = np.empty(x.shape)
            for i, g in np.ndindex(len(x), groups):
                own = slice(g * each, (g + 1) * each)
                y[i, ..., own] = normalise(x[i, ..., own], eps)
            y = affine(y, *split(rest))
            return y / (1 + np.exp(-y)) if silu else y

        return lambda x, *rest: operation(x, groups, *split(rest), eps=eps), [d.spaced(shape), *rest], formula


group_norm("group_norm", silu=False)
group_norm("group_norm_silu", silu=True)


@case("instance_norm")
def _(d):
    eps, channels = d.choice(1e-5, 0.1), d.size(1, 3)
    shape = (d.batch(), *(d.size(1, 3) for _ in range(d.int(1, 1 if d.tiny else 2))), channels)
    rest, split = draw_affine(d, (channels,))

    def formula(x, *rest):
        y = np.empty(x.shape)
        for i, c in np.ndindex(len(x), channels):
            y[i, ..., c] = normalise(x[i, ..., c], eps)
        return affine(y, *split(rest))

    return lambda x, *rest: minigen.instance_norm(x, *split(rest), eps=eps), [d.spaced(shape), *rest], formula


@case("layer_norm")
def _(d):
    eps, shape = d.choice(1e-5, 0.1), d.shape(min_axes=1, empty=False)
    if len(shape) > 1 and d.rarely():
        shape = (0, *shape[1:])
    last = d.int(1, max(1, len(shape) - 1))
    own = shape[-last:]
    rest, split = draw_affine(d, own)
    normalized_shape = own[0] if last == 1 and d.flag() else own

    def formula(x, *rest):
        y = np.empty(x.shape)
        for place in np.ndindex(x.shape[:-last]):
            y[place] = normalise(x[place], eps)
        return affine(y, *split(rest))

    return (
        lambda x, *rest: minigen.layer_norm(x, normalized_shape, *split(rest), eps=eps),
        [d.spaced(shape), *rest],
        formula,
    )


@case("batch_norm")
def _(d):
    """With given statistics, which are differentiated as well."""
    eps, shape = d.choice(1e-5, 0.1), d.shape(min_axes=2)
    channels = shape[-1]
    rest, split = draw_affine(d, (channels,))
    inputs = [d.normal(shape), d.normal((channels,)), d.spaced((channels,), 0.3, 2), *rest]

    def formula(x, mean, variance, *rest):
        return affine((x - mean) / np.sqrt(variance + eps), *split(rest))

    return lambda x, m, v, *rest: minigen.batch_norm(x, m, v, *split(rest), eps=eps), inputs, formula


@case("batch_norm", "in training")
def _(d):
    eps, shape = d.choice(1e-5, 0.1), d.shape(min_axes=2, empty=False)
    shape = (max(shape[0], 2), *shape[1:])
    channels = shape[-1]
    rest, split = draw_affine(d, (channels,))
    running = d.flag()

    def function(x, *rest):
        mean, var = (beside(x, minigen.tensor(np.ones(channels), x.dtype)) if running else None for _ in range(2))
        return minigen.batch_norm(x, mean, var, *split(rest), training=True, eps=eps)

    def formula(x, *rest):
        y = np.empty(x.shape)
        for c in range(channels):
            y[..., c] = normalise(x[..., c], eps)
        return affine(y, *split(rest))

    return function, [d.spaced(shape), *rest], formula
