"""Attention in tiles of scores that stay in cache; memory grows with the length, not with its square.

The softmax of a row is taken while its keys go by (Rabe & Staats 2021, arXiv:2112.05682; FlashAttention, Dao et
al. 2022, arXiv:2205.14135, algorithm 1): with the largest score m so far, keep l = sum exp(s - m) and
o = sum exp(s - m) v; when a larger m' comes, scale both by exp(m - m'). In the end out = o / l, and
lse = m + log(l) is all that the backward pass needs to find any probability again, as exp(s - lse).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from kernels import checks
from kernels.cpu.elementwise import exp
from kernels.cpu.jit import kernel_part, parallel_kernel, plain

QUERIES, KEYS = 64, 64  # of one tile: 16 kB in float32, half of the first-level cache


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
    _attention_backward(
        plain(g), plain(out), plain(lse), plain(q), plain(k), plain(v), added_mask(mask, q, k), is_causal,
        q.dtype.type(scale), dq, dk, dv,
    )  # fmt: skip
    return dq, dk, dv


def added_mask(mask: np.ndarray | None, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """What is added to the scores, (N or 1, H or 1, L or 1, S); empty if there is no mask."""
    if mask is None:
        return np.empty((0, 0, 0, 0), q.dtype)
    if mask.dtype == bool:
        mask = np.where(mask, q.dtype.type(0), q.dtype.type(-np.inf))
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return plain(np.broadcast_to(mask, (*mask.shape[:3], k.shape[1])))


@parallel_kernel()
def _attention(q, k, v, mask, is_causal, scale, out, lse):
    samples, length, heads, _ = q.shape
    tiles = (length + QUERIES - 1) // QUERIES
    for task in prange(samples * heads * tiles):
        n, h, tile = task // tiles // heads, task // tiles % heads, task % tiles
        _attend(q[n], k[n], v[n], mask, is_causal, scale, n, h, tile * QUERIES, out[n], lse[n, h])


@kernel_part()
def _attend(q, k, v, mask, is_causal, scale, n, h, first, out, lse):
    """One tile of queries, from `first` on, of head h of a sample: q (L,H,D), k (S,H,D), v (S,H,E) -> out, lse."""
    zero, one = q.dtype.type(0), q.dtype.type(1)
    rows, keys, width = min(QUERIES, q.shape[0] - first), k.shape[0], min(KEYS, k.shape[0])
    q_tile, v_tile = np.empty((rows, q.shape[2]), q.dtype), np.empty((width, v.shape[2]), q.dtype)
    k_t, scores = np.empty((k.shape[2], width), q.dtype), np.empty((rows, width), q.dtype)
    top, total = np.full(rows, -np.inf, q.dtype), np.zeros(rows, q.dtype)
    summed = np.zeros((rows, v.shape[2]), q.dtype)
    pack(q, h, first, scale, q_tile)
    for start in range(0, min(keys, first + rows) if is_causal else keys, KEYS):
        pack(k, h, start, one, k_t.T)
        pack(v, h, start, one, v_tile)
        score(q_tile, k_t, mask, is_causal, n, h, first, start, keys, scores)
        for i in range(rows):
            top[i], total[i] = _online_softmax(scores[i], top[i], total[i], summed[i])
        matmul_add(scores, v_tile, summed)  # (rows,width) @ (width,E) -> (rows,E)
    for i in range(rows):
        lse[first + i] = top[i] + math.log(total[i])  # -inf + -inf for a row that saw nothing
        share = zero if total[i] == 0 else one / total[i]
        out_row, summed_row = out[first + i, h], summed[i]
        for e in range(out_row.size):
            out_row[e] = summed_row[e] * share


@kernel_part()
def _online_softmax(scores, top, total, summed):
    """New scores of one row become exp(score - top), and the row's sums go over to the new top: (top, total)."""
    new_top = top
    for s in scores:
        new_top = max(new_top, s)
    shift = finite(new_top)
    if new_top > top:
        shrink = exp(top - shift)
        total *= shrink
        for e in range(summed.size):
            summed[e] *= shrink
    for j in range(scores.size):
        scores[j] = exp(scores[j] - shift)
        total += scores[j]
    return new_top, total


@parallel_kernel()
def _attention_backward(g, out, lse, q, k, v, mask, is_causal, scale, dq, dk, dv):
    samples, _, heads, _ = q.shape
    for task in prange(samples * heads):
        n, h = task // heads, task % heads
        _attend_backward(
            g[n], out[n], lse[n, h], q[n], k[n], v[n], mask, is_causal, scale, n, h, dq[n], dk[n], dv[n]
        )


@kernel_part()
def _attend_backward(g, out, lse, q, k, v, mask, is_causal, scale, n, h, dq, dk, dv):
    """One head h of one sample: g, out (L,H,E), lse (L), q (L,H,D), k (S,H,D), v (S,H,E) -> dq, dk, dv."""
    dtype, one = q.dtype, q.dtype.type(1)
    length, keys, width = q.shape[0], k.shape[0], min(KEYS, k.shape[0])
    q_head, g_head = np.empty((length, q.shape[2]), dtype), np.empty((length, v.shape[2]), dtype)
    pack(q, h, 0, scale, q_head)
    pack(g, h, 0, one, g_head)
    dq_head, row_sums = np.zeros((length, q.shape[2]), dtype), np.empty(length, dtype)
    for i in range(length):
        row_sums[i] = _dot(g[i, h], out[i, h])
    k_tile, v_t = np.empty((width, k.shape[2]), dtype), np.empty((v.shape[2], width), dtype)
    dk_tile, dv_tile = np.empty(k_tile.shape, dtype), np.empty((width, v.shape[2]), dtype)
    k_t, p, ds = (
        np.empty((k.shape[2], width), dtype),
        np.empty((QUERIES, width), dtype),
        np.empty((QUERIES, width), dtype),
    )
    for start in range(0, keys, KEYS):
        pack(k, h, start, one, k_tile)
        pack(k, h, start, one, k_t.T)
        pack(v, h, start, one, v_t.T)
        dk_tile[:] = 0
        dv_tile[:] = 0
        for first in range(start // QUERIES * QUERIES if is_causal else 0, length, QUERIES):
            last = min(first + QUERIES, length)
            q_tile, g_tile, p_tile, ds_tile = (
                q_head[first:last],
                g_head[first:last],
                p[: last - first],
                ds[: last - first],
            )
            score(q_tile, k_t, mask, is_causal, n, h, first, start, keys, p_tile)
            ds_tile[:] = 0
            matmul_add(g_tile, v_t, ds_tile)  # dP: (rows,E) @ (E,width) -> (rows,width)
            for i in range(last - first):
                _backward_row(p_tile[i], ds_tile[i], finite(lse[first + i]), row_sums[first + i])
            matmul_add(p_tile.T, g_tile, dv_tile)  # (width,rows) @ (rows,E) -> (width,E)
            matmul_add(
                ds_tile.T, q_tile, dk_tile
            )  # q carries the scale: (width,rows) @ (rows,D) -> (width,D)
            matmul_add(ds_tile, k_tile, dq_head[first:last])  # (rows,width) @ (width,D) -> (rows,D)
        unpack(dk_tile, h, start, one, dk)
        unpack(dv_tile, h, start, one, dv)
    unpack(dq_head, h, 0, scale, dq)


@kernel_part()
def _backward_row(p, ds, lse, row_sum):
    """Scores become probabilities in p; dP becomes dS in ds."""
    for j in range(p.size):
        p[j] = exp(p[j] - lse)
        ds[j] = p[j] * (ds[j] - row_sum)


@kernel_part()
def _dot(a, b):
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@kernel_part()
def finite(x):
    """0 for the -inf of a row that saw nothing: exp(-inf - 0) is the 0 wanted, exp(-inf - -inf) would be nan."""
    return type(x)(0) if x == -np.inf else x


@kernel_part()
def score(q_tile, k_t, mask, is_causal, n, h, first, start, keys, scores):
    """(rows,D) @ (D,width) -> scores (rows,width), of queries from `first` and keys from `start`; -inf if hidden."""
    scores[:] = 0
    matmul_add(q_tile, k_t, scores)
    for i in range(scores.shape[0]):
        row, shown = scores[i], min(keys - start, scores.shape[1])
        if mask.size > 0:
            added = mask[n % mask.shape[0], h % mask.shape[1], (first + i) % mask.shape[2]]
            for j in range(shown):
                row[j] += added[start + j]
        if is_causal:
            shown = min(shown, first + i + 1 - start)
        row[max(shown, 0) :] = -np.inf


@kernel_part()
def pack(x, h, first, scale, tile):
    """Rows of head h of x (length, heads, d), times scale, into tile (rows, d); zeros beyond the length."""
    for i in range(tile.shape[0]):
        if first + i < x.shape[0]:
            row = x[first + i, h]
            for d in range(row.size):
                tile[i, d] = row[d] * scale
        else:
            tile[i] = 0


@kernel_part()
def unpack(tile, h, first, scale, x):
    """The inverse of pack: rows beyond the length are dropped."""
    for i in range(min(tile.shape[0], x.shape[0] - first)):
        row, tile_row = x[first + i, h], tile[i]
        for d in range(row.size):
            row[d] = tile_row[d] * scale


@kernel_part()
def matmul_add(a, b, c):
    """c (I,J) += a (I,K) @ b (K,J). Four rows of b for each pass over a row of c, which saves loads and stores."""
    inner = a.shape[1]
    for i in range(c.shape[0]):
        row = c[i]
        for k in range(0, inner - 3, 4):
            a0, a1, a2, a3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(row.size):
                row[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
        for k in range(inner - inner % 4, inner):
            last, b_row = a[i, k], b[k]
            for j in range(row.size):
                row[j] += last * b_row[j]
