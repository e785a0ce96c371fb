"""Scaled dot-product attention on the GPU, forward and backward: see attention_exact.cu for how."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import checks
from kernels.cuda.arrays import contiguous, empty, with_strides
from kernels.cuda.launch import Source, ctype, on_tensor_cores

Array = Any  # cupy.ndarray

# See the constants of the same names in attention_exact.cuh and attention_tensor_core.cuh.
SIDE = 64
WARP_ROWS = 4 * 16
HEADS = (32, 64, 128)

_STRIDES = np.dtype([("sample", np.int64), ("row", np.int64), ("head", np.int64)], align=True)
_SHAPE = np.dtype(
    [(name, np.int32) for name in ("heads", "queries", "keys", "d", "e", "causal", "aligned")]
    + [(name, _STRIDES) for name in ("q", "k", "v")]
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

    q (N,L,H,D), k (N,S,H,D), v (N,S,H,E) -> out (N,L,H,E), lse (N,H,L), float32 for float16. mask broadcasts to
    (N,H,L,S): a bool True attends, a float is added. Causal: query l sees keys s <= l. A row that sees nothing gives 0
    and lse -inf.
    """
    scale = checks.attention(q, k, v, mask, scale, dtypes=checks.HALF_TOO)
    samples, length, heads, _ = q.shape
    out = empty((samples, length, heads, v.shape[3]), q)
    lse = empty((samples, heads, length), q, checks.statistics_dtype(q))
    inputs, shape = _inputs(q, k, v, mask, is_causal, scale, out)
    tall = 2 if length > WARP_ROWS else 1  # with 32 rows a warp, numbers from shared memory are used twice
    _launch("attention", (*inputs, out, lse, shape), samples * heads, length, v.shape[3], own_tiles=1, tall=tall)
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
    samples, length, heads, d = q.shape
    keys, e = v.shape[1], v.shape[3]
    dq, dk, dv = empty(q.shape, q), empty(k.shape, k), empty(v.shape, v)

    row_sums, rows = empty(lse.shape, lse), samples * length * heads
    kernel = f"gradient_row_sums<{ctype(q.dtype)}, {ctype(lse.dtype)}>"
    _exact.launch(kernel, (g, out, row_sums, rows, heads, length, e), over=(rows,), tile=(8,), threads=256)

    inputs, shape = _inputs(q, k, v, mask, is_causal, scale, g, dq, dk, dv)
    inputs = g, row_sums, lse, *inputs
    _launch("query_gradient", (*inputs, dq, shape), samples * heads, length, d, own_tiles=2)
    _launch("key_value_gradient", (*inputs, dk, dv, shape), samples * heads, keys, max(d, e), own_tiles=2)
    return dq, dk, dv


def _launch(kernel: str, args: tuple, heads: int, rows: int, columns: int, own_tiles: int, tall: int = 1) -> None:
    """Starts `kernel`, on tensor cores or exactly, for all `rows` rows and `columns` columns of what it gives.

    Of a block's shared memory for tensor cores, own_tiles tiles are its own, with 16 tall rows a warp.
    """
    array, shape = args[0], args[-1]
    widest, size = max(shape["d"], shape["e"]), array.dtype.itemsize
    if on_tensor_cores(array) and widest <= HEADS[-1]:
        head = next(h for h in HEADS if h >= widest)
        own, others = own_tiles * WARP_ROWS * tall, 16 if head > 64 else 32
        _tensor_core.launch(
            f"{kernel}_tensor_core<{ctype(array.dtype)}, {head}, {tall}>",
            args,
            over=(heads * -(-rows // (WARP_ROWS * tall)),),
            tile=(1,),
            threads=128,
            shared=(own + 4 * others) * (head * size + 16),
        )
    else:
        sums = checks.statistics_dtype(array)
        at_once, width = (128 if columns > 64 and sums == np.float32 else 64), 16 // sums.itemsize
        _exact.launch(
            f"{kernel}_exact<{ctype(array.dtype)}, {ctype(sums)}, {at_once}>",
            args,
            over=(heads * -(-rows // SIDE), columns),
            tile=(1, at_once),
            threads=256,
            shared=sums.itemsize * SIDE * (2 * 9 * width + SIDE + width),  # struct Exact
        )


def _inputs(
    q: Array, k: Array, v: Array, mask: Array | None, is_causal: bool, scale: float, *others: Array
) -> tuple[tuple, np.ndarray]:
    """(q, k, v, allowed, added) as kernels take them, and their struct Shape; `others` are more arrays they move."""
    _, queries, heads, d = q.shape
    keys, e = v.shape[1], v.shape[3]
    (q, q_strides), (k, k_strides), (v, v_strides) = _rows(q), _rows(k), _rows(v)
    vector = 16 // q.dtype.itemsize
    steps = d, e, *q_strides, *k_strides, *v_strides
    aligned = not any(step % vector for step in steps) and not any(a.data.ptr % 16 for a in (q, k, v, *others))

    mask_strides: tuple[int, ...] = (0, 0, 0, 0)
    if mask is not None:
        mask, strides = with_strides(mask)
        mask_strides = (0,) * (4 - len(strides)) + strides
    masks = (mask, None) if mask is not None and mask.dtype == bool else (None, mask)

    sizes = heads, queries, keys, d, e, bool(is_causal), aligned
    shape = np.array((*sizes, q_strides, k_strides, v_strides, *mask_strides, scale), _SHAPE)
    return (q, k, v, *masks), shape


def _rows(x: Array) -> tuple[Array, tuple[int, int, int]]:
    """The memory of x (N, L, heads, d), also a part of a larger array, and its strides along N, L and heads."""
    x, (sample, row, head, _) = with_strides(x if x.strides[3] == x.dtype.itemsize else contiguous(x))
    return x, (sample, row, head)
