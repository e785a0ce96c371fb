"""Group normalisation, optionally followed by SiLU, forwards and backwards.

A sample is an (M,C) matrix, M positions by C channels. All loops over it run along whole rows, so that they
are vectorised over the channels, and gather one number per channel; groups appear only when those are added
up.
Each sample is read two or three times, all but the first time from cache.

Samples are shared out in at most CHUNKS runs, whatever the number of threads. That bounds the start-up cost
when there are many short ones (layer norm: a row is a sample), and the sums over all samples that make
dweight and dbias always run in the same order.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from kernels import checks
from kernels.cpu.elementwise import exp
from kernels.cpu.jit import kernel_part, old_parallel_kernel, plain

CHUNKS = 64


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
    y = np.empty(x.shape, x.dtype)
    mean, rstd = np.empty((2, len(x), num_groups), x.dtype)
    weight, bias = scale_and_shift(weight, bias, x)
    _group_norm(positions_by_channels(plain(x)), weight, bias, eps, silu, positions_by_channels(y), mean, rstd)
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
    dx = np.empty(x.shape, x.dtype)
    dweight, dbias = np.zeros((2, min(len(x), CHUNKS), x.shape[-1]))  # one row per chunk, in float64
    scale, shift = scale_and_shift(weight, bias, x)
    _group_norm_backward(
        positions_by_channels(plain(g)), positions_by_channels(plain(x)), scale, shift, plain(mean),
        plain(rstd), silu, positions_by_channels(dx), dweight, dbias,
    )  # fmt: skip
    return (
        dx,
        None if weight is None else dweight.sum(0).astype(x.dtype),
        None if bias is None else dbias.sum(0).astype(x.dtype),
    )


def positions_by_channels(x: np.ndarray) -> np.ndarray:
    """(N,*S,C) -> (N,M,C), a view."""
    return x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])


def scale_and_shift(weight: np.ndarray | None, bias: np.ndarray | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weight = np.ones(x.shape[-1], x.dtype) if weight is None else plain(weight)
    return weight, np.zeros(x.shape[-1], x.dtype) if bias is None else plain(bias)


@old_parallel_kernel()
def _group_norm(x, weight, bias, eps, silu, y, mean, rstd):
    samples, _, channels = x.shape
    chunks = min(samples, CHUNKS)
    for chunk in prange(chunks):
        sums = np.empty(channels)
        center, scale = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for n in range(chunk * samples // chunks, (chunk + 1) * samples // chunks):
            _statistics(x[n], eps, sums, center, mean[n], rstd[n])
            _spread(rstd[n], scale)
            for c in range(channels):
                scale[c] *= weight[c]
            for m in range(x.shape[1]):
                _normalise_row(x[n, m], center, scale, bias, silu, y[n, m])


@kernel_part()
def _statistics(x, eps, sums, center, mean, rstd):
    """mean and rstd (G,) of one sample x (M,C); center (C,) is mean by channel. sums (C,) is scratch."""
    groups = mean.size
    group_size = x.size // groups
    sums[:] = 0
    for m in range(x.shape[0]):
        _add_row(x[m], sums)
    for j in range(groups):
        mean[j] = _sum_of_group(sums, j, groups) / group_size
    _spread(mean, center)
    sums[:] = 0
    for m in range(x.shape[0]):
        _add_squared_row(x[m], center, sums)
    for j in range(groups):
        rstd[j] = 1.0 / math.sqrt(_sum_of_group(sums, j, groups) / group_size + eps)


@kernel_part()
def _add_row(x, sums):
    for c in range(x.size):
        sums[c] += x[c]


@kernel_part()
def _add_squared_row(x, center, sums):
    for c in range(x.size):
        deviation = np.float64(x[c]) - np.float64(center[c])
        sums[c] += deviation * deviation


@kernel_part()
def _sum_of_group(per_channel, j, groups):
    size = per_channel.size // groups
    total = 0.0
    for value in per_channel[j * size : (j + 1) * size]:
        total += value
    return total


@kernel_part()
def _spread(per_group, per_channel):
    """(G,) -> (C,)"""
    size = per_channel.size // per_group.size
    for j in range(per_group.size):
        per_channel[j * size : (j + 1) * size] = per_group[j]


@kernel_part()
def _normalise_row(x, center, scale, bias, silu, y):
    if silu:
        for c in range(x.size):
            u = (x[c] - center[c]) * scale[c] + bias[c]
            y[c] = u * sigmoid(u)
    else:
        for c in range(x.size):
            y[c] = (x[c] - center[c]) * scale[c] + bias[c]


@kernel_part()
def sigmoid(x):
    one = type(x)(1)
    return one / (one + exp(-x))


@old_parallel_kernel()
def _group_norm_backward(g, x, weight, bias, mean, rstd, silu, dx, dweight, dbias):
    samples, positions, channels = x.shape
    chunks = min(samples, CHUNKS)
    for chunk in prange(chunks):
        sum_du, sum_du_n = np.empty(channels), np.empty(channels)
        center, scale = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        average_dn, average_dn_n = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for n in range(chunk * samples // chunks, (chunk + 1) * samples // chunks):
            _spread(mean[n], center)
            _spread(rstd[n], scale)
            sum_du[:] = 0
            sum_du_n[:] = 0
            for m in range(positions):
                _backward_row(g[n, m], x[n, m], center, scale, weight, bias, silu, dx[n, m], sum_du, sum_du_n)
            for c in range(channels):
                dbias[chunk, c] += sum_du[c]
                dweight[chunk, c] += sum_du_n[c]
                sum_du[c] *= weight[c]
                sum_du_n[c] *= weight[c]
            _average_in_groups(sum_du, mean.shape[1], positions, average_dn)
            _average_in_groups(sum_du_n, mean.shape[1], positions, average_dn_n)
            for m in range(positions):
                _input_gradient_row(x[n, m], center, scale, weight, average_dn, average_dn_n, dx[n, m])


@kernel_part()
def _backward_row(g, x, center, scale, weight, bias, silu, du, sum_du, sum_du_n):
    """du of one row, kept where dx will be, and its share of the sums of each channel."""
    one = type(x[0])(1)
    if silu:
        for c in range(x.size):
            u = (x[c] - center[c]) * scale[c] * weight[c] + bias[c]
            s = sigmoid(u)
            du[c] = g[c] * s * (one + u * (one - s))
    else:
        for c in range(x.size):
            du[c] = g[c]
    for c in range(x.size):
        sum_du[c] += du[c]
        sum_du_n[c] += du[c] * ((x[c] - center[c]) * scale[c])


@kernel_part()
def _average_in_groups(sums, groups, positions, average):
    size = sums.size // groups
    for j in range(groups):
        average[j * size : (j + 1) * size] = _sum_of_group(sums, j, groups) / (size * positions)


@kernel_part()
def _input_gradient_row(x, center, scale, weight, average_dn, average_dn_n, dx):
    for c in range(x.size):
        n = (x[c] - center[c]) * scale[c]
        dx[c] = scale[c] * (dx[c] * weight[c] - average_dn[c] - n * average_dn_n[c])
