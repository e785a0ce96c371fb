"""Line drawings made of images: what a network that paints learns from."""

from __future__ import annotations

import numpy as np

THRESHOLD = 25  # of 255


def outlines(images: np.ndarray, threshold: int = THRESHOLD) -> np.ndarray:
    """uint8 (N, H, W, C) -> the same: white but for the pixels that differ, by more than `threshold` in any channel,
    from one of their four neighbours. These stay as they are, as if drawn with coloured pencils.

    Of `shapes` the lines show the shape, its colour and the background's, and the pattern of a background that is
    striped or checked; not whether another one is plain, shaded or mottled.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"outlines: needs uint8 images (N, H, W, C), got {images.dtype} of shape {images.shape}")
    x = images.astype(np.int16)
    line = np.zeros(images.shape[:3], bool)
    below = (np.abs(x[:, 1:] - x[:, :-1]) > threshold).any(-1)
    beside = (np.abs(x[:, :, 1:] - x[:, :, :-1]) > threshold).any(-1)
    line[:, :-1] |= below
    line[:, 1:] |= below
    line[:, :, :-1] |= beside
    line[:, :, 1:] |= beside
    return np.where(line[..., None], images, 255).astype(np.uint8)
