"""Procedural videos: a white shape that crosses a black picture at constant velocity.

Drawn as in `shapes`, from signed distances: clip(1/2 - d, 0, 1) of a pixel is covered, so that even a tenth of a pixel
of motion shows.
"""

from __future__ import annotations

import math

import numpy as np

from ..backend import kernels_on
from .base import Dataset
from .shapes import DISTANCES

MOVING = ("circle", "square", "triangle", "ring")
RADII = 0.16, 0.2  # in sides of the picture
REACH = 1.25  # of a shape around its centre, in radii
LENGTHS = 0.25, 0.45  # of the way, in sides
DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")


def moving_shapes(n: int = 5000, seed: int = 0, frames: int = 16, side: int = 16) -> np.ndarray:
    """n videos, uint8 (n, frames, side, side, 1). The whole shape is in the picture all the time.

    Its kind, size, direction, the length of its way and where that lies are random: those of video i of a seed are
    always the same, whatever n and whatever the number and size of the frames.
    """
    for name, value, least in (("n", n, 1), ("frames", frames, 2), ("side", side, 8)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"moving_shapes: {name} must be a whole number of at least {least}, got {value!r}")
    kind, size, turn, way, *middle = _choices(n, seed)
    kind = (kind * len(MOVING)).astype(np.int64)
    radius = side * (RADII[0] + (RADII[1] - RADII[0]) * size)
    length = side * (LENGTHS[0] + (LENGTHS[1] - LENGTHS[0]) * way)
    angle = 2 * math.pi * turn
    time = np.linspace(-0.5, 0.5, frames, dtype=np.float32)

    places = []  # y and x of the centre, from the picture's, in every frame: (n, frames) each
    for velocity, share in zip((length * np.sin(angle), length * np.cos(angle)), middle, strict=True):
        room = side / 2 - REACH * radius - abs(velocity) / 2
        places.append(((2 * share - 1) * room)[:, None] + velocity[:, None] * time)
    y, x = (
        ((pixels + np.float32(0.5 - side / 2)).reshape(1, 1, -1) - place[..., None]) / radius[:, None, None]
        for pixels, place in zip(np.mgrid[:side, :side], places, strict=True)
    )  # (n,frames,side*side), in radii
    distance = np.empty_like(y)
    for i, name in enumerate(MOVING):
        distance[kind == i] = DISTANCES[name](y[kind == i], x[kind == i])
    covered = np.clip(0.5 - distance * radius[:, None, None], 0, 1)
    return np.rint(255 * covered).astype(np.uint8).reshape(n, frames, side, side, 1)


def captioned_shapes(n: int = 5000, seed: int = 0, frames: int = 16, side: int = 16) -> Dataset:
    """The videos of `moving_shapes`, each with its direction as label, the nearest one of DIRECTIONS, and a caption:
    "a ring moves up right". `attributes` are "direction" and "shape", indices into DIRECTIONS and MOVING."""
    videos = moving_shapes(n, seed, frames, side)
    kind, _, turn, *_ = _choices(n, seed)
    shape = (kind * len(MOVING)).astype(np.int64)
    direction = np.rint(turn * len(DIRECTIONS)).astype(np.int64) % len(DIRECTIONS)
    captions = [f"a {MOVING[s]} moves {DIRECTIONS[d]}" for s, d in zip(shape, direction, strict=True)]
    return Dataset(videos, direction, "moving-shapes", captions, {"direction": direction, "shape": shape})


def _choices(n: int, seed: int) -> np.ndarray:
    """In [0, 1), for each video: its kind, size, direction, the length of its way, where that lies down and across."""
    return kernels_on("cpu").uniform((n, 6), seed, 0, 0, np.float32).T
