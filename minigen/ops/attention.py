"""Scaled dot-product attention (Vaswani et al. 2017, eq. 1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import differentiate, primitive
from ..backend import array_module, kernels_for
from ..tensor import Tensor
from .elementwise import exp, where
from .linalg import matmul
from .reduce import logsumexp


def _plain_attention(q, k, v, mask, *, is_causal, scale):
    """What `scaled_dot_product_attention` computes, in plain operations; it holds all (N, heads, L, S) scores."""
    q, k, v = (t.transpose(0, 2, 1, 3) for t in (q, k, v))  # (N, L, heads, d) -> (N, heads, L, d)
    scores = matmul(q, k.swapaxes(-1, -2)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if is_causal:
        seen = array_module(scores.data).tri(scores.shape[-2], scores.shape[-1], dtype=np.bool_)
        scores = where(seen, scores, -np.inf)
    total = logsumexp(scores, axis=-1, keepdims=True)
    p = exp(scores - where(total == -np.inf, 0.0, total))  # a row that attends to nothing is all 0
    return matmul(p, v).transpose(0, 2, 1, 3)


@primitive(plain=_plain_attention, saves=True)
def _attention(q, k, v, mask, *, is_causal, scale):
    out, lse = kernels_for(q).attention(q, k, v, mask, is_causal, scale)
    return out, (out, lse)


@_attention.vjp
def _(g, _y, q, k, v, mask, *, is_causal, scale, saved):
    if mask is not None and mask.requires_grad:  # a learned bias: the kernel gives no gradient for it
        return tuple(
            differentiate(lambda *x: _plain_attention(*x, is_causal=is_causal, scale=scale), (q, k, v, mask), g)
        )
    values = None if mask is None else mask.data
    dq, dk, dv = kernels_for(q.data).attention_backward(
        g.data, *saved, q.data, k.data, v.data, values, is_causal, scale
    )
    return Tensor(dq), Tensor(dk), Tensor(dv), None


def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """softmax(q k^T scale + mask) v for each head.

    q (N, L, heads, d), k (N, S, heads, d), v (N, S, heads, e) -> (N, L, heads, e). `attn_mask` broadcasts to
    (N, heads, L, S): where bool, True attends; where float, it is added. Causal: query l sees keys up to l.
    `scale` is 1/sqrt(d) unless given. A row that attends to nothing gives 0.
    """
    return _attention(q, k, v, attn_mask, is_causal=is_causal, scale=scale)
