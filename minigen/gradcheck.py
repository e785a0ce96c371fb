"""Checks derivatives against finite differences, to first and second order.

    gradcheck(minigen.silu, [minigen.randn(3, 4, dtype=np.float64)])

With random weights c, phi(x) = <c, f(x)> is a scalar function. Its derivative along a random direction v is
<gradient, v> by the tape and a difference quotient by evaluation; the two must agree. A random direction tests every
element of a gradient at once, and random weights, unlike a plain sum, do not let errors cancel. The second order
does the same to psi(x, c) = <u, gradient of phi>, as a function of the inputs and of c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import grad
from .tensor import Tensor, tensor

STEP = 1e-4  # the difference quotient below errs by STEP^4 from its formula and by 1e-16 / STEP from rounding


class GradcheckError(AssertionError):
    """A derivative disagrees with its finite difference, or has the wrong shape, dtype or device."""


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Any],
    order: int = 2,
    elementwise: bool = False,
    seed: int = 0,
    tolerance: float = 1e-7,
    name: str = "",
) -> None:
    """Raises GradcheckError unless the derivatives of `function(*inputs)` are right, up to `order` (1 or 2).

    The floating-point Tensors among `inputs` are differentiated; they must be float64, and no closer than a
    thousandth to a kink. `elementwise` also compares every element by itself: slow, but it shows where an error is.
    `tolerance` is relative to the size of the terms that the derivative sums.
    """
    for i, x in enumerate(inputs):
        if _differentiable(x) and x.dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {x.dtype}; finite differences need float64")
    rng = np.random.default_rng(seed)
    name = name or getattr(function, "__name__", "function")
    inputs = [tensor(x) if isinstance(x, Tensor) else x for x in inputs]
    y = function(*inputs)
    weights = tensor(rng.standard_normal(y.shape), device=y.device)
    where = f"{name} at shapes {[getattr(x, 'shape', x) for x in inputs]}, seed {seed}"

    def phi(*xs):
        return (function(*xs[:-1]) * xs[-1]).sum()

    _compare(phi, [*inputs, weights], rng, elementwise, tolerance, f"{where}, order 1")
    if order == 2:
        directions = [
            tensor(rng.standard_normal(x.shape), device=x.device) if _differentiable(x) else None for x in inputs
        ]

        def psi(*xs):
            return sum(
                (
                    (g * u).sum()
                    for g, u in zip(_gradients(phi, xs, where)[:-1], directions, strict=True)
                    if g is not None
                ),
                (xs[-1] * 0.0).sum(),
            )

        _compare(psi, [*inputs, weights], rng, elementwise, tolerance, f"{where}, order 2")


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype.kind == "f"


def _gradients(scalar: Callable[..., Tensor], xs: Sequence[Any], where: str) -> list[Tensor | None]:
    """The gradient of a scalar function for each differentiable argument, itself on the tape."""
    wanted = [x for x in xs if _differentiable(x)]
    for x in wanted:
        if not x.requires_grad:
            x.requires_grad_()
    found = iter(grad(scalar(*xs), wanted, create_graph=True, allow_unused=True))
    gradients = [next(found) if _differentiable(x) else None for x in xs]
    for i, (x, g) in enumerate(zip(xs, gradients, strict=True)):
        if g is not None and (g.shape, g.dtype, g.device) != (x.shape, x.dtype, x.device):
            raise GradcheckError(
                f"{where}: input {i} is {x.shape} {x.dtype} {x.device}, its gradient {g.shape} {g.dtype} {g.device}"
            )
    return gradients


def _compare(
    scalar: Callable[..., Tensor], inputs: list, rng: Any, elementwise: bool, tolerance: float, where: str
) -> None:
    gradients = _gradients(scalar, inputs, where)
    pairs = zip(gradients, inputs, strict=True)
    values = [np.zeros(getattr(x, "shape", ())) if g is None else g.numpy() for g, x in pairs]
    signs = [rng.choice([-1.0, 1.0], v.shape) * rng.uniform(0.5, 1.5, v.shape) for v in values]
    if elementwise:  # first, so that an error is reported with its place
        for i, v in enumerate(values):
            for place in np.ndindex(v.shape) if _differentiable(inputs[i]) else ():
                unit = [np.zeros_like(w) for w in values]
                unit[i][place] = 1.0
                _compare_along(scalar, inputs, values, unit, tolerance, f"{where}, input {i} element {place}")
    _compare_along(scalar, inputs, values, signs, tolerance, f"{where}, random direction")


def _compare_along(scalar, inputs, gradients, direction, tolerance, where) -> None:
    """<gradient, direction> against a difference quotient of fourth order."""

    def at(t: float) -> float:
        moved = [
            tensor(x.numpy() + t * d, device=x.device) if _differentiable(x) else x
            for x, d in zip(inputs, direction, strict=True)
        ]
        return scalar(*moved).item()

    numeric = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)
    analytic = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    size = 1 + sum(float(np.abs(g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    if not np.isfinite(size) or not abs(analytic - numeric) <= tolerance * size:
        raise GradcheckError(f"{where}: the tape says {analytic:.10g}, finite differences say {numeric:.10g}")
