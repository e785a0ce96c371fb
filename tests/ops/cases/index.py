"""Cases of `minigen/ops/index.py`."""

import numpy as np

import minigen

from .drawing import case


@case("gather")
def _(d):
    """Indices of the shape of x along the other axes, or of length 1 there; the same element more than once."""
    shape = d.shape(min_axes=1, empty=False)
    axis = d.axis(len(shape))
    at = [1 if d.int(0, 3) == 3 else n for n in shape]
    at[axis] = d.size(1, 4)
    shape = tuple(1 if i != axis % len(shape) and d.int(0, 3) == 3 else n for i, n in enumerate(shape))
    indices = d.integers(-shape[axis], shape[axis] - 1, at)

    def formula(x):
        full = [m if i == axis % x.ndim else max(m, n) for i, (m, n) in enumerate(zip(at, x.shape, strict=True))]
        y = np.empty(full)
        for place in np.ndindex(*full):
            source = [min(p, n - 1) for p, n in zip(place, x.shape, strict=True)]
            source[axis] = indices[tuple(min(p, m - 1) for p, m in zip(place, at, strict=True))]
            y[place] = x[tuple(source)]
        return y

    return lambda x: minigen.gather(x, indices, axis), [d.normal(shape)], formula


@case("embedding")
def _(d):
    number = d.size(1, 4)
    indices = d.integers(0, number - 1, d.shape(max_axes=3))
    indices = d.choice(indices, minigen.tensor(indices))
    one_hot = np.eye(number)[np.asarray(indices)]
    weight = d.normal((number, d.size(1, 3)))
    return lambda weight: minigen.embedding(indices, weight), [weight], lambda weight: one_hot @ weight
