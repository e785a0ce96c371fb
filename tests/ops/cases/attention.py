"""Cases of `minigen/ops/attention.py`."""

import math

import numpy as np

import minigen

from .drawing import beside, case


def formula(q, k, v, mask, is_causal, scale):
    """Query by query: the weights of the keys it may look at, and the mean of their values."""
    (n, length, heads, size), keys = q.shape, k.shape[1]
    scale = 1 / math.sqrt(size) if scale is None else scale
    y = np.zeros((n, length, heads, v.shape[-1]))
    added = np.zeros(()) if mask is None else np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask
    added = np.broadcast_to(added, (n, heads, length, keys))
    for i, query, h in np.ndindex(n, length, heads):
        seen = [s for s in range(keys) if added[i, h, query, s] > -np.inf and not (is_causal and s > query)]
        if seen:
            weights = np.exp([scale * q[i, query, h] @ k[i, s, h] + added[i, h, query, s] for s in seen])
            y[i, query, h] = weights / weights.sum() @ v[i, seen, h]
    return y


def draw_qkv(d):
    n, length, keys, heads, size, own = (
        d.batch(), d.size(1, 4), d.size(0 if d.rarely() else 1, 4), d.size(1, 2), d.size(1, 3), d.size(1, 3)
    )  # fmt: skip
    values = [d.normal(s) for s in [(n, length, heads, size), (n, keys, heads, size), (n, keys, heads, own)]]
    mask_shape = tuple(1 if m and d.flag() else m for m in (n, heads, length, keys))[d.int(0, 3) :]
    return values, mask_shape, dict(is_causal=d.flag(), scale=d.choice(0.3, None))


@case("scaled_dot_product_attention")
def _(d):
    """Without a mask, or with one that is not differentiated: whole rows of it may be closed."""
    inputs, shape, settings = draw_qkv(d)
    mask = d.choice(None, d.bools(shape), np.where(d.bools(shape), -np.inf, d.normal(shape)))

    def function(q, k, v):
        given = mask if mask is None or mask.dtype == bool else mask.astype(q.dtype)
        given = None if given is None else beside(q, given)
        return minigen.scaled_dot_product_attention(q, k, v, given, **settings)

    return function, inputs, lambda q, k, v: formula(q, k, v, mask, **settings)


@case("scaled_dot_product_attention", "with a learned mask")
def _(d):
    inputs, shape, settings = draw_qkv(d)

    def function(q, k, v, mask):
        return minigen.scaled_dot_product_attention(q, k, v, mask, **settings)

    return function, [*inputs, d.normal(shape)], lambda q, k, v, mask: formula(q, k, v, mask, **settings)
