"""Scaled dot-product attention on the GPU, forward and backward: see attention.cu for how."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

SIDE = 64  # queries and keys of a tile

_SHAPE = np.dtype(
    [(name, np.int32) for name in ("heads", "queries", "keys", "d", "e", "causal", "aligned")]
    + [(name, np.int64) for name in ("mask_sample", "mask_head", "mask_query", "mask_key")]
    + [("scale", np.float64)],
    align=True,
)
_forward = Source("attention.cu", structs={"Shape": _SHAPE})
_backward = Source("attention_backward.cu", structs={"Shape": _SHAPE})


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """(out, lse): out = softmax(scale q k^T + mask) v, and the log-sum-exp of each row of scores.

    q (N,L,H,D), k (N,S,H,D), v (N,S,H,E) -> out (N,L,H,E), lse (N,H,L), which is float32 for float16. mask broadcasts
    to (N,H,L,S): a bool True attends, a float is added. Causal: query l sees keys s <= l. A row that sees nothing
    gives 0 and lse -inf.
    """
    scale = checks.attention(q, k, v, mask, scale, dtypes=checks.HALF_TOO)
    q, k, v = contiguous(q), contiguous(k), contiguous(v)
    samples, length, heads, _ = q.shape
    out = empty((samples, length, heads, v.shape[3]), q)
    lse = empty((samples, heads, length), q, checks.statistics_dtype(q))
    masks, shape = _masks(mask, q), _shape(q, k, v, mask, is_causal, scale, out)
    accumulator = ctype(lse.dtype)
    columns = _columns(v.shape[3], lse.dtype)
    _forward.launch(
        f"attention_exact<{ctype(q.dtype)}, {accumulator}, {columns}>",
        (q, k, v, *masks, out, lse, shape),
        over=(samples * heads * -(-length // SIDE), v.shape[3]),
        tile=(1, columns),
        threads=256,
        shared=_exact_shared(lse.dtype),
    )
    return out, lse


def attention_backward(
    g: Array,
    out: Array,
    lse: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients (dq, dk, dv) for the gradient g (N,L,H,E) of out; out and lse are what `attention` returned."""
    scale = checks.attention_backward(g, out, lse, q, k, v, mask, scale, dtypes=checks.HALF_TOO)
    g, out, lse = contiguous(g), contiguous(out), contiguous(lse)
    q, k, v = contiguous(q), contiguous(k), contiguous(v)
    samples, length, heads, d = q.shape
    keys, e = v.shape[1], v.shape[3]
    dq, dk, dv = empty(q.shape, q), empty(k.shape, k), empty(v.shape, v)
    masks, shape = _masks(mask, q), _shape(q, k, v, mask, is_causal, scale, g, dq, dk, dv)
    types = f"{ctype(q.dtype)}, {ctype(lse.dtype)}"

    row_sums = empty(lse.shape, lse)
    rows = samples * length * heads
    _backward.launch(f"gradient_row_sums<{types}>", (g, out, row_sums, rows, shape), (rows,), (8,), 256)

    inputs = g, row_sums, lse, q, k, v, *masks
    for kernel, results, count, widest in (
        ("query_gradient", (dq,), length, d),
        ("key_value_gradient", (dk, dv), keys, max(d, e)),
    ):
        columns = _columns(widest, lse.dtype)
        _backward.launch(
            f"{kernel}_exact<{types}, {columns}>",
            (*inputs, *results, shape),
            over=(samples * heads * -(-count // SIDE), widest),
            tile=(1, columns),
            threads=256,
            shared=_exact_shared(lse.dtype),
        )
    return dq, dk, dv


def _columns(widest: int, accumulator: np.dtype) -> int:
    """How many columns of its result a block gives: it finds the scores anew for each set of so many."""
    return 128 if widest > 64 and accumulator == np.float32 else 64


def _exact_shared(accumulator: np.dtype) -> int:
    """Bytes of shared memory of a block: struct Exact of attention_exact.cuh."""
    width = 16 // accumulator.itemsize
    return accumulator.itemsize * (2 * SIDE * 9 * width + SIDE * (SIDE + width))


def _masks(mask: Array | None, q: Array) -> tuple[Array | None, Array | None]:
    """The mask as the kernels take it: (allowed, added), of which one at least is None."""
    if mask is None:
        return None, None
    mask = contiguous(mask)
    return (mask, None) if mask.dtype == bool else (None, mask)


def _shape(
    q: Array, k: Array, v: Array, mask: Array | None, is_causal: bool, scale: float, *others: Array
) -> np.ndarray:
    """struct Shape of attention.cuh."""
    samples, queries, heads, d = q.shape
    keys, e = v.shape[1], v.shape[3]
    aligned = vector_width(d, q, k, v, *others) > 1 and vector_width(e, q, k, v, *others) > 1
    sizes = heads, queries, keys, d, e, bool(is_causal), aligned
    return np.array((*sizes, *_mask_strides(mask, (samples, heads, queries, keys)), scale), _SHAPE)


def _mask_strides(mask: Array | None, scores: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one sample, head, query and key to the next in a contiguous mask: 0 where they share."""
    shape = (1,) * (4 - mask.ndim) + mask.shape if mask is not None else (1, 1, 1, 1)
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step if size > 1 else 0)
        step *= size
    return tuple(reversed(strides))
