"""Random changes of images, by which a few thousand go further. `generator` None means the default one."""

from __future__ import annotations

import math

import numpy as np

from .. import random
from ..backend import Array, array_module, device_of, kernels_on, on_device_of
from ..random import Generator, rand

_NODES = 4  # the smooth displacement is given by 4 x 4 random vectors


def warp(
    images: Array,
    generator: Generator | None = None,
    rotation: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.1,
    shift: float = 1.0,
    elastic: float = 1.0,
) -> Array:
    """Each image turned, scaled, sheared, shifted and bent at random, bilinear, black beyond its edges.

    images: uint8 or floats (N, H, W, C), NumPy or CuPy -> float32, in the same range
    rotation (degrees), scale (of the logarithm, along each axis) and shear are the standard deviations of normal
    numbers; so are shift and elastic, in pixels: of the whole image, and of a smooth field of displacements besides.
    The random numbers are one draw of `generator`: image i of draw n is always deformed in the same way.
    After Simard et al. (2003), who bent MNIST's digits.
    """
    if images.ndim != 4:
        raise ValueError(f"warp: needs images (N, H, W, C), got shape {images.shape}")
    generator = generator or random.default_generator
    n, height, width, channels = images.shape
    count = 6 + 2 * _NODES * _NODES
    normal = kernels_on("cpu").normal((n, count), generator.seed, generator.next_draw(), dtype=np.float32)
    xp = array_module(images)
    with on_device_of(images):
        y, x = (a.reshape(n, -1) for a in _sources(normal, height, width, rotation, scale, shear, shift, elastic))
        padded = xp.pad(images.astype(np.float32), [(0, 0), (1, 1), (1, 1), (0, 0)]).reshape(-1, channels)
        y, x = xp.asarray(np.clip(y + 1, 0, height + 1)), xp.asarray(np.clip(x + 1, 0, width + 1))
        top, left = xp.minimum(xp.floor(y), height), xp.minimum(xp.floor(x), width)
        below, right = (y - top)[..., None], (x - left)[..., None]
        pixel = top.astype(np.int64) * (width + 2) + left.astype(np.int64)
        first = pixel + xp.arange(n)[:, None] * ((height + 2) * (width + 2))
        upper = padded[first] * (1 - right) + padded[first + 1] * right
        lower = padded[first + width + 2] * (1 - right) + padded[first + width + 3] * right
        return (upper * (1 - below) + lower * below).reshape(images.shape)


def _sources(normal, height, width, rotation, scale, shear, shift, elastic) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns (N, H, W) of the points that each pixel is taken from."""
    rotation, scale, shear, shift, elastic = map(float, (rotation, scale, shear, shift, elastic))  # np.float64 promotes
    angle = math.radians(rotation) * normal[:, 0]
    stretch_y, stretch_x = np.exp(scale * normal[:, 1]), np.exp(scale * normal[:, 2])
    slant = shear * normal[:, 3]
    cos, sin = np.cos(angle), np.sin(angle)
    # rotation @ [[1, 0], [slant, 1]] @ diag(stretch)
    matrix = np.stack(
        [(cos - sin * slant) * stretch_y, -sin * stretch_x, (sin + cos * slant) * stretch_y, cos * stretch_x], -1
    ).reshape(-1, 2, 2)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    centred = np.stack([rows.ravel() - (height - 1) / 2, columns.ravel() - (width - 1) / 2])  # (2, HW)
    field = normal[:, 6:].reshape(-1, 2, _NODES, _NODES)
    bend = _smooth(height) @ field @ _smooth(width).T  # (N, 2, H, W)
    points = matrix @ centred + shift * normal[:, 4:6, None] + elastic * bend.reshape(len(normal), 2, -1)
    return points[:, 0] + (height - 1) / 2, points[:, 1] + (width - 1) / 2


def _smooth(side: int) -> np.ndarray:
    """(side, nodes): bumps around nodes spread evenly over the side; a displacement has variance 1."""
    position = np.arange(side)[:, None] / max(side - 1, 1) * (_NODES - 1) - np.arange(_NODES)
    bumps = np.exp(-(position**2))
    return (bumps / np.sqrt((bumps**2).sum(1, keepdims=True))).astype(np.float32)


def symmetries(images: Array, generator: Generator | None = None) -> Array:
    """Each image mirrored and turned by quarter turns at random: one of the 8 symmetries of a square, all as likely.

    images: any dtype (N, H, W, C), NumPy or CuPy -> the same; those that are not square are not turned by 90 degrees
    """
    if images.ndim != 4:
        raise ValueError(f"symmetries: needs images (N, H, W, C), got shape {images.shape}")
    chosen = rand(len(images), 3, generator=generator, device=device_of(images)).data
    with on_device_of(images):
        xp = array_module(images)
        upside_down, mirrored, transposed = (chosen < 0.5).T[..., None, None, None]
        images = xp.where(upside_down, images[:, ::-1], images)
        images = xp.where(mirrored, images[:, :, ::-1], images)
        return xp.where(transposed, images.swapaxes(1, 2), images) if images.shape[1] == images.shape[2] else images


def binarise(intensities: Array, generator: Generator | None = None) -> Array:
    """Each pixel 1 with probability its intensity in [0, 1], else 0: float32, any shape, NumPy or CuPy.

    What models of black and white pixels are trained and tested on (Salakhutdinov & Murray 2008), anew at each step.
    """
    if intensities.dtype.kind != "f":
        raise TypeError(
            f"binarise: needs intensities in [0, 1], got {intensities.dtype}; use to_float(images, 0, 1) first"
        )
    u = rand(*intensities.shape, generator=generator, device=device_of(intensities)).data
    with on_device_of(intensities):
        return (u < intensities).astype(np.float32)
