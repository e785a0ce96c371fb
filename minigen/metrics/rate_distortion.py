"""Rate and distortion: how many bytes a set of images takes, and how good the images are afterwards.

A curve is an array (points, 2): bytes per image, and the PSNR in dB over all images, in the order of the bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.base import require
from ..viz import image_grid


def best_points(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """The curve through those (bytes, PSNR) that none with fewer bytes equals or outdoes."""
    if not len(points):
        raise ValueError("best_points: needs at least one (bytes, PSNR), got none")
    curve = np.array(sorted(points, key=lambda point: (point[0], -point[1])), dtype=np.float64)
    best_before = np.maximum.accumulate([-math.inf, *curve[:-1, 1]])
    return curve[curve[:, 1] > best_before]


def psnr_gain(curve: Any, baseline: Any) -> tuple[float, float]:
    """By how many dB a curve lies above another over the bytes they have in common: (least, mean).

    The curves are lines between their points, over the logarithm of the bytes; the mean is over that logarithm, too
    (Bjontegaard 2001, with lines in the place of cubics). (nan, nan) if they have no range in common.
    """
    (ours, x), (theirs, y) = _log_bytes_and_psnr(curve), _log_bytes_and_psnr(baseline)
    low, high = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
    if not low < high:
        return math.nan, math.nan
    every = np.concatenate([[low, high], ours, theirs])  # between any two of these, the difference is a line
    at = np.unique(every[(every >= low) & (every <= high)])
    gain = np.interp(at, ours, x) - np.interp(at, theirs, y)
    return float(gain.min()), float(np.trapezoid(gain, at) / (high - low))


def _log_bytes_and_psnr(curve: Any) -> tuple[np.ndarray, np.ndarray]:
    curve = np.asarray(curve, np.float64)
    if curve.ndim != 2 or curve.shape[1] != 2 or not curve.size or not (np.diff(curve[:, 0], prepend=0) > 0).all():
        raise ValueError(
            f"psnr_gain: a curve is (points, 2), its bytes positive and increasing (see best_points), got {curve}"
        )
    return np.log(curve[:, 0]), curve[:, 1]


def png_bytes(images: np.ndarray) -> float:
    """Bytes per image of a PNG file with all of them side by side: uint8 (N, H, W, 1 or 3)."""
    return len(_contact_sheet(images, format="PNG", optimize=True)) / len(images)


def jpeg(images: np.ndarray, quality: int) -> tuple[float, np.ndarray]:
    """Bytes per image of a JPEG file with all of them side by side, so that they share its header; the images in it."""
    stream = _contact_sheet(images, format="JPEG", quality=quality, optimize=True, progressive=True)
    sheet = np.asarray(require("PIL.Image", "Pillow", "jpeg").open(io.BytesIO(stream)))
    n, height, width, channels = images.shape
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    cells = sheet.reshape(rows, height, columns, width, channels).swapaxes(1, 2).reshape(-1, height, width, channels)
    return len(stream) / n, cells[:n]


def _contact_sheet(images: np.ndarray, **settings) -> bytes:
    """A file with the images side by side, as many in a row as make it about square."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(f"png_bytes, jpeg: need uint8 (N, H, W, 1 or 3), got {images.dtype} of shape {images.shape}")
    sheet = image_grid(images, padding=0)
    if sheet.shape[-1] == 1:
        sheet = sheet.squeeze(-1)
    file = io.BytesIO()
    require("PIL.Image", "Pillow", "a contact sheet").fromarray(sheet).save(file, **settings)
    return file.getvalue()
