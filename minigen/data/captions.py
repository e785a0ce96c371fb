"""What there is to say of a drawn picture of `shapes`, and sentences that say it.

describe({"size": "small", "colour": "red", "shape": "star", "position": "top left"})
# "a small red star in the top left"
"""

from __future__ import annotations

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
POSITIONS = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
BACKGROUNDS = ("plain", "striped", "checked", "shaded", "mottled")
BACKGROUND_COLOURS = ("grey", "beige", "brown", "navy")
VALUES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "position": POSITIONS,
    "background": BACKGROUNDS,
    "background_colour": BACKGROUND_COLOURS,
}
# (shape, colour): every shape and every colour once
HELD_OUT_PAIRS = tuple((shape, COLOURS[(3 * i + 3) % len(COLOURS)]) for i, shape in enumerate(SHAPES))
WORDINGS = 4


def describe(values: dict[str, str], wording: int = 0) -> str:
    """A sentence that tells the given attributes by name, such as {"colour": "red"}, in one of four wordings.

    What is not given is left out: "a red shape".
    """
    for name, value in values.items():
        if value not in VALUES.get(name, ()):
            raise ValueError(f"describe: {name}={value!r} is not among {VALUES.get(name, tuple(VALUES))}")
    if wording not in range(WORDINGS):
        raise ValueError(f"describe: wording must be from 0 to {WORDINGS - 1}, got {wording}")
    what = _together(values.get("size"), values.get("colour"), values.get("shape", "shape"))
    background = _together(values.get("background"), values.get("background_colour"), "background")
    position, behind = values.get("position"), background != "background"
    preposition = {"top": "at", "bottom": "at", "left": "on", "right": "on"}.get(str(position), "in")
    where = f"{preposition} the {position}"
    if wording == 3:
        return ", ".join(part for part in (what, position, background if behind else None) if part)
    if wording == 2 and behind:
        return f"{_a(background)} with {_a(what)}" + f" {where}" * bool(position)
    if wording == 1 and position:
        return f"{where}, {_a(what)}" + f" on {_a(background)}" * behind
    return _a(what) + f" {where}" * bool(position) + (f", on {_a(background)}" if behind else "")


def in_words(attributes: dict[str, np.ndarray]) -> list[dict[str, str]]:
    """The attributes of N pictures, indices (N,) of their values, as `describe` takes them."""
    columns = [[VALUES[name][i] for i in indices] for name, indices in attributes.items()]
    return [dict(zip(attributes, row, strict=True)) for row in zip(*columns, strict=True)]


def _together(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
