"""Group normalisation, optionally followed by SiLU, forwards and backwards.

A sample is an (M,C) matrix, M positions by C channels, and is worked on in *units* of neighbouring positions, in two
stages: sums over the unit for each channel; then, when those of all of the sample's units are known, the output. A
sample that stays in a core's cache between the stages is a single unit, and memory is read once. Few large samples are
cut into many units for the threads to share, and each stage is a call of its own. How a sample is cut depends on
its size only, so that results do not depend on the number of threads.

Within a unit, BLOCK positions at a time, the rows of a vector's width of channels are gone through with everything
that belongs to the channels kept in registers. Per-channel scratch is padded to whole vectors.

Layer norm, one group and no positions, has kernels of its own, in `layer_norm.py`.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu import layer_norm
from kernels.cpu.functions import sigmoid
from kernels.cpu.jit import kernel_part, parallel_kernel, plain, share
from kernels.cpu.vector import add_widened, lanes, load, load_first, prefetch, spread, store, store_first, whole_vectors

BLOCK = 16  # positions whose sums are taken in the array's own precision, before they are added up in float64
CACHED = 2**18  # numbers in a sample that stays in a core's cache
UNIT = 2**15  # numbers in a unit of a larger sample
SUMS, OUTPUT = 1, 2  # the stages


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
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    mean, rstd = np.empty((2, len(x), num_groups), x.dtype)
    weight, bias = scale_and_shift(weight, bias, x)
    flat = (x.reshape(-1), weight, bias, float(eps), bool(silu), y.reshape(-1), mean.reshape(-1), rstd.reshape(-1))
    if x.size == x.shape[0] * x.shape[-1] and num_groups == 1:
        layer_norm.forward(x.size, *flat)
    else:
        shape, stages = _plan(x, num_groups)
        moments = np.empty((len(x) * shape[-1], 2, weight.size))
        for stage in stages:
            _group_norm(x.size, stage, *shape, *flat, moments)
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
    g, x = plain(g), plain(x)
    dx = np.empty(x.shape, x.dtype)
    scale, shift = scale_and_shift(weight, bias, x)
    statistics = plain(mean).reshape(-1), plain(rstd).reshape(-1)
    flat = (g.reshape(-1), x.reshape(-1), scale, shift, *statistics, bool(silu), dx.reshape(-1))
    if x.size == x.shape[0] * x.shape[-1] and num_groups == 1:
        sums = layer_norm.backward(x.size, *flat)
    else:
        shape, stages = _plan(x, num_groups)
        sums = np.empty((len(x) * shape[-1], 2, scale.size))
        for stage in stages:
            _group_norm_backward(2 * x.size, stage, *shape, *flat, sums)
    dbias, dweight = sums.sum(0)[:, : x.shape[-1]].astype(x.dtype)
    return dx, None if weight is None else dweight, None if bias is None else dbias


def scale_and_shift(weight: np.ndarray | None, bias: np.ndarray | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight and bias, or the ones and zeros that they stand for, padded to whole vectors with zeros."""
    channels = x.shape[-1]
    scale, shift = np.zeros((2, whole_vectors(x, channels)), x.dtype)
    scale[:channels] = 1 if weight is None else weight
    shift[:channels] = 0 if bias is None else bias
    return scale, shift


def _plan(x: np.ndarray, groups: int) -> tuple[tuple[int, int, int, int], tuple[int, ...]]:
    """((M, C, groups, units of a sample), the stages of each call)."""
    positions, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    if positions * channels <= CACHED and (len(x) >= 8 or positions * channels <= UNIT):
        return (positions, channels, groups, 1), (SUMS | OUTPUT,)
    return (positions, channels, groups, min(positions, -(-positions * channels // UNIT))), (SUMS, OUTPUT)


@parallel_kernel
def _group_norm(
    part, parts, stage, positions, channels, groups, units, x, weight, bias, eps, silu, y, mean, rstd, moments
):
    scratch = np.empty((2, weight.size), x.dtype)
    center, scale = scratch[0], scratch[1]
    size = channels // groups
    for unit in range(share(len(moments), part, parts), share(len(moments), part + 1, parts)):
        n, k = unit // units, unit % units
        first, last = n * positions + share(positions, k, units), n * positions + share(positions, k + 1, units)
        if stage & SUMS:
            _moments(x, first, last, channels, center, moments[unit])
        if stage & OUTPUT:
            scratch[:] = 0
            for j in range(groups):
                average, variance = _pooled(moments[n * units : (n + 1) * units], positions, j * size, (j + 1) * size)
                center[j * size : (j + 1) * size] = average
                scale[j * size : (j + 1) * size] = 1.0 / math.sqrt(variance + eps)
                if k == 0:
                    mean[n * groups + j], rstd[n * groups + j] = center[j * size], scale[j * size]
            _normalise(x, first, last, channels, center, scale, weight, bias, silu, y)


@kernel_part()
def _moments(x, first, last, channels, pivot, moments):
    """The mean of each channel over the positions first to last, and the sum of squared distances from it.

    Distances are first taken from the mean of the first block: however large the numbers, what is squared is small.
    """
    moments[:] = 0
    block = min(BLOCK, last - first)
    for c in range(0, channels, lanes(x)):
        sum_x = spread(x, 0)
        for m in range(first, first + block):
            sum_x += load_first(x, m * channels + c, channels - c)
        store(pivot, c, sum_x / block)
    for start in range(first, last, BLOCK):
        for c in range(0, channels, lanes(x)):
            center = load(pivot, c)
            sum_d, sum_d2 = spread(x, 0), spread(x, 0)
            for m in range(start, min(start + BLOCK, last)):
                prefetch(x, (m + BLOCK) * channels + c)
                d = load_first(x, m * channels + c, channels - c) - center
                sum_d += d
                sum_d2 += d * d
            add_widened(moments[0], c, sum_d)
            add_widened(moments[1], c, sum_d2)
    for c in range(channels):
        d = moments[0, c] / (last - first)
        moments[0, c] = d + pivot[c]
        moments[1, c] -= d * d * (last - first)


@kernel_part()
def _pooled(moments, positions, low, high):
    """Mean and variance over the channels low to high of a sample, of whose units these are the moments."""
    units = len(moments)
    average, squares = 0.0, 0.0
    for k in range(units):
        weight = (share(positions, k + 1, units) - share(positions, k, units)) / (positions * (high - low))
        for c in range(low, high):
            average += weight * moments[k, 0, c]
    for k in range(units):
        count = share(positions, k + 1, units) - share(positions, k, units)
        for c in range(low, high):
            d = moments[k, 0, c] - average
            squares += moments[k, 1, c] + count * d * d
    return average, squares / (positions * (high - low))


@kernel_part()
def _normalise(x, first, last, channels, center, scale, weight, bias, silu, y):
    for start in range(first, last, BLOCK):
        for c in range(0, channels, lanes(x)):
            middle, factor, shift = load(center, c), load(scale, c) * load(weight, c), load(bias, c)
            for m in range(start, min(start + BLOCK, last)):
                at = m * channels + c
                u = (load_first(x, at, channels - c) - middle) * factor + shift
                if silu:
                    u = u * sigmoid(u)
                store_first(y, at, u, channels - c)


@parallel_kernel
def _group_norm_backward(
    part, parts, stage, positions, channels, groups, units, g, x, weight, bias, mean, rstd, silu, dx, sums
):
    scratch = np.zeros((4, weight.size), x.dtype)
    center, scale, average_dn, average_dn_n = scratch[0], scratch[1], scratch[2], scratch[3]
    size = channels // groups
    for unit in range(share(len(sums), part, parts), share(len(sums), part + 1, parts)):
        n, k = unit // units, unit % units
        first, last = n * positions + share(positions, k, units), n * positions + share(positions, k + 1, units)
        for c in range(channels):
            center[c], scale[c] = mean[n * groups + c // size], rstd[n * groups + c // size]
        if stage & SUMS:
            _sums(g, x, first, last, channels, center, scale, weight, bias, silu, dx, sums[unit])
        if stage & OUTPUT:
            for j in range(groups):
                own = slice(j * size, (j + 1) * size)
                sample = sums[n * units : (n + 1) * units]
                average_dn[own] = _weighted(sample[:, 0, own], weight[own]) / (positions * size)
                average_dn_n[own] = _weighted(sample[:, 1, own], weight[own]) / (positions * size)
            _input_gradient(x, first, last, channels, center, scale, weight, average_dn, average_dn_n, dx)


@kernel_part()
def _sums(g, x, first, last, channels, center, scale, weight, bias, silu, du, sums):
    """du, kept where dx will be, and the sums of du and du n of each channel."""
    sums[:] = 0
    for start in range(first, last, BLOCK):
        for c in range(0, channels, lanes(x)):
            middle, deviation = load(center, c), load(scale, c)
            factor, shift = load(weight, c), load(bias, c)
            sum_du, sum_du_n = spread(x, 0), spread(x, 0)
            for m in range(start, min(start + BLOCK, last)):
                at = m * channels + c
                prefetch(x, at + BLOCK * channels)
                prefetch(g, at + BLOCK * channels)
                n = (load_first(x, at, channels - c) - middle) * deviation
                d = load_first(g, at, channels - c)
                if silu:
                    u = n * factor + shift
                    s = sigmoid(u)
                    d = d * s * (1 + u * (1 - s))
                store_first(du, at, d, channels - c)
                sum_du += d
                sum_du_n += d * n
            add_widened(sums[0], c, sum_du)
            add_widened(sums[1], c, sum_du_n)


@kernel_part()
def _weighted(sums, weight):
    total = 0.0
    for k in range(len(sums)):
        for c in range(weight.size):
            total += sums[k, c] * weight[c]
    return total


@kernel_part()
def _input_gradient(x, first, last, channels, center, scale, weight, average_dn, average_dn_n, dx):
    for start in range(first, last, BLOCK):
        for c in range(0, channels, lanes(x)):
            middle, deviation, factor = load(center, c), load(scale, c), load(scale, c) * load(weight, c)
            a, b = load(average_dn, c) * deviation, load(average_dn_n, c) * deviation * deviation
            for m in range(start, min(start + BLOCK, last)):
                at = m * channels + c
                d = load_first(x, at, channels - c) - middle
                store_first(dx, at, load_first(dx, at, channels - c) * factor - (d * b + a), channels - c)
