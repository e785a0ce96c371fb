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
    n, k, m = (d.size(0 if d.int(0, 9) == 9 else 1, 4) for _ in range(3))
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
    ("...j,jk->...k", "Aj,jk->Ak"),
    ("...i,...i->...", "Ai,Ai->A"),
    ("i...,i...", "iA,iA->A"),
    ("...ii->...i", "Aii->Ai"),
    (",ij->ij", ",ij->ij"),
]


@case("einsum")
def _(d):
    subscripts, spelled = d.choice(*EINSUMS)
    inputs, output = spelled.split("->")
    inputs = inputs.split(",")
    sizes = {letter: d.size(1, 3) for letter in sorted(set("".join(inputs)))}
    if d.int(0, 9) == 9 and sizes:
        sizes[min(sizes)] = 0
    shapes = [[sizes[letter] for letter in s] for s in inputs]
    if sum(s.count("A") for s in inputs) > 1 and d.flag():  # an ellipsis broadcasts
        shapes[0][inputs[0].index("A")] = 1

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

    return lambda *xs: minigen.einsum(subscripts, *xs), [d.normal(s) for s in shapes], formula


@case("norm")
def _(d):
    shape, axis, keepdims = draw_reduction(d, nonempty=True)
    x = d.spaced(shape, kinks=[0])  # away from the norm 0
    x = x + np.sign(x) * 0.2
    return lambda x: minigen.norm(x, axis, keepdims), [x], lambda x: over(x, axis, keepdims, lambda xs: math.hypot(*xs))
