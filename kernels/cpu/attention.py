"""Attention in blocks of scores that stay in cache; memory grows with the length, not with its square.

The softmax of a row is taken while its keys go by (Rabe & Staats 2021, arXiv:2112.05682; FlashAttention,
Dao et al. 2022, arXiv:2205.14135, algorithm 1): with the largest score m so far, keep l = sum exp(s - m) and
o = sum exp(s - m) v; when a larger m' comes, scale both by exp(m - m'). In the end out = o / l, and
lse = m + log(l) is all that the backward pass needs to find any probability again, as exp(s - lse).

A block holds the scores of KEYS keys, its rows, by QUERIES queries, side by side: a vector of it belongs to as many
queries, and their softmaxes need no sums across a vector. Every product runs on the register tile, see `panels.py`.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu.functions import exp
from kernels.cpu.jit import kernel_part, parallel_kernel, share
from kernels.cpu.memory import aligned_empty, contiguous
from kernels.cpu.panels import (
    KEYS,
    QUERIES,
    add_for_keys,
    add_for_queries,
    fill,
    pack,
    pack_transposed,
    set_products,
    tile_columns,
    unpack,
    whole,
)
from kernels.cpu.tile import ROWS
from kernels.cpu.vector import (
    choose,
    lanes,
    larger,
    load,
    load_first,
    spread,
    store,
    total,
)

TASK = 256  # queries of a head that a task of the forward pass answers, and the fewest keys of one of the backward pass
FEW_HEADS = 8


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
    samples, length, heads, d = q.shape
    keys, e = k.shape[1], v.shape[3]
    out = np.empty((samples, length, heads, e), q.dtype)
    lse = np.empty((samples, heads, length), q.dtype)
    work = samples * heads * length * keys * (d + e) // 16
    sizes = (samples, length, keys, heads, d, e)
    inputs = (*flat(q), *flat(k), *flat(v), *added_mask(mask, q, k), bool(is_causal), q.dtype.type(scale))
    _attention(work, sizes, *inputs, out.reshape(-1), lse.reshape(-1))
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

    P = exp(scale q k^T + mask - lse) is made again block by block; with dP = g v^T and dS = P (dP - g . out),
    dv = P^T g, dk = scale dS^T q, dq = scale dS k.
    """
    scale = checks.attention_backward(g, out, lse, q, k, v, mask, scale)
    samples, length, heads, d = q.shape
    keys, e = k.shape[1], v.shape[3]
    spans = key_spans(samples * heads, keys)
    dq, dk, dv = np.empty((spans, *q.shape), q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    work = samples * heads * length * keys * (3 * d + 2 * e) // 16
    sizes = (samples, length, keys, heads, d, e, spans)
    inputs = (*flat(q), *flat(k), *flat(v), *added_mask(mask, q, k), bool(is_causal), q.dtype.type(scale))
    outputs = (dq.reshape(-1), dk.reshape(-1), dv.reshape(-1))
    _attention_backward(work, sizes, *flat(g), *flat(out), contiguous(lse).reshape(-1), *inputs, *outputs)
    return dq[0] if spans == 1 else dq.sum(axis=0), dk, dv


def key_spans(heads: int, keys: int) -> int:
    """Into how many spans the keys of a head are cut, each a task of the backward pass: more than one only where
    there are few heads (those of all samples) for the threads to share."""
    return max(1, min(FEW_HEADS // max(1, heads), keys // TASK))


def flat(x: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """(numbers, steps) with x[n, l, h, i] = numbers[n steps[0] + l steps[1] + h steps[2] + i].

    A view whose last axis is contiguous, such as the q, k and v of one projection, is read where it is.
    """
    in_place = x.size and x.strides[3] == x.itemsize and min(x.strides) > 0 and x.flags.writeable and x.flags.aligned
    if not in_place or any(step % x.itemsize for step in x.strides):
        x = x.copy(order="C")
    steps = [step // x.itemsize for step in x.strides]
    extent = 1 + sum((n - 1) * step for n, step in zip(x.shape, steps)) if x.size else 0
    numbers = np.lib.stride_tricks.as_strided(x, (extent,), (x.itemsize,))
    return numbers, (steps[0], steps[1], steps[2])


def added_mask(mask: np.ndarray | None, q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """(numbers, steps): numbers[n steps[0] + l steps[1] + h steps[2] + s] is added to a score; empty without a mask."""
    if mask is None:
        return np.empty(0, q.dtype), (0, 0, 0)
    if mask.dtype == bool:
        mask = np.where(mask, q.dtype.type(0), q.dtype.type(-np.inf))
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    mask = contiguous(np.broadcast_to(mask, (*mask.shape[:3], k.shape[1])))
    n, h, l = (0 if size == 1 else step // mask.itemsize for size, step in zip(mask.shape, mask.strides[:3]))
    return mask.reshape(-1), (n, l, h)


# ---- forward -------------------------------------------------------------------------------------------


@parallel_kernel
def _attention(part, parts, sizes, q, q_steps, k, k_steps, v, v_steps, mask, mask_steps, is_causal, scale, out, lse):
    samples, length, keys, heads, d, e = sizes
    width, one, zero, lowest = tile_columns(q), q.dtype.type(1), q.dtype.type(0), q.dtype.type(-np.inf)
    key_rows, query_rows, d_wide, e_wide = whole(keys, ROWS), whole(QUERIES, ROWS), whole(d, width), whole(e, width)
    shrink = 0  # where things are in the scratch memory
    top = shrink + QUERIES
    mass = top + QUERIES
    sums = mass + QUERIES
    block = sums + query_rows * e_wide
    q_t = block + KEYS * QUERIES  # the last tile of the columns of the block reaches beyond it
    k_panels = q_t + d_wide * QUERIES
    v_panels = k_panels + key_rows * d_wide
    memory = aligned_empty(v_panels + key_rows * e_wide, q)

    spans = (length + TASK - 1) // TASK
    tasks = samples * heads * spans
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, h, span = task // spans // heads, task // spans % heads, task % spans
        pack(k, at(k_steps, n, 0, h), k_steps[1], keys, d, one, memory, k_panels, key_rows)
        pack(v, at(v_steps, n, 0, h), v_steps[1], keys, e, one, memory, v_panels, key_rows)
        for first in range(span * TASK, min(length, span * TASK + TASK), QUERIES):
            queries = min(QUERIES, length - first)
            pack_transposed(q, at(q_steps, n, first, h), q_steps[1], queries, d, scale, memory, q_t)
            fill(memory, top, mass, lowest)
            fill(memory, mass, block, zero)
            for start in range(0, min(keys, first + queries) if is_causal else keys, KEYS):
                seen = min(KEYS, keys - start)
                set_products(memory, k_panels + start * width, key_rows, d, q_t, seen, queries, block)
                hide(memory, block, seen, queries, mask, at(mask_steps, n, first, h) + start, mask_steps[1])
                if is_causal:
                    hide_future(memory, block, seen, queries, start - first)
                _online_softmax(memory, block, seen, queries, top, mass, shrink)
                _scale_rows(memory, sums, query_rows, queries, e_wide, shrink)
                add_for_queries(memory, block, seen, queries, v_panels + start * width, key_rows, e, sums, query_rows)
            for i in range(queries):
                total_mass = memory[mass + i]
                lse[(n * heads + h) * length + first + i] = memory[top + i] + math.log(total_mass)  # -inf: saw nothing
                memory[shrink + i] = 1 / total_mass if total_mass != 0 else 0
            _scale_rows(memory, sums, query_rows, queries, e_wide, shrink)
            unpack(memory, sums, query_rows, queries, e, one, out, ((n * length + first) * heads + h) * e, heads * e)


@kernel_part()
def _online_softmax(memory, block, keys, queries, top, mass, shrink):
    """Scores become exp(score - top) of a new top; shrink is what the old sums are to be multiplied with."""
    for c in range(0, queries, lanes(memory)):
        old = load(memory, top + c)
        new = old
        for s in range(keys):
            new = larger(new, load(memory, block + s * QUERIES + c))
        shift = finite(new)
        factor = exp(old - shift)
        sums = load(memory, mass + c) * factor
        for s in range(keys):
            p = exp(load(memory, block + s * QUERIES + c) - shift)
            sums = sums + p
            store(memory, block + s * QUERIES + c, p)
        store(memory, top + c, new)
        store(memory, mass + c, sums)
        store(memory, shrink + c, factor)


@kernel_part()
def _scale_rows(memory, sums, height, rows, columns, factors):
    """Row i of the panels times factor i."""
    width = tile_columns(memory)
    for p in range(0, columns, width):
        for i in range(rows):
            for c in range(0, width, lanes(memory)):
                here = sums + p * height + i * width + c
                store(memory, here, load(memory, here) * memory[factors + i])


# ---- backward ------------------------------------------------------------------------------------------


@parallel_kernel
def _attention_backward(
    part, parts, sizes, g, g_steps, out, out_steps, lse, q, q_steps, k, k_steps, v, v_steps, mask, mask_steps,
    is_causal, scale, dq, dk, dv,
):  # fmt: skip
    samples, length, keys, heads, d, e, spans = sizes
    width, one, zero = tile_columns(q), q.dtype.type(1), q.dtype.type(0)
    span_keys = whole((keys + spans - 1) // spans, KEYS)
    query_rows, d_wide, e_wide = whole(QUERIES, ROWS), whole(d, width), whole(e, width)
    row_sums = 0  # where things are in the scratch memory
    p = row_sums + QUERIES
    ds = p + KEYS * QUERIES
    q_t = ds + KEYS * QUERIES  # the last tile of the columns of ds reaches beyond it
    g_t = q_t + d_wide * QUERIES
    q_panels = g_t + e_wide * QUERIES
    g_panels = q_panels + query_rows * d_wide
    dq_sums = g_panels + query_rows * e_wide
    k_panels = dq_sums + query_rows * d_wide
    v_panels = k_panels + span_keys * d_wide
    dk_sums = v_panels + span_keys * e_wide
    dv_sums = dk_sums + span_keys * d_wide
    memory = aligned_empty(dv_sums + span_keys * e_wide, q)

    tasks = samples * heads * spans
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, h, span = task // spans // heads, task // spans % heads, task % spans
        begin = min(keys, span * span_keys)
        end = min(keys, begin + span_keys)
        pack(k, at(k_steps, n, begin, h), k_steps[1], end - begin, d, one, memory, k_panels, span_keys)
        pack(v, at(v_steps, n, begin, h), v_steps[1], end - begin, e, one, memory, v_panels, span_keys)
        fill(memory, dk_sums, memory.size, zero)
        for first in range(0, length, QUERIES):
            queries = min(QUERIES, length - first)
            q_at, g_at, out_at = at(q_steps, n, first, h), at(g_steps, n, first, h), at(out_steps, n, first, h)
            pack_transposed(q, q_at, q_steps[1], queries, d, scale, memory, q_t)
            pack_transposed(g, g_at, g_steps[1], queries, e, one, memory, g_t)
            pack(q, q_at, q_steps[1], queries, d, scale, memory, q_panels, query_rows)
            pack(g, g_at, g_steps[1], queries, e, one, memory, g_panels, query_rows)
            for i in range(queries):
                memory[row_sums + i] = _dot(g, g_at + i * g_steps[1], out, out_at + i * out_steps[1], e)
            fill(memory, dq_sums, k_panels, zero)
            for start in range(begin, min(end, first + queries) if is_causal else end, KEYS):
                seen, row = min(KEYS, end - start), (start - begin) * width
                set_products(memory, k_panels + row, span_keys, d, q_t, seen, queries, p)
                hide(memory, p, seen, queries, mask, at(mask_steps, n, first, h) + start, mask_steps[1])
                if is_causal:
                    hide_future(memory, p, seen, queries, start - first)
                set_products(memory, v_panels + row, span_keys, e, g_t, seen, queries, ds)
                _softmax_backward(memory, p, ds, seen, queries, lse, (n * heads + h) * length + first, row_sums)
                add_for_keys(memory, p, seen, queries, g_panels, query_rows, e, dv_sums + row, span_keys)
                add_for_keys(memory, ds, seen, queries, q_panels, query_rows, d, dk_sums + row, span_keys)
                add_for_queries(memory, ds, seen, queries, k_panels + row, span_keys, d, dq_sums, query_rows)
            dq_at = (((span * samples + n) * length + first) * heads + h) * d
            unpack(memory, dq_sums, query_rows, queries, d, scale, dq, dq_at, heads * d)
        row = (n * keys + begin) * heads + h
        unpack(memory, dk_sums, span_keys, end - begin, d, one, dk, row * d, heads * d)
        unpack(memory, dv_sums, span_keys, end - begin, e, one, dv, row * e, heads * e)


@kernel_part()
def _softmax_backward(memory, p, ds, keys, queries, lse, lse_at, row_sums):
    """In place: scores p become probabilities, dP in ds becomes dS = P (dP - sum of the row's P dP)."""
    for c in range(0, queries, lanes(memory)):
        shift, row_sum = finite(load_first(lse, lse_at + c, queries - c)), load(memory, row_sums + c)
        for s in range(keys):
            here = s * QUERIES + c
            probability = exp(load(memory, p + here) - shift)
            store(memory, p + here, probability)
            store(memory, ds + here, probability * (load(memory, ds + here) - row_sum))


@kernel_part()
def _dot(a, a_at, b, b_at, size):
    sums = spread(a, 0)
    for i in range(0, size, lanes(a)):
        sums = sums + load_first(a, a_at + i, size - i) * load_first(b, b_at + i, size - i)
    return total(sums)


# ---- hidden scores and places ------------------------------------------------------------------------


@kernel_part()
def hide(memory, block, keys, queries, mask, start, step):
    """Adds the mask to the scores, if there is one; that of query i begins at mask[start + i step]."""
    if mask.size > 0:
        for s in range(keys):
            for i in range(queries):
                memory[block + s * QUERIES + i] += mask[start + i * step + s]


@kernel_part()
def hide_future(memory, block, keys, queries, ahead):
    """-inf for the keys after a query, where the first key is `ahead` of the first query."""
    for s in range(max(0, 1 - ahead), keys):
        for i in range(min(queries, s + ahead)):
            memory[block + s * QUERIES + i] = -np.inf


@kernel_part(inline="always")
def finite(v):
    """0 for the -inf of a row that saw nothing: exp(-inf - 0) is 0 as wanted, exp(-inf - -inf) is nan."""
    return choose(v == -np.inf, 0.0, v)


@kernel_part(inline="always")
def at(steps, n, row, h):
    """Where the row of head h of sample n begins."""
    return n * steps[0] + row * steps[1] + h * steps[2]
