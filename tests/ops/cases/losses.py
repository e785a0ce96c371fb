"""Cases of what `minigen/nn/functional.py` adds: the linear layer and the losses."""

import numpy as np

from minigen import F

from .drawing import case


@case("linear")
def _(d):
    *rows, inside, out = d.shape(min_axes=2, max_axes=4, empty=False)
    inputs = [d.normal((*rows, inside)), d.normal((inside, out))]
    if d.flag():
        inputs.append(d.normal((out,)))

    def formula(x, weight, bias=0.0):
        return (x[..., None] * weight).sum(-2) + bias

    return lambda *xs: F.linear(*xs), inputs, formula


def reduced(losses, reduction):
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / max(losses.size, 1)}[reduction]


def draw_reduction(d):
    """How to reduce; not the mean where there may be nothing."""
    shape = d.shape()
    return shape, d.choice("sum", "none") if 0 in shape else d.choice("mean", "sum", "none")


@case("mse_loss")
def _(d):
    shape, reduction = draw_reduction(d)
    inputs = [d.normal(shape), d.normal(shape)]
    return lambda x, t: F.mse_loss(x, t, reduction), inputs, lambda x, t: reduced((x - t) ** 2, reduction)


@case("l1_loss")
def _(d):
    shape, reduction = draw_reduction(d)
    x, target = d.apart(shape, shape)
    return lambda x, t: F.l1_loss(x, t, reduction), [x, target], lambda x, t: reduced(np.abs(x - t), reduction)


@case("huber_loss")
def _(d):
    """Distances away from 0, where the second derivative is the same from both sides but |d| has a kink, and delta."""
    shape, reduction = draw_reduction(d)
    delta = d.choice(1.0, 0.5)
    target = d.normal(shape)
    x = target + d.spaced(shape, kinks=[-delta, 0, delta])

    def formula(x, t):
        far = np.abs(x - t)
        return reduced(np.where(far <= delta, far**2 / 2, delta * (far - delta / 2)), reduction)

    return lambda x, t: F.huber_loss(x, t, delta, reduction), [x, target], formula


@case("cross_entropy")
def _(d):
    shape, reduction = draw_reduction(d)
    classes = d.size(1, 4)
    target = d.integers(0, classes - 1, shape)

    def formula(logits):
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return reduced(-(np.log(p) * (target[..., None] == np.arange(classes))).sum(-1), reduction)

    return lambda x: F.cross_entropy(x, target, reduction), [d.normal((*shape, classes))], formula


@case("binary_cross_entropy_with_logits")
def _(d):
    shape, reduction = draw_reduction(d)
    inputs = [d.normal(shape) * 2, d.rng.random(shape)]

    def formula(x, t):
        p = 1 / (1 + np.exp(-x))
        return reduced(-t * np.log(p) - (1 - t) * np.log(1 - p), reduction)

    return lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction), inputs, formula


@case("kl_standard_normal")
def _(d):
    shape = d.shape(min_axes=1)

    def formula(mean, log_variance):
        return ((mean**2 + np.exp(log_variance) - log_variance - 1) / 2).sum(-1)

    return lambda m, v: F.kl_standard_normal(m, v), [d.normal(shape), d.normal(shape)], formula
