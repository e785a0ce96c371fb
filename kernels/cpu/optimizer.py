"""The optimiser's kernels: one launch for all arrays of a network, which stay where they are.

A network has hundreds of arrays, most of them small: a launch for each would take longer than its work. So a kernel
gets a table of where the arrays are, and a part takes its share of all their numbers, laid end to end:

    arrays    |      0      |1|2|          3           |
    parts     |     0     |     1     |     2    |  3  |

Each number is read once and written once, whatever happens to it on the way: memory is what limits these kernels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numba import carray, types

from kernels import checks
from kernels.cpu.jit import allocating_part, intrinsic, kernel_part, parallel_kernel, share
from kernels.cpu.memory import contiguous, rows_of
from kernels.cpu.vector import in_float64, lanes, load_first, spread, square_root, store_first, total

BLOCK = 2**14  # numbers that are summed by themselves: the partition of a sum must not depend on the threads

Arrays = Sequence[np.ndarray]

# ---- tables of arrays ----------------------------------------------------------------------------------

# NumPy's C interface fixes that an array object begins with Python's header, followed by the address of its numbers.
# A kernel reads that address there. Asking for it in Python, `a.ctypes.data`, takes 1 us for each array.
_HEADER = object.__basicsize__


def _table(*lists: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Where the array objects are, (lists, arrays), and where in a row of all numbers each array begins and ends."""
    starts = np.zeros(len(lists[0]) + 1, np.intp)
    np.cumsum([a.size for a in lists[0]], out=starts[1:])
    return np.array([[0 if a is None else id(a) for a in arrays] for arrays in lists], np.intp), starts


def _by_dtype(*lists: Sequence) -> Iterator[tuple[np.dtype, list[list]]]:
    """The lists for each dtype that there is among the arrays of the first, with what belongs to those arrays."""
    for dtype in dict.fromkeys([a.dtype for a in lists[0]]):
        chosen = [values for values in zip(*lists) if values[0].dtype == dtype]
        yield dtype, [list(column) for column in zip(*chosen)]


@allocating_part()
def _numbers_of(array, size, like):
    """The numbers of the array object at this address, flat; their dtype is that of `like`."""
    return carray(_pointer(carray(_pointer(array + _HEADER, np.intp(0)), 1)[0], like[0]), size)


@intrinsic
def _pointer(typing, address, number):
    """The address as a pointer to numbers of this type."""
    pointer = types.CPointer(number)

    def write(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(pointer))

    return pointer(types.intp, number), write


@kernel_part()
def _piece(starts, i, first, last):
    """Which numbers of array i are among the first to the last (excluded) of all: from, to."""
    return max(first, starts[i]) - starts[i], min(last, starts[i + 1]) - starts[i]


# ---- Adam ----------------------------------------------------------------------------------------------


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
    averages: Sequence[np.ndarray | None] | None = None,
    average_decay: float = 0.0,
) -> None:
    """One step of Adam or AdamW in place, and of the parameters' moving average: see `kernels.reference`."""
    checks.adam(parameters, gradients, means, squares, updates, averages)
    averages = [None] * len(parameters) if averages is None else averages
    (b1, b2), (coupled, shrunk) = betas, (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
    numbers = np.array([scale, coupled, 1 - lr * shrunk, 1 - b1, 1 - b2, eps, 1 - average_decay])
    gradients = [contiguous(g) for g in gradients]
    for dtype, lists in _by_dtype(parameters, gradients, means, squares, averages, updates):
        *arrays, t = lists
        table, starts = _table(*arrays)
        times = np.array(t, np.float64)
        corrections = np.stack([lr / (1 - b1**times), 1 / np.sqrt(1 - b2**times)])  # of the start at 0
        _adam(7 * int(starts[-1]), table, starts, corrections.astype(dtype), numbers.astype(dtype))


@parallel_kernel
def _adam(part, parts, table, starts, corrections, numbers):
    scale, coupled, kept, new_mean, new_square, eps, new_average = numbers
    first, last = share(starts[-1], part, parts), share(starts[-1], part + 1, parts)
    for i in range(starts.size - 1):
        begin, end = _piece(starts, i, first, last)
        if begin < end:
            p, g = _numbers_of(table[0, i], end, numbers), _numbers_of(table[1, i], end, numbers)
            m, v = _numbers_of(table[2, i], end, numbers), _numbers_of(table[3, i], end, numbers)
            averaged = table[4, i] != 0
            average = _numbers_of(table[4, i] if averaged else table[0, i], end, numbers)
            rate, root = corrections[0, i], corrections[1, i]
            for at in range(begin, end, lanes(p)):
                n = end - at
                value, mean, square = load_first(p, at, n), load_first(m, at, n), load_first(v, at, n)
                gradient = scale * load_first(g, at, n) + coupled * value
                mean = mean + new_mean * (gradient - mean)
                square = square + new_square * (gradient * gradient - square)
                value = kept * value - rate * mean / (square_root(square) * root + eps)
                store_first(p, at, value, n)
                store_first(m, at, mean, n)
                store_first(v, at, square, n)
                if averaged:
                    old = load_first(average, at, n)
                    store_first(average, at, old + new_average * (value - old), n)


# ---- norms and averages --------------------------------------------------------------------------------


def global_norm(arrays: Arrays) -> float:
    """The root of the sum of the squares of all numbers of all arrays, in float64."""
    checks.floats("global_norm", "arrays", arrays)
    squares = 0.0
    for dtype, (same,) in _by_dtype([contiguous(a) for a in arrays]):
        table, starts = _table(same)
        sums = np.empty(-(-int(starts[-1]) // BLOCK))
        _sum_squares(int(starts[-1]), table, starts, np.empty(1, dtype), sums)
        squares += float(sums.sum())
    return math.sqrt(squares)


@parallel_kernel
def _sum_squares(part, parts, table, starts, like, sums):
    """The sum of the squares of each block of all numbers, in float64."""
    for block in range(share(sums.size, part, parts), share(sums.size, part + 1, parts)):
        squares = in_float64(spread(like, 0))
        for i in range(starts.size - 1):
            begin, end = _piece(starts, i, block * BLOCK, (block + 1) * BLOCK)
            if begin < end:
                x = _numbers_of(table[0, i], end, like)
                for at in range(begin, end, lanes(x)):
                    values = in_float64(load_first(x, at, end - at))
                    squares = squares + values * values
        sums[block] = total(squares)


def scale_(arrays: Arrays, factor: float) -> None:
    """array *= factor for each of the arrays, in place; they must not overlap."""
    checks.changeable("scale_", "arrays", arrays)
    for dtype, (same,) in _by_dtype(arrays):
        table, starts = _table(same)
        _scale(2 * int(starts[-1]), table, starts, np.array([factor], dtype))


@parallel_kernel
def _scale(part, parts, table, starts, factor):
    first, last = share(starts[-1], part, parts), share(starts[-1], part + 1, parts)
    for i in range(starts.size - 1):
        begin, end = _piece(starts, i, first, last)
        if begin < end:
            x = _numbers_of(table[0, i], end, factor)
            for at in range(begin, end, lanes(x)):
                store_first(x, at, factor[0] * load_first(x, at, end - at), end - at)


def lerp_(arrays: Arrays, targets: Arrays, weight: float) -> None:
    """array += weight (target - array) for each of the arrays, in place; they must not overlap."""
    checks.lerp(arrays, targets)
    targets = [contiguous(t) for t in targets]
    for dtype, lists in _by_dtype(arrays, targets):
        table, starts = _table(*lists)
        _lerp(3 * int(starts[-1]), table, starts, np.array([weight], dtype))


@parallel_kernel
def _lerp(part, parts, table, starts, weight):
    first, last = share(starts[-1], part, parts), share(starts[-1], part + 1, parts)
    for i in range(starts.size - 1):
        begin, end = _piece(starts, i, first, last)
        if begin < end:
            x, target = _numbers_of(table[0, i], end, weight), _numbers_of(table[1, i], end, weight)
            for at in range(begin, end, lanes(x)):
                old = load_first(x, at, end - at)
                store_first(x, at, old + weight[0] * (load_first(target, at, end - at) - old), end - at)


def add_(arrays: Arrays, others: Arrays) -> None:
    """array += other for each of the arrays, in place; they must not overlap."""
    checks.add(arrays, others)
    others = [contiguous(other) for other in others]
    for a, other in zip(arrays, others):
        if not a.flags.carray:
            _add_to_view(a, other)
    pairs = [(a, other) for a, other in zip(arrays, others) if a.flags.carray]
    for dtype, lists in _by_dtype(*zip(*pairs)) if pairs else ():
        table, starts = _table(*lists)
        _add(3 * int(starts[-1]), table, starts, np.empty(1, dtype))


@parallel_kernel
def _add(part, parts, table, starts, like):
    first, last = share(starts[-1], part, parts), share(starts[-1], part + 1, parts)
    for i in range(starts.size - 1):
        begin, end = _piece(starts, i, first, last)
        if begin < end:
            x, other = _numbers_of(table[0, i], end, like), _numbers_of(table[1, i], end, like)
            for at in range(begin, end, lanes(x)):
                store_first(x, at, load_first(x, at, end - at) + load_first(other, at, end - at), end - at)


def _add_to_view(a: np.ndarray, other: np.ndarray) -> None:
    rows = rows_of(a)
    if rows is None:
        a += other
    else:
        _add_rows(3 * a.size, *rows, other.reshape(-1))


@parallel_kernel
def _add_rows(part, parts, x, first, step, count, length, other):
    for r in range(share(count, part, parts), share(count, part + 1, parts)):
        for at in range(0, length, lanes(x)):
            old, new = first + r * step + at, r * length + at
            total = load_first(x, old, length - at) + load_first(other, new, length - at)
            store_first(x, old, total, length - at)
