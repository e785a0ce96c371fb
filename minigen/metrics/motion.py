"""What a video of one bright shape on black shows: how it moves, and which kind of shape it is.

Videos are (N, T, H, W, 1) of any number type, brighter for more light; positions are in pixels, down and to the right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..random import permutation

SECTORS = 8  # of directions


def centroids(videos: Any) -> np.ndarray:
    """The centroid of the light in each frame, (N, T, 2); 0 where there is no light."""
    light = _light("centroids", videos)
    total = np.maximum(light.sum((2, 3)), 1e-9)
    y, x = np.mgrid[: light.shape[2], : light.shape[3]]
    return np.stack([(light * axis).sum((2, 3)) / total for axis in (y, x)], -1)


def linear_motion(videos: Any) -> tuple[np.ndarray, np.ndarray]:
    """How linear the motion in each video is, R^2 (N,), and its way from the first frame to the last, (N, 2).

    The centroid c(t) of the light is fitted by a line, c(t) = a + b t: R^2 = 1 - sum |c - a - b t|^2 / sum |c - mean|^2
    over the frames, of both coordinates together; 0 where the light does not move, or there is none.
    """
    c = centroids(videos)
    c -= c.mean(1, keepdims=True)
    time = np.linspace(-0.5, 0.5, c.shape[1])[:, None]
    way = (c * time).sum(1) / (time**2).sum()
    left, all_of_it = ((x**2).sum((1, 2)) for x in (c - way[:, None] * time, c))
    return np.where(all_of_it > 1e-9, 1 - left / np.maximum(all_of_it, 1e-9), 0.0), way


def frames_shuffled(videos: np.ndarray) -> np.ndarray:
    """Each video's frames in a random order of its own, always the same."""
    return np.stack([video[permutation(len(video), 0, i)] for i, video in enumerate(videos)])


def hollow(videos: Any) -> np.ndarray:
    """Which videos show a shape with a hole, (N,): less than a pixel from the centroid it is, averaged over the frames,
    less than half as bright as its brightest pixel."""
    light = _light("hollow", videos)
    y, x = np.mgrid[: light.shape[2], : light.shape[3]]
    centre_y, centre_x = np.moveaxis(centroids(videos), -1, 0)[..., None, None]  # (N,T,1,1)
    middle = np.hypot(y - centre_y, x - centre_x) < 1
    inside = (light * middle).sum((2, 3)) / np.maximum(middle.sum((2, 3)), 1)
    return (inside / np.maximum(light.max((2, 3)), 1e-9)).mean(1) < 0.5


def motion_modes(videos: Any) -> np.ndarray:
    """The mode of each video, (N,): in which of 8 equal sectors it moves, counted from the right and clockwise, and 8
    more if its shape has a hole."""
    return np.floor(_turn(videos) * SECTORS).astype(int) % SECTORS + SECTORS * hollow(videos)


def directions(videos: Any) -> np.ndarray:
    """Which of 8 directions each video's way is nearest to, (N,): 0 is to the right, then clockwise, as in
    `minigen.data.DIRECTIONS`."""
    return np.rint(_turn(videos) * SECTORS).astype(int) % SECTORS


def _turn(videos: Any) -> np.ndarray:
    """The direction of the way, from the right and clockwise, in turns from -1/2 to 1/2: (N,)."""
    _, way = linear_motion(videos)
    return np.arctan2(way[:, 0], way[:, 1]) / (2 * np.pi)


def _light(name: str, videos: Any) -> np.ndarray:
    light = np.asarray(videos, np.float64)
    if light.ndim != 5 or light.shape[-1] != 1 or light.shape[1] < 2:
        raise ValueError(f"{name}: needs videos (N, T >= 2, H, W, 1), got shape {light.shape}")
    return light[..., 0]
