"""Calls of the functions of `kernels.cuda` that launch every instance of every kernel.

A wrapper chooses its template's arguments by dtype, by whether numbers can be moved in vectors, by lengths, by the kind
of GPU and by `minigen.float32_matmul_precision`. The gate compiles what these calls launch. Tests that launch anything
else fail, so what is missing here is noticed.

`new(*shape)` makes an array of the dtype that a function is called for, or of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels import cuda
from kernels.checks import FLOATS, HALF_TOO
from kernels.cuda.report.recording import Launch, recording
from kernels.precision import PRECISIONS, float32_matmul_precision

New = Callable[..., Any]
WIDTHS = (3, 16)  # channels that cannot be moved in vectors of 16 bytes, and that can
CALLS: list[tuple[Sequence[np.dtype], Callable[[New], Any]]] = []


def for_each(dtypes: Sequence[np.dtype]) -> Callable:
    def listed(run: Callable[[New], Any]) -> Callable[[New], Any]:
        CALLS.append((dtypes, run))
        return run

    return listed


def launched_by_calls(arch: int) -> list[Launch]:
    """All launches that the calls make on a GPU of this kind."""
    with recording(arch) as (cupy, launches):
        for precision in PRECISIONS:
            with float32_matmul_precision(precision):
                for dtypes, run in CALLS:
                    for of_call in dtypes:
                        run(lambda *shape, dtype=of_call: cupy.empty(shape, dtype))
    return launches


# ---- convolution, attention, norm ----------------------------------------------------------------------------------


@for_each(HALF_TOO)
def convolution(new: New) -> None:
    for positions, inside, outside in ((2**17, 128, 128), (2**17, 128, 64), (64, 64, 64)):  # for each tile of conv.py
        for channels in (inside, inside - 1):  # which can be moved in vectors, and which cannot
            for columns in (outside, outside - 1):
                x, weight = new(1, positions, channels), new(1, channels, columns)
                y = cuda.conv(x, weight)
                cuda.conv_weight_grad(x, y, (1,))


@for_each(HALF_TOO)
def rows(new: New) -> None:
    for length in (2**k - odd for k in range(5, 15) for odd in (0, 1)):  # in a warp's registers, a block's, or in none
        x, weight = new(3, length), new(length)
        cuda.softmax_backward(x, cuda.softmax(x))
        y, mean, rstd = cuda.group_norm(x, 1, weight, weight)
        cuda.group_norm_backward(y, x, weight, weight, mean, rstd, 1)


@for_each(HALF_TOO)
def group_norm(new: New) -> None:
    for channels in WIDTHS:
        for positions in (4, 2**15):  # sums over a group by a warp, and by a block; one unit, and many
            x, weight, bias = new(2, positions, channels), new(channels), new(channels)
            y, mean, rstd = cuda.group_norm(x, 1, weight, bias)
            cuda.group_norm_backward(y, x, weight, bias, mean, rstd, 1)


@for_each(HALF_TOO)
def attention(new: New) -> None:
    for d in (32, 64, 128, 129):  # what heads are padded to for tensor cores, and one too large for that
        for length in (64, 65):  # one tile of queries, and more
            q, k, v = (new(1, length, 2, d) for _ in range(3))
            out, lse = cuda.attention(q, k, v)
            cuda.attention_backward(out, out, lse, q, k, v)


# ---- noise -----------------------------------------------------------------------------------------------


@for_each(FLOATS)
def random_numbers(new: New) -> None:
    dtype = new(0).dtype
    cuda.philox(0, 0, 0, 2)
    cuda.uniform((2, 8), 0, 0, dtype=dtype)
    cuda.normal((2, 8), 0, 0, dtype=dtype)


@for_each(FLOATS)
def noise_steps(new: New) -> None:
    x, levels = new(2, 8), new(2)
    cuda.add_noise(x, levels, levels, 0, 0)
    for step in (cuda.ddpm_step, cuda.ddim_step):
        step(x, x, 0.5, 0.6, 0, 0)
    cuda.linear_step([x, x], [0.5, 0.6])
    cuda.gaussian_step(x, x, 0, 0)


# ---- the optimiser -----------------------------------------------------------------------------------------


@for_each(FLOATS)
def optimiser(new: New) -> None:
    arrays = [new(5), new(3, 4)]
    cuda.adam_(arrays, arrays, arrays, arrays, [1, 1], 1e-3, (0.9, 0.999), 1e-8)
    cuda.global_norm(arrays)
    cuda.scale_(arrays, 0.5)
    cuda.lerp_(arrays, arrays, 0.5)
    cuda.add_(arrays, arrays)


# ---- element by element, and moving --------------------------------------------------------------------------


@for_each(FLOATS)
def elementwise(new: New) -> None:
    for x in (new(16), new(17)[1:]):
        cuda.activation_backward(cuda.activation(x, "silu"), x, "silu")
    for channels in WIDTHS:
        for positions in (4, 4096):
            cuda.sum_positions(new(2, positions, channels))


@for_each(FLOATS)
def modulate(new: New) -> None:
    for channels in WIDTHS:
        x, scale, noise, bias = new(2, 4, channels), new(2, channels), new(2, 4, 1), new(channels)
        cuda.modulate_backward(cuda.modulate(x, scale, noise, bias), x, scale, noise, bias)


@for_each(FLOATS)
def rearrange(new: New) -> None:
    for channels in WIDTHS:
        cuda.upsample(new(1, 3, 2, channels), (2, 3))
        cuda.sum_blocks(new(1, 4, 6, channels), (2, 3))
        cuda.upfirdn2d(new(1, 4, 6, channels), new(4), 2, 1, (2, 1))
        cuda.index_add((4, channels), new(5, dtype="int64"), new(5, channels))
