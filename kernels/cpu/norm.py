"""Group normalisation, optionally followed by SiLU, forwards and backwards.

A sample is an (M,C) matrix, M positions by C channels, and is worked on in *units* of neighbouring positions, in two
stages: sums over the unit for each channel; then, when those of all of the sample's units have been added up, the
output. A sample that stays in a core's cache between the stages goes through both at once, and memory is read once.
Of few or large samples the threads share the units, and each stage is a call of its own. How a sample is cut into units
depends on its size only, so that results depend neither on the other samples nor on the number of threads.

A block of positions is gone through column by column, so that what belongs to a vector of channels stays in registers
(in memory it is padded to whole vectors). Memory likes to be read row by row: in that order it is asked for the
numbers, some time before they are needed.

Layer norm, one group and no positions, has kernels of its own, in `layer_norm.py`.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu import layer_norm
from kernels.cpu.functions import exp, sigmoid
from kernels.cpu.jit import kernel_part, parallel_kernel, share
from kernels.cpu.memory import contiguous, in_vectors
from kernels.cpu.vector import (
    add_widened,
    lanes,
    load,
    load_first,
    prefetch,
    prefetch_to_write,
    spread,
    store,
    store_first,
)

BLOCK = 16  # positions whose sums are taken in the array's own precision, before they are added up in float64
CACHED = 2**18  # numbers in a sample that stays in a core's cache
UNIT = 2**15  # numbers in a unit of a larger sample
AHEAD = 2**11  # numbers from one that is worked on to the one that is asked for: the time that memory takes
FEW = 8  # samples, below which their units are shared out, not they
SUMS, TOTALS, OUTPUT = 1, 2, 4  # the stages


def group_norm(
    x: np.ndarray,
    num_groups: int,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
    silu: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, rstd) with y = (x - mean) rstd weight + bias, then y sigmoid(y) if silu.

    x and y (N,*S,C); mean and rstd (N, num_groups); weight and bias (C,). Wu & He 2018, arXiv:1803.08494.
    """
    checks.group_norm(x, num_groups, weight, bias, eps)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    mean, rstd = np.empty((2, len(x), num_groups), x.dtype)
    weight, bias = scale_and_shift(weight, bias, x)
    flat = (x.reshape(-1), weight, bias, float(eps), bool(silu), y.reshape(-1), mean.reshape(-1), rstd.reshape(-1))
    if x.size == x.shape[0] * x.shape[-1] and num_groups == 1:
        layer_norm.forward(x.size, *flat)
    else:
        units = _units(x)
        shape = math.prod(x.shape[1:-1]), x.shape[-1], num_groups, units
        moments = np.empty((len(x) * units, 2, weight.size))
        totals = moments if units == 1 else np.empty((len(x), 2, weight.size))
        for stages in _calls(x):
            _group_norm(x.size, stages, *shape, *flat, moments, totals)
    return y, mean, rstd


def group_norm_backward(
    g: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray,
    rstd: np.ndarray,
    num_groups: int,
    silu: bool = False,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(dx, dweight, dbias) for the gradient g of y. `kernels.reference.group_norm_backward` derives it.

    With n = (x - mean) rstd, du = g silu'(n weight + bias) and, for each channel of a sample, B = sum_M du
    and W = sum_M du n, everything else is small: dbias and dweight are the sums of B and W over the samples,
    and the averages in dx over a group of size m are sum_C weight B / m and sum_C weight W / m.
    """
    checks.group_norm_backward(g, x, weight, bias, mean, rstd, num_groups)
    g, x = contiguous(g), contiguous(x)
    dx = np.empty(x.shape, x.dtype)
    scale, shift = scale_and_shift(weight, bias, x)
    statistics = contiguous(mean).reshape(-1), contiguous(rstd).reshape(-1)
    flat = (g.reshape(-1), x.reshape(-1), scale, shift, *statistics, bool(silu), dx.reshape(-1))
    if x.size == x.shape[0] * x.shape[-1] and num_groups == 1:
        sums = layer_norm.backward(x.size, *flat)
    else:
        units = _units(x)
        shape = math.prod(x.shape[1:-1]), x.shape[-1], num_groups, units
        sums = np.empty((len(x) * units, 2, scale.size))
        totals = sums if units == 1 else np.empty((len(x), 2, scale.size))
        for stages in _calls(x):
            _group_norm_backward(2 * x.size, stages, *shape, *flat, sums, totals)
    dbias, dweight = sums.sum(0)[:, : x.shape[-1]].astype(x.dtype)
    return dx, None if weight is None else dweight, None if bias is None else dbias


def scale_and_shift(weight: np.ndarray | None, bias: np.ndarray | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight and bias, or the ones and zeros that they stand for, padded to whole vectors with zeros."""
    return in_vectors(weight, 1, 1, x), in_vectors(bias, 1, 0, x)


def _units(x: np.ndarray) -> int:
    """How many units a sample is cut into."""
    return max(1, min(math.prod(x.shape[1:-1]), -(-math.prod(x.shape[1:]) // UNIT)))


def _calls(x: np.ndarray) -> tuple[int, ...]:
    """The stages of each call: all in one, whose tasks are samples; or one after the other."""
    at_once = _units(x) == 1 or (len(x) >= FEW and x.size <= CACHED * len(x))
    return (SUMS | TOTALS | OUTPUT,) if at_once else (SUMS, TOTALS, OUTPUT)


@parallel_kernel
def _group_norm(
    part, parts, stages, positions, channels, groups, units, x, weight, bias, eps, silu, y, mean, rstd, sums, totals
):
    scratch = np.zeros((2, weight.size), x.dtype)
    center, scale = scratch[0], scratch[1]
    size = channels // groups
    tasks, together = (len(totals), units) if stages & TOTALS else (len(sums), 1)
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, k = task * together // units, task * together % units
        if stages & SUMS:
            for u in range(k, k + together):
                first, last = _positions(n, u, u + 1, units, positions)
                _moments(x, first, last, channels, center, sums[n * units + u])
        if stages & TOTALS and units > 1:
            _pool(sums[n * units : (n + 1) * units], positions, totals[n])
        if stages & OUTPUT:
            for j in range(groups):
                average, variance = _group_moments(totals[n], positions, j * size, (j + 1) * size)
                center[j * size : (j + 1) * size] = average
                scale[j * size : (j + 1) * size] = 1.0 / math.sqrt(variance + eps)
                if k == 0:
                    mean[n * groups + j], rstd[n * groups + j] = center[j * size], scale[j * size]
            for c in range(channels):
                scale[c] *= weight[c]
            first, last = _positions(n, k, k + together, units, positions)
            _normalise(x, first, last, channels, center, scale, bias, silu, y)


@kernel_part()
def _positions(n, k, end, units, positions):
    """The first and last position of units k to `end` of sample n."""
    return n * positions + share(positions, k, units), n * positions + share(positions, end, units)


@kernel_part()
def _moments(x, first, last, channels, pivot, moments):
    """The mean of each channel over the positions first to last, and the sum of squared distances from it.

    Distances are first taken from the mean of the first block: however large the numbers, what is squared is small.
    """
    moments[:] = 0
    block = min(BLOCK, last - first)
    for c in range(0, channels, lanes(x)):
        sum_x = spread(x, 0)
        for at in range(first * channels + c, (first + block) * channels + c, channels):
            sum_x += load_first(x, at, channels - c)
        store(pivot, c, sum_x / block)
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        coming = start * channels + AHEAD
        for c in range(0, channels, lanes(x)):
            middle = load(pivot, c)
            sum_d, sum_d2 = spread(x, 0), spread(x, 0)
            for at in range(start * channels + c, end * channels + c, channels):
                prefetch(x, coming)
                coming += lanes(x)
                d = load_first(x, at, channels - c) - middle
                sum_d += d
                sum_d2 += d * d
            add_widened(moments[0], c, sum_d)
            add_widened(moments[1], c, sum_d2)
    for c in range(channels):
        d = moments[0, c] / (last - first)
        moments[0, c] = d + pivot[c]
        moments[1, c] -= d * d * (last - first)


@kernel_part()
def _pool(moments, positions, pooled):
    """Mean and squared distances of each channel, of units -> of their sample (Chan et al. 1979)."""
    units = len(moments)
    pooled[:] = 0
    for u in range(units):
        weight = share(positions, u + 1, units) - share(positions, u, units)
        for c in range(pooled.shape[1]):
            pooled[0, c] += weight * moments[u, 0, c] / positions
    for u in range(units):
        weight = share(positions, u + 1, units) - share(positions, u, units)
        for c in range(pooled.shape[1]):
            d = moments[u, 0, c] - pooled[0, c]
            pooled[1, c] += moments[u, 1, c] + weight * d * d


@kernel_part()
def _group_moments(moments, positions, low, high):
    """Mean and variance over the channels low to high, whose moments these are."""
    average, squares = 0.0, 0.0
    for c in range(low, high):
        average += moments[0, c] / (high - low)
    for c in range(low, high):
        d = moments[0, c] - average
        squares += moments[1, c] + positions * d * d
    return average, squares / (positions * (high - low))


@kernel_part()
def _normalise(x, first, last, channels, center, scale, bias, silu, y):
    next_unit = (last - first) * channels - AHEAD
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        coming = start * channels + AHEAD
        for c in range(0, channels, lanes(x)):
            middle, factor, shift = load(center, c), load(scale, c), load(bias, c)
            for at in range(start * channels + c, end * channels + c, channels):
                prefetch_to_write(y, coming)
                prefetch(x, coming + next_unit)
                coming += lanes(x)
                u = (load_first(x, at, channels - c) - middle) * factor + shift
                if silu:
                    u = u / (1.0 + exp(-u))
                store_first(y, at, u, channels - c)


@parallel_kernel
def _group_norm_backward(
    part, parts, stages, positions, channels, groups, units, g, x, weight, bias, mean, rstd, silu, dx, sums, totals
):
    scratch = np.zeros((4, weight.size), x.dtype)
    center, scale, a, b = scratch[0], scratch[1], scratch[2], scratch[3]
    size = channels // groups
    tasks, together = (len(totals), units) if stages & TOTALS else (len(sums), 1)
    for task in range(share(tasks, part, parts), share(tasks, part + 1, parts)):
        n, k = task * together // units, task * together % units
        for c in range(channels):
            center[c], scale[c] = mean[n * groups + c // size], rstd[n * groups + c // size]
        if stages & SUMS:
            for u in range(k, k + together):
                first, last = _positions(n, u, u + 1, units, positions)
                _sums(g, x, first, last, channels, center, scale, weight, bias, silu, dx, sums[n * units + u])
        if stages & TOTALS and units > 1:
            _add_up(sums[n * units : (n + 1) * units], totals[n])
        if stages & OUTPUT:
            # dx = rstd (du weight - average_dn - n average_dn_n) = du scale - (x - center) b - a
            for j in range(groups):
                own, deviation = slice(j * size, (j + 1) * size), rstd[n * groups + j] / (positions * size)
                a[own] = _dot(totals[n, 0, own], weight[own]) * deviation
                b[own] = _dot(totals[n, 1, own], weight[own]) * deviation * rstd[n * groups + j]
            for c in range(channels):
                scale[c] *= weight[c]
            first, last = _positions(n, k, k + together, units, positions)
            _input_gradient(x, first, last, channels, center, scale, a, b, dx)


@kernel_part()
def _sums(g, x, first, last, channels, center, scale, weight, bias, silu, du, sums):
    """du, kept where dx will be, and the sums of du and du n of each channel."""
    sums[:] = 0
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        coming = start * channels + AHEAD
        for c in range(0, channels, lanes(x)):
            middle, deviation, factor, shift = load(center, c), load(scale, c), load(weight, c), load(bias, c)
            sum_du, sum_du_n = spread(x, 0), spread(x, 0)
            for at in range(start * channels + c, end * channels + c, channels):
                prefetch(x, coming)
                prefetch(g, coming)
                prefetch_to_write(du, coming)
                coming += lanes(x)
                n = (load_first(x, at, channels - c) - middle) * deviation
                d = load_first(g, at, channels - c)
                if silu:
                    u = n * factor + shift
                    s = sigmoid(u)
                    d = d * s * (1.0 + u * (1.0 - s))
                store_first(du, at, d, channels - c)
                sum_du += d
                sum_du_n += d * n
            add_widened(sums[0], c, sum_du)
            add_widened(sums[1], c, sum_du_n)


@kernel_part()
def _add_up(sums, totals):
    totals[:] = 0
    for u in range(len(sums)):
        for c in range(totals.shape[1]):
            totals[0, c] += sums[u, 0, c]
            totals[1, c] += sums[u, 1, c]


@kernel_part()
def _dot(sums, weight):
    total = 0.0
    for c in range(weight.size):
        total += sums[c] * weight[c]
    return total


@kernel_part()
def _input_gradient(x, first, last, channels, center, scale, a, b, dx):
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        for c in range(0, channels, lanes(x)):
            middle, factor, constant, slope = load(center, c), load(scale, c), load(a, c), load(b, c)
            for at in range(start * channels + c, end * channels + c, channels):
                d = load_first(x, at, channels - c) - middle
                store_first(dx, at, load_first(dx, at, channels - c) * factor - (d * slope + constant), channels - c)
