"""Attention in blocks of scores that stay in cache; memory grows with the length, not with its square.

The softmax of a row is taken while its keys go by (Rabe & Staats 2021, arXiv:2112.05682; FlashAttention,
Dao et al. 2022, arXiv:2205.14135, algorithm 1): with the largest score m so far, keep l = sum exp(s - m) and
o = sum exp(s - m) v; when a larger m' comes, scale both by exp(m - m'). In the end out = o / l, and
lse = m + log(l) is all that the backward pass needs to find any probability again, as exp(s - lse).

A block holds the scores of KEYS keys, its rows, by QUERIES queries, side by side: a vector of it belongs to as many
queries, and their softmaxes need no sums across a vector. Every product runs on the register tile of `tile.py`:

    scores = k q^T             row by row of k, in panels of q^T
    out   += block^T v         column by column of the block, in panels of v; likewise dq += dS^T k
    dv    += block g           row by row of the block, in panels of g; likewise dk += dS q

A panel of a matrix is as many of its columns as a tile is wide, row under row, the last one filled up with zeros.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu.functions import exp
from kernels.cpu.jit import kernel_part, parallel_kernel, plain, share
from kernels.cpu.tile import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    add_even_product,
    tile_load_even,
    tile_store_even,
    zero_tile,
)
from kernels.cpu.vector import choose, lanes, larger, load, load_first, spread, store, store_first, total

QUERIES = 64  # of a block, which has 17 kB in float32: half of the first-level cache
KEYS = -(-64 // ROWS) * ROWS  # whole tiles
QUERY_ROWS = -(-QUERIES // ROWS) * ROWS  # of sums for the queries of a block; what is beyond QUERIES is not used
TASK = 256  # queries that a task of the forward pass answers, of one head


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
    inputs = (*flat(q), *flat(k), *flat(v), added_mask(mask, q, k), bool(is_causal), q.dtype.type(scale))
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
    dq, dk, dv = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    work = samples * heads * length * keys * (3 * d + 2 * e) // 16
    sizes = (samples, length, keys, heads, d, e)
    inputs = (*flat(q), *flat(k), *flat(v), added_mask(mask, q, k), bool(is_causal), q.dtype.type(scale))
    outputs = (dq.reshape(-1), dk.reshape(-1), dv.reshape(-1))
    _attention_backward(work, sizes, *flat(g), *flat(out), plain(lse).reshape(-1), *inputs, *outputs)
    return dq, dk, dv


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


def added_mask(mask: np.ndarray | None, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """What is added to the scores, (N or 1, H or 1, L or 1, S); empty if there is no mask."""
    if mask is None:
        return np.empty((0, 0, 0, 0), q.dtype)
    if mask.dtype == bool:
        mask = np.where(mask, q.dtype.type(0), q.dtype.type(-np.inf))
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return plain(np.broadcast_to(mask, (*mask.shape[:3], k.shape[1])))


# ---- forward -------------------------------------------------------------------------------------------


@parallel_kernel
def _attention(part, parts, sizes, q, q_steps, k, k_steps, v, v_steps, mask, is_causal, scale, out, lse):
    samples, length, keys, heads, d, e = sizes
    key_rows, d_wide, e_wide = whole(keys, ROWS), whole(d, tile_columns(q)), whole(e, tile_columns(q))
    k_panels, v_panels = scratch(q, key_rows * d_wide), scratch(q, key_rows * e_wide)
    q_t, sums = scratch(q, d * QUERIES), scratch(q, QUERY_ROWS * e_wide)
    block = scratch(q, (KEYS + 1) * QUERIES)  # the last tile of columns reaches beyond the last row
    top, mass, shrink = scratch(q, QUERIES), scratch(q, QUERIES), scratch(q, QUERIES)
    spans = (length + TASK - 1) // TASK
    tasks = samples * heads * spans
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, h, span = task // spans // heads, task // spans % heads, task % spans
        pack(k, at(k_steps, n, 0, h), k_steps[1], keys, d, 1, k_panels, key_rows)
        pack(v, at(v_steps, n, 0, h), v_steps[1], keys, e, 1, v_panels, key_rows)
        for first in range(span * TASK, min(length, span * TASK + TASK), QUERIES):
            queries = min(QUERIES, length - first)
            pack_transposed(q, at(q_steps, n, first, h), q_steps[1], queries, d, scale, q_t)
            sums[:] = 0
            top[:] = -np.inf
            mass[:] = 0
            for start in range(0, min(keys, first + queries) if is_causal else keys, KEYS):
                seen = min(KEYS, keys - start)
                set_products(k_panels, start, key_rows, d, q_t, seen, queries, block)
                hide(block, seen, queries, mask, is_causal, n, h, first, start)
                _online_softmax(block, seen, queries, top, mass, shrink)
                _scale_rows(sums, queries, e_wide, shrink)
                add_for_queries(block, seen, queries, v_panels, start, key_rows, e, sums)
            for i in range(queries):
                lse[(n * heads + h) * length + first + i] = top[i] + math.log(mass[i])  # -inf + -inf: saw nothing
                shrink[i] = 1 / mass[i] if mass[i] != 0 else 0
            _scale_rows(sums, queries, e_wide, shrink)
            unpack(sums, QUERY_ROWS, queries, e, 1, out, ((n * length + first) * heads + h) * e, heads * e)


@kernel_part()
def _online_softmax(block, keys, queries, top, mass, shrink):
    """Scores become exp(score - top) of a new top; shrink is what the old sums are to be multiplied with."""
    for c in range(0, queries, lanes(block)):
        old = load(top, c)
        new = old
        for s in range(keys):
            new = larger(new, load(block, s * QUERIES + c))
        shift = finite(new)
        factor = exp(old - shift)
        sums = load(mass, c) * factor
        for s in range(keys):
            p = exp(load(block, s * QUERIES + c) - shift)
            sums = sums + p
            store(block, s * QUERIES + c, p)
        store(top, c, new)
        store(mass, c, sums)
        store(shrink, c, factor)


@kernel_part()
def _scale_rows(sums, rows, columns, factors):
    """Row i of the panels times factors[i]."""
    width = tile_columns(sums)
    for p in range(0, columns, width):
        for i in range(rows):
            for c in range(0, width, lanes(sums)):
                here = p * QUERY_ROWS + i * width + c
                store(sums, here, load(sums, here) * factors[i])


# ---- backward ------------------------------------------------------------------------------------------


@parallel_kernel
def _attention_backward(
    part, parts, sizes, g, g_steps, out, out_steps, lse, q, q_steps, k, k_steps, v, v_steps, mask, is_causal, scale,
    dq, dk, dv,
):  # fmt: skip
    samples, length, keys, heads, d, e = sizes
    key_rows, d_wide, e_wide = whole(keys, ROWS), whole(d, tile_columns(q)), whole(e, tile_columns(q))
    k_panels, v_panels = scratch(q, key_rows * d_wide), scratch(q, key_rows * e_wide)
    dk_sums, dv_sums = scratch(q, key_rows * d_wide), scratch(q, key_rows * e_wide)
    q_t, g_t, dq_sums = scratch(q, d * QUERIES), scratch(q, e * QUERIES), scratch(q, QUERY_ROWS * d_wide)
    q_panels, g_panels = scratch(q, QUERIES * d_wide), scratch(q, QUERIES * e_wide)
    p, ds = scratch(q, (KEYS + 1) * QUERIES), scratch(q, (KEYS + 1) * QUERIES)
    shift, row_sums = scratch(q, QUERIES), scratch(q, QUERIES)
    tasks = samples * heads
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, h = task // heads, task % heads
        pack(k, at(k_steps, n, 0, h), k_steps[1], keys, d, 1, k_panels, key_rows)
        pack(v, at(v_steps, n, 0, h), v_steps[1], keys, e, 1, v_panels, key_rows)
        dk_sums[:] = 0
        dv_sums[:] = 0
        for first in range(0, length, QUERIES):
            queries = min(QUERIES, length - first)
            pack_transposed(q, at(q_steps, n, first, h), q_steps[1], queries, d, scale, q_t)
            pack_transposed(g, at(g_steps, n, first, h), g_steps[1], queries, e, 1, g_t)
            pack(q, at(q_steps, n, first, h), q_steps[1], queries, d, scale, q_panels, QUERIES)
            pack(g, at(g_steps, n, first, h), g_steps[1], queries, e, 1, g_panels, QUERIES)
            for i in range(queries):
                shift[i] = lse[(n * heads + h) * length + first + i]
                row_sums[i] = _dot(g, at(g_steps, n, first + i, h), out, at(out_steps, n, first + i, h), e)
            dq_sums[:] = 0
            for start in range(0, min(keys, first + queries) if is_causal else keys, KEYS):
                seen = min(KEYS, keys - start)
                set_products(k_panels, start, key_rows, d, q_t, seen, queries, p)
                hide(p, seen, queries, mask, is_causal, n, h, first, start)
                set_products(v_panels, start, key_rows, e, g_t, seen, queries, ds)
                _softmax_backward(p, ds, seen, queries, shift, row_sums)
                add_for_keys(p, seen, queries, g_panels, e, dv_sums, start, key_rows)
                add_for_keys(ds, seen, queries, q_panels, d, dk_sums, start, key_rows)
                add_for_queries(ds, seen, queries, k_panels, start, key_rows, d, dq_sums)
            unpack(dq_sums, QUERY_ROWS, queries, d, scale, dq, ((n * length + first) * heads + h) * d, heads * d)
        unpack(dk_sums, key_rows, keys, d, 1, dk, (n * keys * heads + h) * d, heads * d)
        unpack(dv_sums, key_rows, keys, e, 1, dv, (n * keys * heads + h) * e, heads * e)


@kernel_part()
def _softmax_backward(p, ds, keys, queries, lse, row_sums):
    """In place: scores p become probabilities, dP in ds becomes dS = P (dP - sum of the row's P dP)."""
    for c in range(0, queries, lanes(p)):
        shift, row_sum = finite(load(lse, c)), load(row_sums, c)
        for s in range(keys):
            here = s * QUERIES + c
            probability = exp(load(p, here) - shift)
            store(p, here, probability)
            store(ds, here, probability * (load(ds, here) - row_sum))


@kernel_part()
def _dot(a, a_at, b, b_at, size):
    sums = spread(a, 0)
    for i in range(0, size, lanes(a)):
        sums = sums + load_first(a, a_at + i, size - i) * load_first(b, b_at + i, size - i)
    return total(sums)


# ---- products with a block -----------------------------------------------------------------------------


@kernel_part()
def set_products(rows, start, row_count, size, columns, keys, queries, block):
    """block = rows[start : start + keys] @ columns: rows (row_count, size) and columns (size, QUERIES) in panels."""
    width = tile_columns(rows)
    for c in range(0, queries, width):
        for r in range(0, keys, ROWS):
            tile = zero_tile(rows)
            for p in range(0, size, width):
                here = p * row_count + (start + r) * width
                for i in range(min(width, size - p)):
                    tile = add_even_product(tile, rows, here + i, width, columns, c * size + (p + i) * width)
            tile_store_even(tile, block, r * QUERIES + c, QUERIES)


@kernel_part()
def add_for_keys(block, keys, queries, panels, size, sums, start, row_count):
    """sums[start : start + keys] += block @ panels: panels (QUERIES, size), sums (row_count, size)."""
    width = tile_columns(block)
    for p in range(0, size, width):
        for r in range(0, keys, ROWS):
            here = p * row_count + (start + r) * width
            tile = tile_load_even(sums, here, width)
            for i in range(queries):
                tile = add_even_product(tile, block, r * QUERIES + i, QUERIES, panels, p * QUERIES + i * width)
            tile_store_even(tile, sums, here, width)


@kernel_part()
def add_for_queries(block, keys, queries, panels, start, row_count, size, sums):
    """sums += block^T @ panels[start : start + keys]: panels (row_count, size), sums (QUERY_ROWS, size)."""
    width = tile_columns(block)
    for p in range(0, size, width):
        for r in range(0, queries, ROWS):
            here = p * QUERY_ROWS + r * width
            tile = tile_load_even(sums, here, width)
            for i in range(keys):
                row = p * row_count + (start + i) * width
                tile = add_even_product(tile, block, i * QUERIES + r, 1, panels, row)
            tile_store_even(tile, sums, here, width)


@kernel_part()
def hide(block, keys, queries, mask, is_causal, n, h, first, start):
    """Scores (keys from `start`, queries from `first`) plus the mask; -inf where a key is hidden."""
    if mask.size > 0:
        for i in range(queries):
            added = mask[n % mask.shape[0], h % mask.shape[1], (first + i) % mask.shape[2]]
            for s in range(keys):
                block[s * QUERIES + i] += added[start + s]
    if is_causal and start + keys > first:
        for s in range(max(first + 1 - start, 0), keys):
            block[s * QUERIES : s * QUERIES + min(start + s - first, queries)] = -np.inf


@kernel_part(inline="always")
def finite(v):
    """0 for the -inf of a row that saw nothing: exp(-inf - 0) is 0 as wanted, exp(-inf - -inf) is nan."""
    return choose(v == -np.inf, 0.0, v)


# ---- scratch -------------------------------------------------------------------------------------------


@kernel_part(inline="always")
def tile_columns(x):
    return VECTORS * VECTOR_BYTES // x.itemsize


@kernel_part(inline="always")
def whole(n, unit):
    """n, rounded up to a multiple of the unit."""
    return (n + unit - 1) // unit * unit


@kernel_part(inline="always")
def at(steps, n, row, h):
    """Where the row of head h of sample n begins."""
    return n * steps[0] + row * steps[1] + h * steps[2]


@kernel_part()
def scratch(x, size):
    """An empty array of the dtype of x that starts on a cache line, so that no vector of a panel straddles two."""
    line = 64 // x.itemsize
    memory = np.empty(size + line, x.dtype)
    start = -(memory.ctypes.data // x.itemsize) % line
    return memory[start : start + size]


@kernel_part()
def pack(x, start, step, rows, columns, scale, panels, panel_rows):
    """scale x (rows, columns), whose row i begins at x[start + i step], as panels of panel_rows rows."""
    width = tile_columns(x)
    for c in range(0, whole(columns, width), lanes(x)):
        here = c // width * panel_rows * width + c % width
        for i in range(rows):
            store(panels, here + i * width, load_first(x, start + i * step + c, columns - c) * scale)
        for i in range(rows, panel_rows):
            store(panels, here + i * width, spread(x, 0))


@kernel_part()
def unpack(panels, panel_rows, rows, columns, scale, x, start, step):
    """The inverse of `pack`."""
    width = tile_columns(x)
    for c in range(0, columns, lanes(x)):
        here = c // width * panel_rows * width + c % width
        for i in range(rows):
            store_first(x, start + i * step + c, load(panels, here + i * width) * scale, columns - c)


@kernel_part()
def pack_transposed(x, start, step, rows, columns, scale, panels):
    """scale x^T (columns, rows up to QUERIES) as panels."""
    width = tile_columns(x)
    for i in range(QUERIES):
        here = i // width * columns * width + i % width
        for c in range(columns):
            panels[here + c * width] = x[start + i * step + c] * scale if i < rows else 0
