"""Views of solids: grids of occupancies, drawn as pictures.

    save_images(render(grids), "solids.png")  # grids uint8, or floats in [-1, 1]; (N, D, H, W, 1)

From each pixel a ray goes through the grid, parallel to all others, until it meets the surface: the first point where
the occupancy, interpolated between the voxels, is a half. The surface faces where the occupancy falls fastest (Levoy
1988); the more it faces a lamp, the lighter it is (Lambert's law).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .backend import to_device
from .data.loader import to_float, to_uint8
from .tensor import Tensor

SPAN = 1.2  # a picture shows a ball of this diameter around the middle, in sides of the grid
STEP = 0.5  # from one point of a ray to the next, in voxels
FINER = 2  # rays to a pixel along each axis, for smooth edges
LAMP = (-0.6, -0.7, -0.4)  # where it is, seen by the viewer: away from him, downwards, to the right
SHADE, LIT, BACKGROUND = 60.0, 240.0, 255.0  # what faces away from the lamp, what faces it, and where there is nothing


def render(grids: Any, size: int = 48, azimuth: float = 30.0, elevation: float = 30.0) -> np.ndarray:
    """Grids of occupancies -> their views, uint8 (N, size, size, 1).

    grids: uint8, or floats in [-1, 1] (clipped to it); (N, D, H, W) or (N, D, H, W, 1), depth away from a viewer in
           front, and height downwards
    azimuth, elevation: how far the viewer has gone to the right, and up, in degrees
    """
    grids = np.asarray(grids.numpy() if isinstance(grids, Tensor) else to_device(grids, "cpu"))
    if grids.ndim not in (4, 5) or (grids.ndim == 5 and grids.shape[-1] != 1) or 0 in grids.shape:
        raise ValueError(f"render: needs grids (N, D, H, W) or (N, D, H, W, 1), got shape {grids.shape}")
    if size < 1:
        raise ValueError(f"render: size must be at least 1, got {size}")
    filled = to_float(grids if grids.dtype == np.uint8 else to_uint8(grids), 0, 1).reshape(grids.shape[:4])
    filled = np.pad(filled, [(0, 0), (1, 1), (1, 1), (1, 1)])  # what leaves the grid ends there
    axes = _axes(math.radians(azimuth), math.radians(elevation))
    points = _rays(filled.shape[1:], axes, FINER * size)
    near = _neighbours(points, filled.shape[1:])
    views = [_view(grid, axes, points, near).reshape(size, FINER, size, FINER).mean((1, 3)) for grid in filled]
    return np.rint(views).astype(np.uint8)[..., None]


def _axes(azimuth: float, elevation: float) -> np.ndarray:
    """Away from the viewer, downwards and to the right as he sees it, in the grid's axes: (3, 3), a direction a row."""
    cos_a, sin_a, cos_e, sin_e = math.cos(azimuth), math.sin(azimuth), math.cos(elevation), math.sin(elevation)
    return np.array(
        [(cos_e * cos_a, sin_e, -cos_e * sin_a), (-sin_e * cos_a, cos_e, sin_e * sin_a), (sin_a, 0, cos_a)], np.float32
    )


def _rays(shape: tuple[int, ...], axes: np.ndarray, size: int) -> np.ndarray:
    """The points of size * size rays, the nearest first, in voxels: (3, steps, rays)."""
    reach = SPAN / 2 * max(shape)
    across = (np.arange(size) + 0.5) / size * 2 * reach - reach
    seen = np.meshgrid(np.arange(-reach, reach, STEP), across, across, indexing="ij")
    middle = (np.array(shape) - 1) / 2
    return (np.einsum("vg,v...->g...", axes, seen) + middle[:, None, None, None]).reshape(3, -1, size * size)


def _neighbours(points: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The 8 voxels around each point (3, ...), as indices into the flat grid, and their weights: (8, ...) each."""
    edge = (np.array(shape) - 1).reshape(3, *[1] * (points.ndim - 1))
    points = np.clip(points, 0, edge)
    before = np.minimum(points.astype(np.int32), edge - 1)
    share = (points - before).astype(np.float32)
    indices, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        z, y, x = (before[axis] + corner[axis] for axis in range(3))
        indices.append((z * shape[1] + y) * shape[2] + x)
        weights.append(np.prod([s if c else 1 - s for s, c in zip(share, corner, strict=True)], axis=0))
    return np.array(indices), np.array(weights)


def _interpolated(grid: np.ndarray, near: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    indices, weights = near
    return sum(grid.ravel()[i] * w for i, w in zip(indices, weights, strict=True))


def _view(grid: np.ndarray, axes: np.ndarray, points: np.ndarray, near: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How light each ray's end is, (rays,), in 0 to 255."""
    filled = _interpolated(grid, near)  # (steps,rays)
    inside = filled >= 0.5
    (hit,) = np.nonzero(inside.any(0))
    last = inside.argmax(0)[hit]  # the first step inside; all rays begin outside
    low, high = filled[last - 1, hit], filled[last, hit]
    share = (0.5 - low) / (high - low)
    surface = (1 - share) * points[:, last - 1, hit] + share * points[:, last, hit]

    around = _neighbours(surface, grid.shape)
    rise = np.array([_interpolated(slope, around) for slope in np.gradient(_smoothed(grid))])  # (3,hits)
    facing = -(np.array(LAMP) @ axes @ rise) / np.maximum(np.linalg.norm(rise, axis=0) * np.linalg.norm(LAMP), 1e-9)
    light = np.full(filled.shape[1], BACKGROUND)
    light[hit] = SHADE + (LIT - SHADE) * np.maximum(facing, 0)
    return light


def _smoothed(grid: np.ndarray) -> np.ndarray:
    """Each voxel averaged with its neighbours, 1 2 1 along each axis: the steps between voxels show less."""
    for axis in range(3):
        ends = np.pad(grid, [(int(i == axis),) * 2 for i in range(3)], mode="edge")
        before, after = (np.delete(ends, cut, axis) for cut in ((-1, -2), (0, 1)))
        grid = (before + 2 * grid + after) / 4
    return grid
