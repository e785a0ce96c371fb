"""Scaled dot-product attention on the GPU, forward and backward: see attention.cu for how."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, compute_capability, ctype, vector_width
from kernels.precision import tf32_allowed

Array = Any  # cupy.ndarray

SIDE = 64  # rows of a block
OTHERS = 32  # rows that the tensor cores' pipeline brings at a time
HEADS = (32, 64, 128)  # what head sizes are padded to for tensor cores, in shared memory
LARGEST_HEAD = HEADS[-1]

_SHAPE = np.dtype(
    [(name, np.int32) for name in ("heads", "queries", "keys", "d", "e", "causal", "aligned")]
    + [(name, np.int64) for name in ("mask_sample", "mask_head", "mask_query", "mask_key")]
    + [("scale", np.float64)],
    align=True,
)
_exact = Source("attention_exact.cu", structs={"Shape": _SHAPE})
_tensor_core = Source("attention_tensor_core.cu", structs={"Shape": _SHAPE})


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
    masks, shape = _masks(mask), _shape(q, k, v, mask, is_causal, scale, out)
    _launch("attention", (q, k, v, *masks, out, lse, shape), q, length, v.shape[3], tiles=1)
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
    masks, shape = _masks(mask), _shape(q, k, v, mask, is_causal, scale, g, dq, dk, dv)

    row_sums = empty(lse.shape, lse)
    kernel, rows = f"gradient_row_sums<{ctype(q.dtype)}, {ctype(lse.dtype)}>", samples * length * heads
    _exact.launch(kernel, (g, out, row_sums, rows, shape), over=(rows,), tile=(8,), threads=256)
    inputs = g, row_sums, lse, q, k, v, *masks
    _launch("query_gradient", (*inputs, dq, shape), q, length, d, tiles=2)
    _launch("key_value_gradient", (*inputs, dk, dv, shape), k, keys, max(d, e), tiles=2)
    return dq, dk, dv


def _launch(kernel: str, args: tuple, rows: Array, count: int, columns: int, tiles: int) -> None:
    """Starts the exact kernel or that for tensor cores, for `count` rows of each head of `rows` (N,count,H,...)."""
    shape = args[-1]
    heads, widest = rows.shape[0] * rows.shape[2], max(shape["d"], shape["e"])
    if _tensor_cores(rows) and widest <= LARGEST_HEAD:
        head = next(size for size in HEADS if size >= widest)
        _tensor_core.launch(
            f"{kernel}_tensor_core<{ctype(rows.dtype)}, {head}>",
            args,
            over=(heads * -(-count // SIDE),),
            tile=(1,),
            threads=128,
            shared=(tiles * SIDE + 4 * OTHERS) * (head * rows.dtype.itemsize + 16),
        )
        return
    sums = checks.statistics_dtype(rows)
    at_once = 128 if columns > 64 and sums == np.float32 else 64
    width = 16 // sums.itemsize
    _exact.launch(
        f"{kernel}_exact<{ctype(rows.dtype)}, {ctype(sums)}, {at_once}>",
        args,
        over=(heads * -(-count // SIDE), columns),
        tile=(1, at_once),
        threads=256,
        shared=sums.itemsize * (2 * SIDE * 9 * width + SIDE * (SIDE + width)),
    )


def _tensor_cores(array: Array) -> bool:
    """Whether products of such numbers are taken on tensor cores."""
    return compute_capability(array) >= 80 and (
        array.dtype == np.float16 or (array.dtype == np.float32 and tf32_allowed())
    )


def _masks(mask: Array | None) -> tuple[Array | None, Array | None]:
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
