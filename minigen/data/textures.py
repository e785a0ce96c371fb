"""Texture put on flat pictures, the same on all: two looks of one content, for translation between them."""

from __future__ import annotations

import numpy as np

APART = 60.0  # of 255: a pixel that far from the picture's main colour is no background at all
CHECKS = 45.0  # up and down from the background's colour
DARK = 0.4  # of the colour, in the darker stripes


def textured(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) -> the same with a background of lighter and darker checks, and diagonal stripes on the rest.

    The background is what has about the picture's main colour, the median of each channel. Checks and stripes are two
    pixels wide and lie at the same place in every picture, so that a flat picture has one textured version.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"textured: needs uint8 images (N, H, W, C), got {images.dtype} of shape {images.shape}")
    x = images.astype(np.float32)
    main = np.median(x, axis=(1, 2), keepdims=True)
    shape = np.clip(np.abs(x - main).max(-1, keepdims=True) / APART, 0, 1)  # 1 on the shape, 0 on the background
    row, column = np.ogrid[: images.shape[1], : images.shape[2]]
    check = np.where((row // 2 + column // 2) % 2, CHECKS, -CHECKS)[..., None]
    stripe = np.where((row + column) % 4 < 2, 1.0, DARK)[..., None]
    return np.rint(np.clip(shape * x * stripe + (1 - shape) * (x + check), 0, 255)).astype(np.uint8)
