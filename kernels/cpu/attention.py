"""Attention in tiles of scores that stay in cache; memory grows with the length, not with its square.

The softmax of a row is taken while its keys go by (Rabe & Staats 2021, arXiv:2112.05682; FlashAttention,
Dao et al. 2022, arXiv:2205.14135, algorithm 1): with the largest score m so far, keep l = sum exp(s - m) and
o = sum exp(s - m) v; when a larger m' comes, scale both by exp(m - m'). In the end out = o / l, and
lse = m + log(l) is all that the backward pass needs to find any probability again, as exp(s - lse).

Arrays that loops run along are TILE wide, a constant, so that a row is a fixed number of vector registers:
queries side by side in the forward pass, where their softmaxes then need no sums across a register, and keys
in the backward pass. What is left of a last tile is zero, and its results are dropped.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from kernels import checks
from kernels.cpu.elementwise import exp
from kernels.cpu.jit import kernel_part, old_parallel_kernel, plain

TILE = 64  # queries or keys; a tile of scores is 16 kB in float32, half of the first-level cache


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(out, lse): out = softmax(scale q k^T + mask) v, and the log-sum-exp of each row of scores.

    q (N,L,H,D), k (N,S,H,D), v (N,S,H,E) -> out (N,L,H,E), lse (N,H,L). mask broadcasts to (N,H,L,S): a bool
    True attends, a float is added. Causal: query l sees keys s <= l. A row that sees nothing gives 0.
    """
    scale = checks.attention(q, k, v, mask, scale)
    samples, length, heads, _ = q.shape
    out = np.empty((samples, length, heads, v.shape[3]), q.dtype)
    lse = np.empty((samples, heads, length), q.dtype)
    added = added_mask(mask, q, k)
    _attention(plain(q), plain(k), plain(v), added, is_causal, q.dtype.type(scale), out, lse)
    return out, lse


def attention_backward(
    g: np.ndarray,
    out: np.ndarray,
    lse: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dq, dk, dv) for the gradient g of out. `kernels.reference.attention_backward` derives it.

    P = exp(scale q k^T + mask - lse) is made again tile by tile; with dP = g v^T and dS = P (dP - g . out),
    dv = P^T g, dk = scale dS^T q, dq = scale dS k.
    """
    scale = checks.attention_backward(g, out, lse, q, k, v, mask, scale)
    dq, dk, dv = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    added = added_mask(mask, q, k)
    g, out, lse, q, k, v = (plain(array) for array in (g, out, lse, q, k, v))
    _attention_backward(g, out, lse, q, k, v, added, is_causal, q.dtype.type(scale), dq, dk, dv)
    return dq, dk, dv


def added_mask(mask: np.ndarray | None, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """What is added to the scores, (N or 1, H or 1, L or 1, S); empty if there is no mask."""
    if mask is None:
        return np.empty((0, 0, 0, 0), q.dtype)
    if mask.dtype == bool:
        mask = np.where(mask, q.dtype.type(0), q.dtype.type(-np.inf))
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return plain(np.broadcast_to(mask, (*mask.shape[:3], k.shape[1])))


# ---- forward -------------------------------------------------------------------------------------------


@old_parallel_kernel()
def _attention(q, k, v, mask, is_causal, scale, out, lse):
    samples, length, heads, _ = q.shape
    tiles = (length + TILE - 1) // TILE
    for task in prange(samples * heads * tiles):
        n, h, first = task // tiles // heads, task // tiles % heads, task % tiles * TILE
        last = min(first + TILE, length)
        _attend(
            q[n, first:last, h], k[n, :, h], v[n, :, h], mask, is_causal, scale, n, h, first,
            out[n, first:last, h], lse[n, h, first:last],
        )  # fmt: skip


@kernel_part()
def _attend(q, k, v, mask, is_causal, scale, n, h, first, out, lse):
    """One tile of queries of head h of sample n: q (rows,D), k (S,D), v (S,E) -> out (rows,E), lse (rows)."""
    dtype, rows, keys = q.dtype, q.shape[0], k.shape[0]
    q_t, out_t = np.empty((q.shape[1], TILE), dtype), np.zeros((v.shape[1], TILE), dtype)
    top, total = np.full(TILE, -np.inf, dtype), np.zeros(TILE, dtype)
    tile = np.empty((TILE, TILE), dtype)
    pack_transposed(q, scale, q_t)
    for start in range(0, min(keys, first + rows) if is_causal else keys, TILE):
        stop = min(start + TILE, keys)
        scores = tile[: stop - start]
        scores[:] = 0
        matmul_add(k[start:stop], q_t, scores)  # (keys,D) @ (D,queries) -> (keys,queries)
        hide(scores.T[:rows], mask, is_causal, n, h, first, start)
        _online_softmax(scores, top, total, out_t)
        matmul_add(v[start:stop].T, scores, out_t)  # (E,keys) @ (keys,queries) -> (E,queries)
    for i in range(rows):
        lse[i] = top[i] + math.log(total[i])  # -inf + -inf for a query that saw nothing
        for e in range(out.shape[1]):
            out[i, e] = out_t[e, i] / total[i] if total[i] != 0 else dtype.type(0)


@kernel_part()
def _online_softmax(scores, top, total, out_t):
    """Scores (keys, queries) become exp(score - top) of a new top; the old sums are scaled over to it."""
    shift = np.empty(TILE, top.dtype)  # what was subtracted so far, then top without its -inf
    for j in range(TILE):
        shift[j] = top[j]
    for i in range(scores.shape[0]):
        row = scores[i]
        for j in range(TILE):
            top[j] = max(top[j], row[j])
    for j in range(TILE):
        shrink = exp(shift[j] - finite(top[j]))
        shift[j] = finite(top[j])
        total[j] *= shrink
        for e in range(out_t.shape[0]):
            out_t[e, j] *= shrink
    for i in range(scores.shape[0]):
        row = scores[i]
        for j in range(TILE):
            row[j] = exp(row[j] - shift[j])
            total[j] += row[j]


# ---- backward ------------------------------------------------------------------------------------------


@old_parallel_kernel()
def _attention_backward(g, out, lse, q, k, v, mask, is_causal, scale, dq, dk, dv):
    samples, _, heads, _ = q.shape
    for task in prange(samples * heads):
        n, h = task // heads, task % heads
        _attend_backward(
            g[n, :, h], out[n, :, h], lse[n, h], q[n, :, h], k[n, :, h], v[n, :, h], mask, is_causal, scale,
            n, h, dq[n, :, h], dk[n, :, h], dv[n, :, h],
        )  # fmt: skip


@kernel_part()
def _attend_backward(g, out, lse, q, k, v, mask, is_causal, scale, n, h, dq, dk, dv):
    """Head h of sample n: g, out (L,E), lse (L), q (L,D), k (S,D), v (S,E) -> dq, dk, dv, like q, k, v."""
    dtype, one, length, keys = q.dtype, q.dtype.type(1), q.shape[0], k.shape[0]
    row_sums = np.empty(length, dtype)  # of P dP
    for i in range(length):
        row_sums[i] = _dot(g[i], out[i])
    k_t, dk_t = np.empty((k.shape[1], TILE), dtype), np.empty((k.shape[1], TILE), dtype)
    v_t, dv_t = np.empty((v.shape[1], TILE), dtype), np.empty((v.shape[1], TILE), dtype)
    p_tile, ds_tile = np.empty((TILE, TILE), dtype), np.empty((TILE, TILE), dtype)
    ds_t = np.empty((TILE, TILE), dtype)
    dq_t = np.zeros(((length + TILE - 1) // TILE, q.shape[1], TILE), dtype)
    for start in range(0, keys, TILE):
        stop = min(start + TILE, keys)
        pack_transposed(k[start:stop], scale, k_t)
        pack_transposed(v[start:stop], one, v_t)
        dk_t[:] = 0
        dv_t[:] = 0
        for first in range(start if is_causal else 0, length, TILE):
            last = min(first + TILE, length)
            p, ds = p_tile[: last - first], ds_tile[: last - first]
            p[:] = 0
            matmul_add(q[first:last], k_t, p)  # (queries,D) @ (D,keys) -> (queries,keys)
            hide(p[:, : stop - start], mask, is_causal, n, h, first, start)
            ds[:] = 0
            matmul_add(g[first:last], v_t, ds)  # (queries,E) @ (E,keys) -> (queries,keys)
            _softmax_backward(p, ds, lse[first:last], row_sums[first:last])
            matmul_add(g[first:last].T, p, dv_t)  # (E,queries) @ (queries,keys) -> (E,keys)
            matmul_add(q[first:last].T, ds, dk_t)  # (D,queries) @ (queries,keys) -> (D,keys)
            pack_transposed(ds, one, ds_t)
            matmul_add(k[start:stop].T, ds_t[: stop - start], dq_t[first // TILE])  # -> (D,queries)
        unpack_transposed(dk_t, scale, dk[start:stop])
        unpack_transposed(dv_t, one, dv[start:stop])
    for first in range(0, length, TILE):
        unpack_transposed(dq_t[first // TILE], scale, dq[first : first + TILE])


@kernel_part()
def _softmax_backward(p, ds, lse, row_sums):
    """In place: scores p become probabilities, dP in ds becomes dS = P (dP - sum of the row's P dP)."""
    for i in range(p.shape[0]):
        p_row, ds_row, shift, row_sum = p[i], ds[i], finite(lse[i]), row_sums[i]
        for j in range(TILE):
            p_row[j] = exp(p_row[j] - shift)
            ds_row[j] = p_row[j] * (ds_row[j] - row_sum)


@kernel_part()
def _dot(a, b):
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


# ---- tiles ---------------------------------------------------------------------------------------------


@kernel_part()
def matmul_add(a, b, c):
    """c (I,TILE) += a (I,K) @ b (K,TILE). Four rows of b per pass over a row of c: fewer loads and stores."""
    inner = a.shape[1]
    for i in range(c.shape[0]):
        row = c[i]
        for k in range(0, inner - 3, 4):
            a0, a1, a2, a3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(TILE):
                row[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
        for k in range(inner - inner % 4, inner):
            last, b_row = a[i, k], b[k]
            for j in range(TILE):
                row[j] += last * b_row[j]


@kernel_part()
def hide(scores, mask, is_causal, n, h, first, start):
    """Scores (queries from `first`, keys from `start`) plus the mask; -inf where a key is hidden."""
    rows, keys = scores.shape
    if mask.size > 0:
        for i in range(rows):
            added = mask[n % mask.shape[0], h % mask.shape[1], (first + i) % mask.shape[2]]
            for j in range(keys):
                scores[i, j] += added[start + j]
    if is_causal and start + keys > first:
        for i in range(rows):
            for j in range(max(first + i + 1 - start, 0), keys):
                scores[i, j] = -np.inf


@kernel_part()
def finite(x):
    """0 for the -inf of a row that saw nothing: exp(-inf - 0) is 0 as wanted, exp(-inf - -inf) is nan."""
    return type(x)(0) if x == -np.inf else x


@kernel_part()
def pack_transposed(x, scale, x_t):
    """x (rows,D) times scale -> x_t (D,TILE), zero beyond the rows."""
    for i in range(x.shape[0]):
        for d in range(x.shape[1]):
            x_t[d, i] = x[i, d] * scale
    x_t[:, x.shape[0] :] = 0


@kernel_part()
def unpack_transposed(x_t, scale, x):
    """The inverse of pack_transposed: x_t (D,TILE) times scale -> x (rows,D)."""
    for i in range(x.shape[0]):
        for d in range(x.shape[1]):
            x[i, d] = x_t[d, i] * scale
