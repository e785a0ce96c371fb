"""The optimiser's kernels: one launch for all arrays of a network with a dtype, which stay where they are.

A network has hundreds of arrays, most of them small: a launch for each would take longer than its work. So a kernel
gets a table of where the arrays are, which goes to the GPU in one copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels import checks
from kernels.cuda.arrays import contiguous, empty
from kernels.cuda.launch import Source, ctype

Array = Any  # cupy.ndarray
Arrays = Sequence[Array]

THREADS = 256
CHUNK = 4096  # numbers of an array that a block takes: as in optimizer.cu

_source = Source("optimizer.cu")

# ---- tables of arrays ----------------------------------------------------------------------------------


class Table(NamedTuple):
    on_device: Array  # uint64, as optimizer.cu describes it
    arrays: int
    blocks: int


def _table(*lists: Arrays, extra: Sequence[np.ndarray] = ()) -> Table:
    """The arrays of the first list and those that go with them, or None; extra: float64, a number for each array."""
    import cupy

    first = lists[0]
    devices = {a.device.id for arrays in lists for a in arrays if a is not None}
    if len(devices) > 1:
        raise ValueError(f"the arrays of one call must be on one device; got devices {sorted(devices)}")
    sizes = np.array([a.size for a in first], np.uint64)
    last = np.cumsum(-(-sizes.astype(np.int64) // CHUNK))
    addresses = [[0 if a is None else a.data.ptr for a in arrays] for arrays in lists]
    table = np.empty((2 + len(lists) + len(extra), len(first)), np.uint64)
    table[0], table[0, 1:], table[1] = 0, last[:-1], sizes
    table[2 : 2 + len(lists)] = addresses
    for row, numbers in zip(table[2 + len(lists) :], extra):
        row[:] = numbers.view(np.uint64)
    with first[0].device:
        return Table(cupy.asarray(table), len(first), int(last[-1]))


def _by_dtype(*lists: Sequence) -> Iterator[tuple[np.dtype, list[list]]]:
    """The lists for each dtype among the arrays of the first that are not empty, with what belongs to those arrays."""
    for dtype in dict.fromkeys([a.dtype for a in lists[0] if a.size]):
        chosen = [values for values in zip(*lists) if values[0].dtype == dtype and values[0].size]
        yield dtype, [list(column) for column in zip(*chosen)]


def _launch(kernel: str, dtype: np.dtype, table: Table, *args: Any) -> None:
    args = (table.on_device, table.arrays, *args)
    _source.launch(f"{kernel}<{ctype(dtype)}>", args, (table.blocks,), (1,), THREADS)


# ---- the kernels ---------------------------------------------------------------------------------------


def adam_(
    parameters: Arrays,
    gradients: Arrays,
    means: Arrays,
    squares: Arrays,
    updates: Sequence[int],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    scale: float = 1.0,
    averages: Sequence[Array | None] | None = None,
    average_decay: float = 0.0,
) -> None:
    """One step of Adam or AdamW in place, and of the parameters' moving average: see `kernels.reference`."""
    checks.adam(parameters, gradients, means, squares, updates, averages)
    averages = [None] * len(parameters) if averages is None else averages
    (b1, b2), (coupled, shrunk) = betas, (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
    gradients = [contiguous(g) for g in gradients]
    for dtype, lists in _by_dtype(parameters, gradients, means, squares, averages, updates):
        *arrays, t = lists
        times = np.array(t, np.float64)
        corrections = lr / (1 - b1**times), 1 / np.sqrt(1 - b2**times)  # of the start at 0
        numbers = scale, coupled, 1 - lr * shrunk, 1 - b1, 1 - b2, eps, 1 - average_decay
        _launch("adam", dtype, _table(*arrays, extra=corrections), *numbers)


def global_norm(arrays: Arrays) -> float:
    """The root of the sum of the squares of all numbers of all arrays, in float64. Waits for the GPU."""
    checks.floats("global_norm", "arrays", arrays)
    arrays = [contiguous(a) for a in arrays]  # these copies must live until the kernels have been launched
    tables = [(dtype, _table(same)) for dtype, (same,) in _by_dtype(arrays)]
    if not tables:
        return 0.0
    blocks = sum(table.blocks for _, table in tables)
    sums, total = (empty((n,), tables[0][1].on_device, np.float64) for n in (blocks, 1))
    first = 0
    for dtype, table in tables:
        _launch("sum_squares", dtype, table, sums, first)
        first += table.blocks
    _source.launch("sum_sums", (sums, blocks, total), (1,), (1,), THREADS)
    return math.sqrt(total.item())


def scale_(arrays: Arrays, factor: float) -> None:
    """array *= factor for each of the arrays, in place; they must not overlap."""
    checks.changeable("scale_", "arrays", arrays)
    for dtype, (same,) in _by_dtype(arrays):
        _launch("scale", dtype, _table(same), factor)


def lerp_(arrays: Arrays, targets: Arrays, weight: float) -> None:
    """array += weight (target - array) for each of the arrays, in place; they must not overlap."""
    checks.lerp(arrays, targets)
    for dtype, lists in _by_dtype(arrays, [contiguous(t) for t in targets]):
        _launch("lerp", dtype, _table(*lists), weight)


def add_(arrays: Arrays, others: Arrays) -> None:
    """array += other for each of the arrays, in place; they must not overlap."""
    checks.add(arrays, others)
    pairs = []
    for a, other in zip(arrays, others):
        if a.flags.c_contiguous:
            pairs.append((a, contiguous(other)))
        else:
            with a.device:
                a += other
    for dtype, lists in _by_dtype(*zip(*pairs)) if pairs else ():
        _launch("add", dtype, _table(*lists))
