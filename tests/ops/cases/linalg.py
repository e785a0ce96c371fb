"""Cases of `minigen/ops/linalg.py`."""

import itertools
import math

import numpy as np

import minigen

from .drawing import case
from .reduce import draw_reduction, over


@case("matmul")
def _(d):
    """Matrices and stacks of them that broadcast; a vector on either side."""
    n, k, m = d.choice((0, 2, 3), (2, 0, 3)) if d.rarely() else (d.size(1, 4) for _ in range(3))
    stacks = [s[-2:] for s in d.broadcast(2)] if d.flag() else [(), ()]
    if d.tiny:
        stacks = [(), ()]
    a_shape, b_shape = (*stacks[0], n, k), (*stacks[1], k, m)
    a_shape, b_shape = d.choice((a_shape, b_shape), ((k,), b_shape), (a_shape, (k,)), ((k,), (k,)))

    def formula(a, b):
        rows = a[None] if a.ndim == 1 else a
        columns = b[:, None] if b.ndim == 1 else b
        y = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
        y = y[..., 0] if b.ndim == 1 else y
        return np.squeeze(y, -1 if b.ndim == 1 else -2) if a.ndim == 1 else y

    return lambda a, b: minigen.matmul(a, b), [d.normal(a_shape), d.normal(b_shape)], formula


# Subscripts, and the same without ellipsis and with an explicit output, in which A stands for the ellipsis
EINSUMS = [
    ("ij,jk->ik", "ij,jk->ik"),
    ("ij,jk", "ij,jk->ik"),
    ("i,i", "i,i->"),
    ("i,j->ij", "i,j->ij"),
    ("ij->ji", "ij->ji"),
    ("ba", "ba->ab"),
    ("ij->", "ij->"),
    ("ijk->j", "ijk->j"),
    ("ii->i", "ii->i"),
    ("ii", "ii->"),
    ("iij->ji", "iij->ji"),
    ("iii->i", "iii->i"),
    ("ij,ij->ij", "ij,ij->ij"),
    ("ij,kl->il", "ij,kl->il"),
    ("ij,jk,kl->il", "ij,jk,kl->il"),
    ("b i j , b j k -> b i k", "bij,bjk->bik"),
    ("nlhd,nshd->nhls", "nlhd,nshd->nhls"),
    (",ij->ij", ",ij->ij"),
]
ELLIPSES = [
    ("...j,jk->...k", "Aj,jk->Ak"),
    ("...i,...i->...", "Ai,Ai->A"),
    ("i...,i...", "iA,iA->A"),
    ("...,...,...->...", "A,A,A->A"),
    ("...ii->...i", "Aii->Ai"),
]


def einsum_formula(spelled, sizes):
    inputs, output = spelled.split("->")
    inputs = inputs.split(",")

    def formula(*xs):
        y = np.zeros([sizes[letter] for letter in output])
        for places in itertools.product(*[range(n) for n in sizes.values()]):
            at = dict(zip(sizes, places, strict=True))
            spots = [
                tuple(min(at[letter], n - 1) for letter, n in zip(s, x.shape, strict=True))
                for s, x in zip(inputs, xs, strict=True)
            ]
            y[tuple(at[letter] for letter in output)] += math.prod(x[p] for x, p in zip(xs, spots, strict=True))
        return y

    return formula


@case("einsum")
def _(d):
    subscripts, spelled = d.choice(*EINSUMS)
    inputs = spelled.split("->")[0].split(",")
    sizes = {letter: d.size(1, 3) for letter in sorted(set("".join(inputs)))}
    if d.rarely():
        sizes[min(sizes)] = 0
    values = [d.normal([sizes[letter] for letter in s]) for s in inputs]
    return lambda *xs: minigen.einsum(subscripts, *xs), values, einsum_formula(spelled, sizes)


@case("einsum", "with an ellipsis")
def _(d):
    """Which stands for one axis, in the first operand perhaps for none or for one of length 1."""
    subscripts, spelled = d.choice(*ELLIPSES)
    inputs = spelled.split("->")[0].split(",")
    sizes = {letter: d.size(1, 3) for letter in sorted(set("".join(inputs)))}
    shapes = [[sizes[letter] for letter in s] for s in inputs]
    how = d.choice("repeated", "missing", "whole") if inputs[1:] and "A" in inputs[1] else "whole"
    if how == "repeated":
        shapes[0][inputs[0].index("A")] = 1
    elif how == "missing":
        del shapes[0][inputs[0].index("A")]
        spelled = spelled.replace("A", "", 1)
    return lambda *xs: minigen.einsum(subscripts, *xs), [d.normal(s) for s in shapes], einsum_formula(spelled, sizes)


@case("norm")
def _(d):
    shape, axis, keepdims = draw_reduction(d, nonempty=True)
    x = d.spaced(shape, kinks=[0])  # away from the norm 0
    x = x + np.sign(x) * 0.2
    return lambda x: minigen.norm(x, axis, keepdims), [x], lambda x: over(x, axis, keepdims, lambda xs: math.hypot(*xs))
