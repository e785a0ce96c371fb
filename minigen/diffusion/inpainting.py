"""Inpainting with a denoiser that was not trained for it: RePaint (Lugmayr et al. 2022, arXiv:2201.09865).

Ancestral sampling, but after each step the known pixels, as noisy as all others are by now, are pasted in:

    x = mask (alpha known + beta eps) + (1 - mask) x        (algorithm 1, lines 4 to 8)

Plain replacement does this once on the way from noise to data (Song et al. 2021, arXiv:2011.13456, appendix I.2), so
that each step sees what was pasted only after the one before it has drawn the rest. RePaint gives them time to agree:
now and then it jumps back, by noise on all pixels, and denoises anew with the known pixels in place.

        noise  o                                      resamplings = 3, jump = 2:
                \\      o     o                        of each two steps, two jumps back follow,
                 o    / \\   / \\                       and they are taken three times in all
                  \\  /   o /   o
                   o/     o     o    o     o
                                 \\  / \\   / \\
                                  o/   o /   o
                                        o     o  data
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import Array, kernels_for, to_device, using
from ..tensor import Tensor
from .denoiser import Denoiser
from .samplers import Noise, Progress, ancestral_step
from .timetable import Timetable, signal_and_noise

Window = tuple[slice, slice]  # of the rows and the columns of a canvas


def inpaint(
    denoiser: Denoiser,
    known: Tensor,
    mask: Array,
    timetable: Timetable,
    resamplings: int = 10,
    jump: int = 10,
    seed: int = 0,
    first_sample: int = 0,
    progress: Progress = iter,
    strength: float = 1.0,
) -> Tensor:
    """Images (N, ...) like `known` where the mask holds, to the bit, and drawn by the denoiser elsewhere.

    known: (N, ...) clean images; what is in their unknown pixels does not matter, unless `strength` is below 1
    mask:  bool, True where a pixel is known; broadcasts to the shape of `known`. It may hold nowhere: then this is
           ancestral sampling in which steps are taken again, from what came of them: with `jump` 1, each but the last
           (the self-recurrence of Bansal et al. 2023, arXiv:2302.07121, section 3.3), so that a picture can fit
           both what guides it and the data
    resamplings, jump: how often each `jump` steps are taken, see `walk`; one resampling is plain replacement
    strength: below 1, only that share of the steps is taken, beginning with all of `known` mixed with noise, as in
           `editing.edit`; where it rounds to none, `known` is given back
    Sample i of a seed does not depend on its batch; `first_sample` and `progress` as in `samplers.sample`.
    """
    mask = _checked("inpaint", mask, known.shape, timetable)
    rest = timetable.last(strength)
    if rest is None:
        return known
    visited, draws = walk(len(rest), resamplings, jump), _draws(seed, first_sample)
    return _inpaint(denoiser, known, mask, rest, visited, draws, progress, from_noise=strength == 1)


def walk(steps: int, resamplings: int, jump: int) -> list[int]:
    """The numbers of the levels that RePaint visits: each is one more than that before it, a step towards data, or
    `jump` less, a jump back.

    The last noisy level, and those that lie a multiple of `jump` before it, are reached `resamplings` times, each from
    `jump` levels before (as in the authors' program; with jump 1 it is algorithm 1).
    """
    if min(steps, resamplings, jump) < 1:
        raise ValueError(f"walk: steps, resamplings and jump must be at least 1, got {steps}, {resamplings} and {jump}")
    visited = [0]
    for level in range(1, steps + 1):
        visited.append(level)
        if jump <= level < steps and (steps - 1 - level) % jump == 0:
            visited += [*range(level - jump, level + 1)] * (resamplings - 1)
    return visited


def walk_evaluations(visited: Sequence[int]) -> int:
    """How often the denoiser is asked in a walk: at each step, not at jumps."""
    return sum(then > now for now, then in itertools.pairwise(visited))


def outpaint(
    denoiser: Denoiser,
    canvas: Tensor,
    mask: np.ndarray,
    window: tuple[int, int],
    stride: tuple[int, int],
    timetable: Timetable,
    resamplings: int = 10,
    jump: int = 10,
    seed: int = 0,
    first_sample: int = 0,
    progress: Progress = iter,
) -> Tensor:
    """A canvas (N, H, W, C) that is larger than what the denoiser draws at once, filled window by window.

    mask:   bool (H, W), True where the canvas is known; these pixels are kept to the bit. It may hold nowhere
    window: (height, width) of what the denoiser draws
    stride: (down, to the right), by which windows follow each other, from the top left on. With less than `window`
            they overlap, and what is there already is inpainted around
    The next window is always the one with most known pixels, so that the picture grows from what is there.
    """
    mask = np.asarray(mask)
    if canvas.ndim != 4 or mask.shape != canvas.shape[1:3]:
        raise ValueError(
            f"outpaint: needs a canvas (N, H, W, C) and a mask (H, W), got shapes {canvas.shape} and {mask.shape}"
        )
    _checked("outpaint", mask[..., None], canvas.shape, timetable)
    draws, visited = _draws(seed, first_sample), walk(len(timetable), resamplings, jump)
    pixels, mask = canvas.data.copy(), mask.copy()
    for place in growth(mask, window, stride):
        seen = (slice(None), *place)
        known = to_device(mask[place][..., None], canvas.device)
        pixels[seen] = _inpaint(denoiser, Tensor(pixels[seen]), known, timetable, visited, draws, progress).data
        mask[place] = True
    return Tensor(pixels)


def growth(mask: np.ndarray, window: tuple[int, int], stride: tuple[int, int]) -> list[Window]:
    """The windows that `outpaint` fills, in order: (rows, columns) of each."""
    sides = mask.shape
    for side, length, step in zip(sides, window, stride, strict=True):
        if not 1 <= step <= length <= side or (side - length) % step:
            raise ValueError(
                f"outpaint: windows of {window}, one every {stride} pixels, do not cover a canvas of {sides}: each "
                "stride must be from 1 to the window's side, and the canvas a window and a multiple of the stride"
            )
    tops, lefts = (range(0, side - length + 1, step) for side, length, step in zip(sides, window, stride, strict=True))
    open_places = [
        (slice(top, top + window[0]), slice(left, left + window[1])) for top, left in itertools.product(tops, lefts)
    ]
    mask, order = mask.copy(), []
    while open_places := [place for place in open_places if not mask[place].all()]:
        order.append(max(open_places, key=lambda place: mask[place].sum()))
        mask[order[-1]] = True
    return order


# ---- their parts ---------------------------------------------------------------------------------------


def _draws(seed: int, first_sample: int) -> Iterator[dict[str, int]]:
    """Noise for one step after another."""
    return map(Noise(seed, first_sample).of, itertools.count())


def _checked(function: str, mask: Any, shape: tuple[int, ...], timetable: Timetable) -> Array:
    if getattr(mask, "dtype", None) != np.dtype(bool):
        raise TypeError(f"{function}: the mask must be an array of bool, got {getattr(mask, 'dtype', type(mask))}")
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{function}: a mask {mask.shape} does not broadcast to images {tuple(shape)}")
    if timetable.alpha_bars[-1] != 1:
        raise ValueError(
            f"{function}: the timetable must end with clean data, got alpha_bar {timetable.alpha_bars[-1]}"
        )
    return mask


def _inpaint(
    denoiser: Denoiser,
    known: Tensor,
    mask: Array,
    timetable: Timetable,
    visited: list[int],
    draws: Iterator[dict[str, int]],
    progress: Progress,
    from_noise: bool = True,
) -> Tensor:
    levels = timetable.alpha_bars.tolist()
    with no_grad(), using(known.device):
        mask = to_device(mask, known.device)

        def noisy(level: float) -> Tensor:
            alpha, beta = signal_and_noise(level)
            # clean data are taken as they are: to the bit
            return known if level == 1 else ops.linear_step([known], [alpha], deviation=beta, **next(draws))

        def paste(x: Tensor, level: float) -> Tensor:
            return ops.where(mask, noisy(level), x)

        if from_noise:
            x = Tensor(kernels_for(known.data).normal(known.shape, dtype=known.dtype, **next(draws)))
            x = paste(x, levels[0])
        else:
            x = noisy(levels[0])
        for i, j in progress(list(itertools.pairwise(visited))):
            now, then = levels[i], levels[j]
            if then > now:
                x = paste(ancestral_step(denoiser, x, now, then, **next(draws)), then)
            else:  # q(x_then | x_now): Ho et al. 2020, eq. 2, several at once
                x = ops.linear_step([x], [math.sqrt(then / now)], deviation=math.sqrt(1 - then / now), **next(draws))
    return x
