"""What a modulated layer does besides its convolution: scale, noise, bias, leaky ReLU in one pass, and so backwards.

A sample is an (M,C) matrix, M positions by C channels, cut into units of neighbouring positions that the threads share.
In a block of positions, what belongs to a vector of channels stays in registers, as in `norm.py`. Sums over channels,
for the noise, are gathered in a vector for each position of the block, and added up when all channels have been seen.
Memory is asked for numbers before they are needed, and for the places that will be written: of arrays of 8 MB that
halves the time.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import checks
from kernels.cpu.jit import parallel_kernel, share
from kernels.cpu.memory import aligned_empty, contiguous, in_vectors
from kernels.cpu.vector import (
    add_widened,
    choose,
    lanes,
    load,
    load_first,
    prefetch,
    prefetch_to_write,
    spread,
    store,
    store_first,
    total,
    whole_vectors,
)

BLOCK = 16  # positions whose sums are taken in the array's own precision, before they are added up in float64
UNIT = 2**14  # numbers that are one thread's work
AHEAD = 2**11  # numbers from one that is worked on to the one that is asked for


def modulate(
    x: np.ndarray,
    scale: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> np.ndarray:
    """y = gain leaky_relu(scale x + noise + bias) for x (N,*S,C), scale (N,C), noise (N,*S,1), bias (C,)."""
    checks.modulate(x, scale, noise, bias, slope)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    _modulate(
        x.size, *_shape(x), x.reshape(-1), *_flat(x, scale, noise, bias), float(slope), float(gain), y.reshape(-1)
    )
    return y


def modulate_backward(
    g: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """(dx, dscale, dnoise, dbias) for the gradient g of y. `kernels.reference.modulate_backward` derives it."""
    checks.modulate_backward(g, x, scale, noise, bias, slope)
    g, x = contiguous(g), contiguous(x)
    samples, channels = len(x), x.shape[-1]
    shape = _shape(x)
    units = shape[-1]
    dx, dnoise = np.empty(x.shape, x.dtype), None if noise is None else np.empty(noise.shape, x.dtype)
    sums = np.empty((samples * units, 2, whole_vectors(x, channels)))  # of du, and of du x
    flat = (g.reshape(-1), x.reshape(-1), *_flat(x, scale, noise, bias), float(slope), float(gain))
    _modulate_backward(2 * x.size, *shape, *flat, dx.reshape(-1), _or_nothing(dnoise, x), sums)
    of_samples = sums.reshape(samples, units, 2, sums.shape[-1]).sum(1)[..., :channels]
    dscale = None if scale is None else of_samples[:, 1].astype(x.dtype)
    return dx, dscale, dnoise, None if bias is None else of_samples[:, 0].sum(0).astype(x.dtype)


def _shape(x: np.ndarray) -> tuple[int, int, int]:
    """(positions, channels, units of a sample)."""
    positions, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    return positions, channels, max(1, min(positions, -(-positions * channels // UNIT)))


def _flat(
    x: np.ndarray, scale: np.ndarray | None, noise: np.ndarray | None, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scale for each sample and bias, in whole vectors; noise, or an empty array."""
    return in_vectors(scale, len(x), 1, x), _or_nothing(noise, x), in_vectors(bias, 1, 0, x)


def _or_nothing(noise: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    return np.empty(0, x.dtype) if noise is None else contiguous(noise).reshape(-1)


@parallel_kernel
def _modulate(part, parts, positions, channels, units, x, scale, noise, bias, slope, gain, y):
    samples = scale.size // max(1, bias.size)
    for unit in range(share(samples * units, part, parts), share(samples * units, part + 1, parts)):
        n, k = unit // units, unit % units
        first, last = n * positions + share(positions, k, units), n * positions + share(positions, k + 1, units)
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            coming = start * channels + AHEAD
            for c in range(0, channels, lanes(x)):
                factor, shift = load(scale, n * bias.size + c), load(bias, c)
                for p in range(start, end):
                    at = p * channels + c
                    prefetch(x, coming)
                    prefetch_to_write(y, coming)
                    coming += lanes(x)
                    u = load_first(x, at, channels - c) * factor + shift
                    if noise.size:
                        u += noise[p]
                    store_first(y, at, gain * choose(u > 0.0, u, slope * u), channels - c)


@parallel_kernel
def _modulate_backward(
    part, parts, positions, channels, units, g, x, scale, noise, bias, slope, gain, dx, dnoise, sums
):
    of_position = aligned_empty(BLOCK * lanes(x), x)
    for unit in range(share(len(sums), part, parts), share(len(sums), part + 1, parts)):
        n, k = unit // units, unit % units
        first, last = n * positions + share(positions, k, units), n * positions + share(positions, k + 1, units)
        sums[unit] = 0
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            coming = start * channels + AHEAD
            of_position[:] = 0
            for c in range(0, channels, lanes(x)):
                factor, shift = load(scale, n * bias.size + c), load(bias, c)
                sum_du, sum_du_x = spread(x, 0), spread(x, 0)
                for p in range(start, end):
                    at = p * channels + c
                    prefetch(x, coming)
                    prefetch(g, coming)
                    prefetch_to_write(dx, coming)
                    coming += lanes(x)
                    v = load_first(x, at, channels - c)
                    u = v * factor + shift
                    if noise.size:
                        u += noise[p]
                    du = gain * load_first(g, at, channels - c)
                    du = choose(u > 0.0, du, slope * du)
                    store_first(dx, at, du * factor, channels - c)
                    sum_du += du
                    sum_du_x += du * v
                    if noise.size:
                        here = (p - start) * lanes(x)
                        store(of_position, here, load(of_position, here) + du)
                add_widened(sums[unit, 0], c, sum_du)
                add_widened(sums[unit, 1], c, sum_du_x)
            if noise.size:
                for p in range(start, end):
                    dnoise[p] = total(load(of_position, (p - start) * lanes(x)))
