"""Cases of `minigen/ops/elementwise.py`."""

import math

import numpy as np

import minigen

from .drawing import beside, case

erf = np.vectorize(math.erf, otypes=[float])


def unary(name, formula, low=-2.0, high=2.0, kinks=()):
    operation = getattr(minigen, name)

    @case(name)
    def _(d):
        return lambda x: operation(x), [d.spaced(d.shape(), low, high, kinks)], formula


unary("negative", lambda x: 0 - x)
unary("abs", lambda x: np.where(x < 0, -x, x), kinks=[0])
unary("exp", lambda x: math.e**x)
unary("log", np.log, 0.3, 3)
unary("log1p", lambda x: np.log(1 + x), -0.6, 2)
unary("expm1", lambda x: np.exp(x) - 1)
unary("sqrt", lambda x: x**0.5, 0.3, 3)
unary("erf", erf)
unary("sin", lambda x: np.exp(1j * x).imag)
unary("cos", lambda x: np.exp(1j * x).real)
unary("tan", lambda x: np.sin(x) / np.cos(x), -1.2, 1.2)
unary("arctan", lambda x: np.angle(1 + 1j * x))
unary("tanh", lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1))


def binary(name, formula, positive=False, kinks=()):
    """Two arrays, and an array with a number on either side."""
    operation = getattr(minigen, name)
    low = 0.3 if positive else -2.0

    @case(name)
    def _(d):
        return lambda a, b: operation(a, b), d.apart(*d.broadcast(2), low=low, kinks=kinks), formula

    @case(name, "with a number")
    def _(d):
        number = d.choice(2, 0.5) if positive else d.choice(2, 0.5, -1.5)
        x = d.spaced(d.shape(), low, kinks=(*kinks, number))
        if d.flag():
            return lambda a: operation(a, number), [x], lambda a: formula(a, number)
        return lambda b: operation(number, b), [x], lambda b: formula(number, b)


binary("add", lambda a, b: a - (-b))
binary("subtract", lambda a, b: a + (-b))
binary("multiply", lambda a, b: a * b)
binary("divide", lambda a, b: a * (1 / b), kinks=[0])
binary("power", lambda a, b: np.exp(b * np.log(a)), positive=True)
binary("maximum", lambda a, b: np.where(np.greater(a, b), a, b))
binary("minimum", lambda a, b: np.where(np.less(a, b), a, b))


@case("power", "with a whole exponent")
def _(d):
    """Bases of both signs, and 0 where that is smooth."""
    p = d.choice(0, 1, 2, 3, 2.0, -1, -2)
    x = d.spaced(d.shape(), kinks=[0] if p < 0 else [])
    if p < 0:
        x += np.copysign(0.5, x)  # away from the pole, whose higher derivatives difference quotients cannot follow
    if p >= 0 and x.size:
        x.flat[0] = 0.0
    product = (lambda x: math.prod([x] * int(p), start=np.ones_like(x))) if p >= 0 else lambda x: 1 / x ** int(-p)
    return lambda x: minigen.power(x, p), [x], product


@case("power", "with an integer tensor")
def _(d):
    shape, p_shape = d.broadcast(2)
    p, x = d.integers(0, 3, p_shape), d.normal(shape)
    if x.size:
        x.flat[0] = 0.0
    return lambda x: minigen.power(x, beside(x, p)), [x], lambda x: x ** p.astype(float)


@case("clip")
def _(d):
    low, high = d.choice((-1, 1), (-0.5, 0.7), (None, 0.3), (0.0, None), (None, None), (1.0, 1.0))
    x = d.spaced(d.shape(), kinks=[k for k in (low, high) if k is not None])

    def formula(x):
        x = x if low is None else np.where(x < low, low, x)
        return x if high is None else np.where(x > high, high, x)

    return lambda x: minigen.clip(x, low, high), [x], formula


@case("clip", "to tensors")
def _(d):
    x, low, high = d.apart(*d.broadcast(3), low=0.1)
    x = x * d.rng.choice([-1.0, 1.0], x.shape)
    low, high = (low, -high) if d.rarely() else (-low, high)  # crossed: then everything becomes the high one

    def formula(x, low, high):
        y = np.where(x < low, low, x)
        return np.where(y > high, high, y)

    return lambda x, low, high: minigen.clip(x, low, high), [x, low, high], formula


@case("where")
def _(d):
    shapes = d.broadcast(3)
    condition, (a, b) = d.bools(shapes[0]), d.apart(*shapes[1:])
    if d.flag():
        condition = minigen.tensor(condition)
    mask = np.asarray(condition)
    return lambda a, b: minigen.where(beside(a, condition), a, b), [a, b], lambda a, b: np.choose(mask, [b, a])


@case("where", "with a number")
def _(d):
    shapes = d.broadcast(2)
    condition, x, number = d.bools(shapes[0]), d.normal(shapes[1]), d.choice(0, 1.5, -np.inf)
    number = 2.0 if number == -np.inf else number  # infinite weights have no difference quotient
    if d.flag():
        return (
            lambda x: minigen.where(beside(x, condition), x, number),
            [x],
            lambda x: np.choose(condition, [number, x]),
        )
    return lambda x: minigen.where(beside(x, condition), number, x), [x], lambda x: np.choose(condition, [x, number])


@case("astype")
def _(d):
    return lambda x: minigen.astype(x, x.dtype), [d.normal(d.shape())], lambda x: x + 0


# Without gradient


@case("sign", differentiable=False)
def _(d):
    x = d.integers(-2, 2, d.shape()) / 2.0
    return lambda x: minigen.sign(x), [x], lambda x: (x > 0) * 1.0 - (x < 0) * 1.0


def comparison(name, symbol):
    """Numbers of which many are equal."""
    operation = getattr(minigen, name)

    @case(name, differentiable=False)
    def _(d):
        a, b = (d.integers(-1, 1, s) / 2.0 for s in d.broadcast(2))
        loop = np.vectorize(lambda u, v: symbol((u > v) - (u < v)), otypes=[bool])
        if d.flag():
            return lambda a: operation(a, 0.5), [a], lambda a: loop(a, 0.5)
        return lambda a, b: operation(a, b), [a, b], loop


comparison("equal", lambda order: order == 0)
comparison("not_equal", lambda order: order != 0)
comparison("less", lambda order: order < 0)
comparison("less_equal", lambda order: order <= 0)
comparison("greater", lambda order: order > 0)
comparison("greater_equal", lambda order: order >= 0)
