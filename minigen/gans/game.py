"""How the game between a generator and a discriminator stands, step by step, and what went wrong with it.

    run.log(**standing(real_logits, fake_logits, D, G, d_loss, g_loss))   # after both have their gradients
    for sentence in diagnose(run.curves, diversity=0.3):
        print(sentence)

The curves' names are "panel: line", which `minigen.viz.save_curves` draws in panels of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..backend import kernels_for
from ..nn import Module
from ..tensor import Tensor

SURE = 0.98  # right about more than this share of real and of fake images, a discriminator has won
VANISHED, EXPLODED = 1e-3, 1e3  # a gradient's norm at the end, relative to the first tenth of the steps
LEAST_DIVERSITY = 0.5  # of the real images' own
BALANCED = ["the game is in balance: no sign of collapse or divergence"]  # to say where `diagnose` finds nothing


def gradient_norm(network: Module) -> float:
    """The joint Euclidean norm of the gradients that the network's parameters hold; 0 if they hold none."""
    gradients = [p.grad.data for p in network.parameters() if p.grad is not None]
    return float(kernels_for(gradients[0]).global_norm(gradients)) if gradients else 0.0


def standing(
    real: Tensor,
    fake: Tensor,
    discriminator: Module,
    generator: Module,
    d_loss: Tensor,
    g_loss: Tensor,
    boundary: float = 0.0,
) -> dict[str, float]:
    """The step in numbers: both losses, the shares of real and fake logits that are on the right side of `boundary`,
    and the norms of both gradients. real, fake: the logits that D's loss was made of, of any shape.
    """
    return {
        "loss: D": float(d_loss.item()),
        "loss: G": float(g_loss.item()),
        "D is right about: real": float((real.numpy() > boundary).mean()),
        "D is right about: fake": float((fake.numpy() < boundary).mean()),
        "gradient norm: D": gradient_norm(discriminator),
        "gradient norm: G": gradient_norm(generator),
    }


def diversity(real: np.ndarray, fake: np.ndarray, pairs: int = 10_000) -> float:
    """How varied `fake` (N, d) is beside `real` (M, d): the mean distance of two of its rows over that of two of the
    real ones. About 1 for samples of the same distribution, 0 where all are one.

    Rows are pixels, points or features; `pairs` of them are drawn, always the same.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ValueError(f"diversity: needs two arrays (N >= 2, d) of one d, got {real.shape} and {fake.shape}")
    spread = []
    for x in (np.asarray(fake, np.float64), np.asarray(real, np.float64)):
        rng = np.random.default_rng(0)
        i = rng.integers(len(x), size=pairs)
        j = (i + rng.integers(1, len(x), size=pairs)) % len(x)  # never i itself
        spread.append(np.linalg.norm(x[i] - x[j], axis=1).mean())
    if spread[1] == 0:
        raise ValueError("diversity: the real rows are all the same")
    return float(spread[0] / spread[1])


def diagnose(
    curves: Mapping[str, Sequence[tuple[int, float]]],
    modes: tuple[int, int] | None = None,
    diversity: float | None = None,
) -> list[str]:
    """What went wrong, a sentence each with the likely cause and what to try; an empty list if nothing did.

    curves:    those of `standing`, name -> (step, value) pairs
    modes:     how many modes or classes the samples cover, and of how many, where they can be counted
    diversity: as `diversity` gives it, where it was measured
    """
    return [*_diverged(curves), *_collapsed(modes, diversity), *_judgement(curves), *_gradients(curves)]


def _diverged(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    for name, points in curves.items():
        bad = [step for step, value in points if not math.isfinite(value)]
        if bad:
            return [
                f"the run diverged: '{name}' is not finite from step {bad[0]} on. The likely cause is a learning rate "
                "that is too high for D's sharpness: halve it, clip gradients, or add a gradient penalty."
            ]
    return []


def _collapsed(modes: tuple[int, int] | None, diversity: float | None) -> list[str]:
    if modes is not None:
        seen = f"the samples cover {modes[0]} of {modes[1]} modes" if modes[0] < modes[1] else ""
    else:
        poor = diversity is not None and diversity < LEAST_DIVERSITY
        seen = f"two samples differ {diversity:.2g} times as much as two real ones" if poor else ""
    if not seen:
        return []
    return [
        f"mode collapse: {seen}. The likely cause is a G that runs after the one place where D is weakest: try an "
        "optimiser without momentum, a penalty on D's gradient, or a D that sees several samples at once."
    ]


def _rightness(curves: Mapping[str, Sequence[tuple[int, float]]]) -> tuple[float, float]:
    """The shares of real and of fake samples that D is right about at the end; nan where there is no curve."""
    real, fake = (_median(_last_tenth(curves.get(f"D is right about: {name}", ()))) for name in ("real", "fake"))
    return real, fake


def _judgement(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    real, fake = _rightness(curves)
    if real > SURE and fake > SURE:
        return [
            f"D has won: at the end it is right about {real:.1%} of real and {fake:.1%} of fake samples, and G has "
            "little to learn from. The likely cause is a D that is too strong or knows the real samples by heart: try "
            "augmentation, a gradient penalty, a smaller D, or a lower learning rate for it."
        ]
    if real < 1 - SURE or fake < 1 - SURE:
        return [
            f"D is blind: at the end it calls nearly everything {'fake' if real < fake else 'real'}. The likely cause "
            "is a learning rate or a penalty that is too high for it: lower them."
        ]
    return []


def _gradients(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    ratios = {}  # of each gradient's norm at the end to what it was at first
    for name in ("D", "G"):
        points = curves.get(f"gradient norm: {name}", ())
        at_first = _median(points[: len(points) // 10])
        if at_first > 0:
            ratios[name] = _median(_last_tenth(points)) / at_first
    found = [
        f"{name}'s gradient has exploded: its norm is {ratio:.1g} times what it was at first. The likely cause is a D "
        "that has become too sharp: try a gradient penalty or spectral norm."
        for name, ratio in ratios.items()
        if ratio > EXPLODED
    ]
    vanished = {name: ratio for name, ratio in ratios.items() if ratio < VANISHED}
    if vanished:
        whose = "both gradients have" if len(vanished) == 2 else f"{min(vanished)}'s gradient has"
        norms = " and ".join(f"{name}'s norm is {ratio:.1g}" for name, ratio in vanished.items())
        # A D that is sure has learned; one whose units are dead gives all samples of a region the same logit.
        real, fake = _rightness(curves)
        if real > SURE and fake > SURE:
            cause, cure = "a loss that saturates where D is sure", "the non-saturating loss or a weaker D"
        else:
            cause = "dead units, in G or in the D that it learns through, after steps that were too large"
            cure = "a lower learning rate, leaky ReLU, or a penalty on D's gradient"
        found.append(f"{whose} vanished: {norms} times what it was at first. The likely cause is {cause}: try {cure}.")
    return found


def _last_tenth(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    return points[-max(1, len(points) // 10) :]


def _median(points: Sequence[tuple[int, float]]) -> float:
    """The median of the values, nan if there are none."""
    return float(np.median([value for _, value in points])) if points else math.nan
