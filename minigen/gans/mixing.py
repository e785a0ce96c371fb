"""Style mixing as a test of what the layers of a StyleGAN do (Karras et al. 2019, section 3.1).

    a, b, mixed = crossed(generator, 1000, random)
    found = transfer(read(a), read(b), {c: read(x) for c, x in mixed.items()})  # read: Features(data).attributes

An image that is made with the w of `a` in its coarse layers and that of `b` in its fine ones should have from `a` what
the coarse layers make, and from `b` what the fine ones make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..random import Generator
from .stylegan import StyleGenerator, mix

SIDES = ("coarse", "fine")
Attributes = Mapping[str, np.ndarray]  # attribute -> the value that each image has, (N,)


def crossed(
    generator: StyleGenerator, pairs: int, random: Generator
) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Images a and b of as many z, and crossover -> those with a's w in the layers before it, and b's from there on.

    uint8 (pairs, H, W, C) each, all with the same noise.
    """
    a, b = (generator.draw_styles(pairs, random) for _ in range(2))
    noise = generator.synthesis.draw_noise(1, random)
    between = {c: generator.paint(mix(a, b, c), noise) for c in range(1, generator.synthesis.layers)}
    return generator.paint(a, noise), generator.paint(b, noise), between


def transfer(a: Attributes, b: Attributes, mixed: Mapping[int, Attributes]) -> dict[str, Any]:
    """Do attributes go where their layers go? Half of the pairs say which layers those are, the others are the test.

    a, b: what was read in the images of `crossed`; mixed: for each crossover, in those in between

    At a crossover, an attribute belongs to the coarse layers if mixed images have a's value of it more often than b's,
    where these differ, and to the fine layers otherwise. The crossover is that at which attributes keep to their side
    best, of those at which each side has one. Gives "crossover", "belongs_to" (attribute -> "coarse" or "fine"),
    "by_attribute", the share of mixed images with their side's value, where a's and b's differ, and "transferred", the
    mean of those; "of_either", that share among mixed images with a's or b's value only, mean over attributes: an image
    in which a third value is read may be one that is hard to read. If one side gets all attributes at every crossover,
    the layers share nothing out: "transferred" and "of_either" are 0, and there is no "crossover".
    """
    half = len(next(iter(a.values()))) // 2
    seen = {c: _followed(a, b, values, slice(half)) for c, values in mixed.items()}
    shared_out = [c for c, shares in seen.items() if len({share.argmax() for share in shares.values()}) == len(SIDES)]
    if not shared_out:
        return {"crossover": None, "belongs_to": {}, "by_attribute": {}, "transferred": 0.0, "of_either": 0.0}
    best = max(shared_out, key=lambda c: np.mean([share.max() for share in seen[c].values()]))
    side = {name: int(share.argmax()) for name, share in seen[best].items()}
    tested = _followed(a, b, mixed[best], slice(half, None))
    shares = {name: float(share[side[name]]) for name, share in tested.items() if name in side}
    of_either = [shares[name] / max(tested[name].sum(), 1e-9) for name in shares]
    return {
        "crossover": best,
        "belongs_to": {name: SIDES[i] for name, i in side.items()},
        "by_attribute": shares,
        "transferred": float(np.mean(list(shares.values()))),
        "of_either": float(np.mean(of_either)),
    }


def _followed(a: Attributes, b: Attributes, mixed: Attributes, half: slice) -> dict[str, np.ndarray]:
    """attribute -> the shares of mixed images with a's value and with b's, over those pairs where the two differ."""
    differ = {name: a[name][half] != b[name][half] for name in a}
    return {
        name: np.array([(mixed[name][half] == x[name][half])[chosen].mean() for x in (a, b)])
        for name, chosen in differ.items()
        if chosen.any()
    }


def mixing_table(
    generator: StyleGenerator, crossover: int, random: Generator, rows: int = 5, columns: int = 9
) -> dict[str, np.ndarray]:
    """Rows for `viz.save_rows`, of columns + 1 images each: at the left that of the coarse layers, on top that of the
    fine ones (Karras et al. 2019, figure 3)."""
    a, b = generator.draw_styles(rows, random), generator.draw_styles(columns, random)
    noise = generator.synthesis.draw_noise(1, random)
    left, top = generator.paint(a, noise), generator.paint(b, noise)
    table = {"fine layers of": np.concatenate([np.full_like(top[:1], 255), top])}
    for i in range(rows):
        across = generator.paint(mix(ops.broadcast_to(a[i : i + 1], b.shape), b, crossover), noise)
        table[f"coarse layers of {i + 1}"] = np.concatenate([left[i : i + 1], across])
    return table
