"""A procedural set of small solids: grids of how much of each voxel is filled.

    data = solids(1000)
    data.images  # uint8 (1000, 16, 16, 16, 1): depth (away from the viewer), height (downwards), width; 255 is inside
    data.labels  # int64 (1000,): indices into SOLIDS

The solids stand upright; their size, proportions, place and turn are random, and the whole solid is in the grid. It is
drawn as in `shapes`, from signed distances d, negative inside: clip(1/2 - d, 0, 1) of a voxel is filled, so that even a
tenth of a voxel shows.
"""

from __future__ import annotations

import math

import numpy as np

from ..backend import kernels_on
from .base import Dataset

RADII = 0.36, 0.44  # of a ball around the solid, in sides of the grid
_BLOCK = 500  # grids drawn at a time: memory stays small


def solids(n: int = 5000, seed: int = 0, side: int = 16) -> Dataset:
    """n grids (n, side, side, side, 1), the labels their kinds. Grid i of a seed shows the same solid, whatever n."""
    for name, value, least in (("n", n, 1), ("side", side, 12)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"solids: {name} must be a whole number of at least {least}, got {value!r}")
    blocks = [_block(first, min(_BLOCK, n - first), seed, side) for first in range(0, n, _BLOCK)]
    grids, labels = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Dataset(grids, labels, "solids")


def _block(first: int, n: int, seed: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The grids first to first + n - 1 and their labels."""
    draws = kernels_on("cpu").uniform((n, 7), seed, 0, first, np.float32).T[..., None]  # (n,1) each
    kind, size, stretch, turn, *place = draws
    labels = (kind[:, 0] * len(SOLIDS)).astype(np.int64)
    radius = side * (RADII[0] + (RADII[1] - RADII[0]) * size)
    z, y, x = (
        (axis.reshape(1, -1) + np.float32(0.5 - side / 2) - (2 * share - 1) * (side / 2 - radius)) / radius
        for axis, share in zip(np.mgrid[:side, :side, :side].astype(np.float32), place, strict=True)
    )  # (n, side^3) each, from the solid's centre and in its radii
    cos, sin = np.cos(2 * math.pi * turn), np.sin(2 * math.pi * turn)
    z, x = cos * z + sin * x, cos * x - sin * z
    distance = np.empty_like(x)
    for i, name in enumerate(SOLIDS):
        m = labels == i
        distance[m] = DISTANCES[name](z[m], y[m], x[m], stretch[m])
    filled = np.clip(0.5 - distance * radius, 0, 1)
    return np.rint(255 * filled).astype(np.uint8).reshape(n, side, side, side, 1), labels


# The solids: signed distances at (z, y, x), each (N, voxels), y downwards, from the centre of a ball of radius 1 in
# which they lie. Outside of an edge some are less than the distance to it. p (N, 1) in [0, 1) is what is left to vary.


def _radius(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.sqrt(z * z + x * x)


def _box(z, y, x, p) -> np.ndarray:
    half = 0.52 + 0.14 * p
    return np.maximum(np.maximum(np.abs(z), np.abs(x)) - half, np.abs(y) - np.sqrt(1 - 2 * half * half))


def _cylinder(z, y, x, p) -> np.ndarray:
    radius = 0.35 + 0.2 * p
    return np.maximum(_radius(z, x) - radius, np.abs(y) - np.sqrt(1 - radius * radius))


def _tube(z, y, x, p) -> np.ndarray:
    return np.maximum(np.abs(_radius(z, x) - 0.55) - 0.2, np.abs(y) - (0.48 + 0.18 * p))


def _cone(z, y, x, p) -> np.ndarray:
    """Its point is at y = -1."""
    radius = 0.65 + 0.2 * p
    base = np.sqrt(1 - radius * radius)
    height = 1 + base
    side = (_radius(z, x) * height - (y + 1) * radius) / np.sqrt(height * height + radius * radius)
    return np.maximum(side, y - base)


def _torus(z, y, x, p) -> np.ndarray:
    thickness = 0.22 + 0.08 * p
    return _radius(_radius(z, x) - 0.7, y) - thickness


def _octahedron(z, y, x, p) -> np.ndarray:
    """Its upper and its lower point are farther apart than the others."""
    width = 0.6 + 0.2 * p
    return (np.abs(z) + np.abs(x) + width * (np.abs(y) - 1)) / np.sqrt(2 + width * width)


def _cross(z, y, x, p) -> np.ndarray:
    """Three bars through the middle."""
    z, y, x = np.sort(np.abs([z, y, x]), axis=0)  # in the bar nearest by, x is the way along it
    return np.maximum(y - (0.2 + 0.08 * p), x - np.float32(0.9))


DISTANCES = dict(
    ball=lambda z, y, x, p: _radius(_radius(z, x), y) - (0.75 + 0.2 * p),
    box=_box,
    cylinder=_cylinder,
    tube=_tube,
    cone=_cone,
    torus=_torus,
    octahedron=_octahedron,
    cross=_cross,
)
SOLIDS = tuple(DISTANCES)
