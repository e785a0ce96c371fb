"""A procedural set of small colour pictures: a coloured shape on a background, with a caption that says all of it.

    data = shapes(1000)
    data.images    # uint8 (1000, 32, 32, 3)
    data.captions  # "a small red heart in the top left, on a striped grey background", ...
    data.attributes["colour"]  # int64 (1000,): indices into COLOURS; `VALUES` names the values of every attribute

Some pairs of shape and colour are held out: no training image shows a cyan star, though many show stars and many show
something cyan. `shapes(held_out=True)` shows nothing else. So a model that was asked for one can be seen to compose.

Shapes are drawn from signed distances d, negative inside: clip(1/2 - d, 0, 1) of a pixel is covered, for smooth edges.
"""

from __future__ import annotations

import math

import numpy as np

from ..backend import kernels_on
from .base import Dataset
from .captions import (
    BACKGROUND_COLOURS,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    VALUES,
    WORDINGS,
    describe,
    in_words,
)

SIDE = 32
_RGB = dict(
    red=(222, 28, 36),
    orange=(255, 136, 0),
    yellow=(255, 228, 10),
    green=(24, 168, 60),
    cyan=(20, 220, 230),
    blue=(36, 72, 240),
    purple=(146, 44, 206),
    pink=(255, 120, 200),
    grey=(126, 128, 130),
    beige=(206, 196, 172),
    brown=(104, 82, 66),
    navy=(46, 52, 84),
)
_RADII = (4.0, 5.6, 7.5)  # in pixels, of each size
_STEP = 7.5  # pixels from one position to the next
_CONTRAST = 24  # a background goes that far up and down from its colour, of 255
_NODES = 9  # a mottled background is interpolated between 9 x 9 random values
_BLOCK = 500  # images drawn at a time: memory stays small


def shapes(n: int = 10_000, seed: int = 0, held_out: bool = False) -> Dataset:
    """n images (n, 32, 32, 3) with `captions` and `attributes`; the labels are the shapes.

    Image i of a seed is always the same one, whatever n. With `held_out` all show a pair of HELD_OUT_PAIRS, without
    it none does.
    """
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"shapes: n must be a whole number of at least 1, got {n!r}")
    blocks = [_block(first, min(_BLOCK, n - first), seed, held_out) for first in range(0, n, _BLOCK)]
    images = np.concatenate([block[0] for block in blocks])
    captions = [caption for block in blocks for caption in block[1]]
    attributes = {name: np.concatenate([block[2][name] for block in blocks]) for name in VALUES}
    return Dataset(images, attributes["shape"], "shapes", captions, attributes)


def _block(first: int, n: int, seed: int, held_out: bool) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    """The images first to first + n - 1, their captions and attributes."""
    uniform = kernels_on("cpu").uniform
    draw = 2 if held_out else 0
    every = [(i, j) for i in range(len(SHAPES)) for j in range(len(COLOURS))]
    pairs = np.array([(i, j) for i, j in every if ((SHAPES[i], COLOURS[j]) in HELD_OUT_PAIRS) == held_out])
    counts = [len(pairs), *(len(VALUES[name]) for name in list(VALUES)[2:]), WORDINGS]
    pair, *others, wording = (uniform((n, 6), seed, draw, first, np.float64) * counts).astype(np.int64).T
    attributes = dict(zip(VALUES, [*pairs[pair].T, *others], strict=True))
    wobble, lattice = np.split(uniform((n, 8 + _NODES**2), seed, draw + 1, first), [8], axis=1)
    captions = [describe(values, form) for values, form in zip(in_words(attributes), wording.tolist(), strict=True)]
    return _draw(attributes, wobble, lattice), captions, attributes


# ---- drawing ---------------------------------------------------------------------------------------------


def _draw(attributes: dict[str, np.ndarray], wobble: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Images (N, 32, 32, 3). wobble (N, 8) and lattice (N, 81): random numbers in [0, 1), for everything no
    attribute names."""
    shift_y, shift_x, growth, turn, direction, width, phase_y, phase_x = wobble.T[..., None]  # (N,1) each
    row, column = (i.reshape(1, -1) + np.float32(0.5 - SIDE / 2) for i in np.mgrid[:SIDE, :SIDE].astype(np.float32))

    pattern = np.zeros((len(wobble), SIDE**2), np.float32)
    for kind, make in enumerate((_striped, _checked, _shaded), start=1):
        m = attributes["background"] == kind
        pattern[m] = make(row, column, direction[m], width[m], phase_y[m], phase_x[m])
    m = attributes["background"] == BACKGROUNDS.index("mottled")
    pattern[m] = _mottled(lattice[m])

    radius = np.array(_RADII, np.float32)[attributes["size"], None] * (0.96 + 0.08 * growth)
    grid_y, grid_x = np.divmod(attributes["position"], 3)
    y = row - (_STEP * (grid_y - 1)[:, None] + 1.2 * (shift_y - 0.5)).astype(np.float32)
    x = column - (_STEP * (grid_x - 1)[:, None] + 1.2 * (shift_x - 0.5)).astype(np.float32)
    angle = math.radians(24) * (turn - 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    y, x = (cos * y + sin * x) / radius, (cos * x - sin * y) / radius
    distance = np.empty_like(pattern)
    for i, name in enumerate(SHAPES):
        m = attributes["shape"] == i
        distance[m] = DISTANCES[name](y[m], x[m])
    covered = np.clip(0.5 - distance * radius, 0, 1)[..., None]

    colour = np.array([_RGB[c] for c in COLOURS], np.float32)[attributes["colour"], None]
    tint = np.array([_RGB[c] for c in BACKGROUND_COLOURS], np.float32)[attributes["background_colour"], None]
    background = tint + _CONTRAST * pattern[..., None]
    return np.rint(background + covered * (colour - background)).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)


# The backgrounds: patterns (N, 32 * 32) in [-1, 1]. row and column (1, 32 * 32), from the middle; the others (N, 1).


def _wave(t: np.ndarray, period: np.ndarray) -> np.ndarray:
    """1 and -1 in turn, each for half a period; t in periods, the period in pixels; the edges a pixel wide."""
    triangle = 4 * np.abs(t - np.floor(t) - 0.5) - 1
    return np.clip(triangle * period / 2, -1, 1)


def _striped(row, column, direction, width, phase_y, phase_x) -> np.ndarray:
    period = 5 + 3 * width
    cos, sin = np.cos(math.pi * direction), np.sin(math.pi * direction)
    return _wave((row * cos + column * sin) / period + phase_y, period)


def _checked(row, column, direction, width, phase_y, phase_x) -> np.ndarray:
    period = 8 + 4 * width
    return _wave(row / period + phase_y, period) * _wave(column / period + phase_x, period)


def _shaded(row, column, direction, width, phase_y, phase_x) -> np.ndarray:
    cos, sin = np.cos(2 * math.pi * direction), np.sin(2 * math.pi * direction)
    return (row * cos + column * sin) / (SIDE / 2 * (np.abs(cos) + np.abs(sin)))


def _mottled(lattice: np.ndarray) -> np.ndarray:
    """Bilinear between the values of a lattice, (N, 81) in [0, 1)."""
    values = 2 * lattice.reshape(-1, _NODES, _NODES) - 1
    position = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) * np.float32((_NODES - 1) / SIDE)
    before = position.astype(np.int64)
    share = position - before
    rows = values[:, before] * (1 - share)[:, None] + values[:, before + 1] * share[:, None]  # (N,32,9)
    return (rows[..., before] * (1 - share) + rows[..., before + 1] * share).reshape(-1, SIDE**2)


# The shapes: signed distances at (y, x), each (N, 32 * 32), y downwards, in units of the radius.


def _disc(y: np.ndarray, x: np.ndarray, radius: float = 1.0) -> np.ndarray:
    return np.sqrt(x * x + y * y) - np.float32(radius)


def _polygon(y: np.ndarray, x: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The distance to the nearest edge; inside where a ray crosses an odd number of edges. corners (K, 2): (y, x)."""
    nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, bool)
    for (y0, x0), (y1, x1) in zip(corners.tolist(), np.roll(corners, -1, 0).tolist(), strict=True):
        dy, dx = y1 - y0, x1 - x0
        along = np.clip(((y - y0) * dy + (x - x0) * dx) * (1 / (dy * dy + dx * dx)), 0, 1)
        away_y, away_x = y - y0 - along * dy, x - x0 - along * dx
        np.minimum(nearest, away_y * away_y + away_x * away_x, out=nearest)
        if dy:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (dx / dy))
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance)


def _corners(count: int, radii: tuple[float, ...]) -> np.ndarray:
    """Corners at equal angles, the first at the top, at each of `radii` in turn: (count, 2)."""
    angle = 2 * math.pi * np.arange(count) / count
    return np.resize(radii, count)[:, None] * np.stack([-np.cos(angle), np.sin(angle)], -1)


_SQUARE = 0.87 * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
_TRIANGLE = _corners(3, (1.25,)) + (0.2, 0)
_STAR = _corners(10, (1.2, 0.5)) + (0.06, 0)
_CROSS = (
    np.array(
        [(-3, -1), (-3, 1), (-1, 1), (-1, 3), (1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1)]
    )
    * 0.36
)


def _heart(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A square on its corner, and a disc on each of its upper sides."""
    y = y - np.float32(0.12)
    square = (np.abs(x) + np.abs(y) - 1) * np.float32(math.sqrt(0.5))
    discs = _disc(y + 0.5, np.abs(x) - 0.5, math.sqrt(0.5))
    return np.minimum(square, discs)


DISTANCES = dict(
    circle=_disc,
    square=lambda y, x: _polygon(y, x, _SQUARE),
    triangle=lambda y, x: _polygon(y, x, _TRIANGLE),
    star=lambda y, x: _polygon(y, x, _STAR),
    cross=lambda y, x: _polygon(y, x, _CROSS),
    ring=lambda y, x: np.abs(_disc(y, x, 0.8)) - np.float32(0.27),
    heart=_heart,
    crescent=lambda y, x: np.maximum(_disc(y, x, 1.1), -_disc(y + np.float32(0.2), x - np.float32(0.55), 0.9)),
)
