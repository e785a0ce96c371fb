"""All distances between generated and real images in one table, each beside what real images score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .frechet import frechet_distance
from .kernel_distance import kernel_distance
from .manifold import density_coverage, precision_recall
from .vendi import vendi_score


def compare(real: np.ndarray, fake: np.ndarray, floor: np.ndarray) -> dict[str, float]:
    """The metrics of features `fake` (N, d) against `real` (M, d), and under "floor_..." those of `floor` (N, d).

    real:  features of the images that the generator learned from
    floor: features of as many other real images as there are fakes. A generator as good as the world's own would score
           what they do, which is not 0: it is how far two samples of this size are apart.
    frechet, kid (with its 95% interval, kid_low to kid_high), precision, recall, density, coverage and vendi; nan for
    what so few samples cannot say.
    """
    if len(fake) != len(floor):
        raise ValueError(
            f"compare: needs as many real samples for the floor as fakes, got {len(floor)} and {len(fake)}"
        )
    figures = {}
    for prefix, samples in (("", fake), ("floor_", floor)):
        for names, metric in METRICS.values():
            needed = real.shape[1] if metric is _frechet else 6
            enough = min(len(real), len(samples)) >= needed
            values = metric(real, samples) if enough else [math.nan] * len(names)
            figures.update({prefix + name: value for name, value in zip(names, values, strict=True)})
    return figures


def comparison_table(figures: dict[str, float]) -> str:
    """What `compare` found, in lines to be printed."""
    lines = [f"{'':20}{'fakes':>20}{'as many real ones':>20}"]
    for title, (names, _) in METRICS.items():
        cells = []
        for prefix in ("", "floor_"):
            value, *others = (figures[prefix + name] for name in names)
            if names[0] == "kid":
                cells.append(f"{value:.4f} \u00b1 {others[1] - value:.4f}")
            else:
                cells.append(", ".join(f"{x:.3g}" for x in (value, *others)))
        lines.append(f"{title:20}{cells[0]:>20}{cells[1]:>20}")
    return "\n".join(lines)


def _frechet(real: np.ndarray, fake: np.ndarray) -> tuple[float]:
    return (frechet_distance(real, fake),)


def _vendi(real: np.ndarray, fake: np.ndarray) -> tuple[float]:
    return (vendi_score(fake),)


METRICS: dict[str, tuple[tuple[str, ...], Callable[[np.ndarray, np.ndarray], Sequence[float]]]] = {
    "Frechet distance": (("frechet",), _frechet),
    "KID, 95% interval": (("kid", "kid_low", "kid_high"), kernel_distance),
    "precision, recall": (("precision", "recall"), precision_recall),
    "density, coverage": (("density", "coverage"), density_coverage),
    "Vendi score": (("vendi",), _vendi),
}
