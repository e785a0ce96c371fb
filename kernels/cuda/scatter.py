"""Rows added to those rows of another array that indices name: the gradient of looking rows up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels import checks
from kernels.cuda.arrays import contiguous, empty, zeros
from kernels.cuda.launch import Source, ctype, vector_width

Array = Any  # cupy.ndarray

CHUNK = 32  # sorted rows that are summed one after another: as in scatter.cu

_source = Source("scatter.cu")


def index_add(shape: Sequence[int], indices: Array, g: Array) -> Array:
    """Zeros of shape (V,C) with row i of g (M,C) added to row indices[i], 0 <= indices[i] < V; deterministic."""
    import cupy

    checks.index_add(shape, indices, g)
    y = zeros(shape, g)
    if g.size == 0:
        return y
    with g.device:
        order = cupy.argsort(indices, kind="stable")
        keys = indices[order].astype(np.int64, copy=False)
    rows, channels = g.shape
    chunks = -(-rows // CHUNK)
    g, carried = contiguous(g), empty((chunks, channels), g)
    width = vector_width(channels, g, y, carried)
    kind, threads = f"{ctype(g.dtype)}, {width}", (chunks * (channels // width),)
    _source.launch(f"sum_runs<{kind}>", (g, order, keys, y, carried, rows, chunks, channels), threads, (256,), 256)
    _source.launch(f"join_runs<{kind}>", (keys, y, carried, rows, chunks, channels), threads, (256,), 256)
    return y
