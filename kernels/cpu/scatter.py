"""Rows added to those rows of another array that indices name: the gradient of looking rows up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels import checks
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import contiguous
from kernels.cpu.vector import lanes, load_first, store_first


def index_add(shape: Sequence[int], indices: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Zeros of shape (V,C) with row i of g (M,C) added to row indices[i], 0 <= indices[i] < V; in the order of i."""
    checks.index_add(shape, indices, g)
    if indices.size and (indices.min() < 0 or indices.max() >= shape[0]):
        raise IndexError(f"index_add: indices from {indices.min()} to {indices.max()} do not fit 0 to {shape[0] - 1}")
    y: np.ndarray = np.zeros(shape, g.dtype)
    _index_add(3 * g.size, y.reshape(-1), np.array(indices, np.int64), contiguous(g).reshape(-1), shape[1])
    return y


@parallel_kernel
def _index_add(part, parts, y, indices, g, channels):
    """A part takes some of the channels of all rows: so no two add to one place, and each adds in the rows' order."""
    vectors = (channels + lanes(y) - 1) // lanes(y)
    first, last = share(vectors, part, parts) * lanes(y), min(share(vectors, part + 1, parts) * lanes(y), channels)
    for i in range(indices.size):
        to, of = indices[i] * channels, i * channels
        for c in range(first, last, lanes(y)):
            total = load_first(y, to + c, last - c) + load_first(g, of + c, last - c)
            store_first(y, to + c, total, last - c)
