"""Moving shapes: each video depends on its seed and number alone, and its light goes along a line at constant speed."""

import numpy as np
import pytest

from minigen.data import DIRECTIONS, captioned_shapes, moving_shapes
from minigen.data.video import MOVING


def centroids(videos):
    light = videos[..., 0].astype(np.float64)
    y, x = np.mgrid[: light.shape[2], : light.shape[3]]
    return np.stack([(light * axis).sum((2, 3)) / light.sum((2, 3)) for axis in (y, x)], -1)


@pytest.mark.parametrize(("frames", "side"), [(16, 16), (5, 24)])
def test_the_whole_shape_is_seen_and_moves_at_constant_velocity(frames, side):
    videos = moving_shapes(200, 3, frames, side)
    assert videos.shape == (200, frames, side, side, 1) and videos.dtype == np.uint8
    edge = np.concatenate([videos[:, :, [0, -1]].reshape(200, -1), videos[:, :, :, [0, -1]].reshape(200, -1)], 1)
    assert edge.max() < 255 and (videos.reshape(200, frames, -1).max(-1) > 200).all()
    c = centroids(videos)
    line = c[:, :1] + (c[:, -1:] - c[:, :1]) * np.linspace(0, 1, frames)[:, None]
    assert abs(c - line).max() < 0.15
    way = np.linalg.norm(c[:, -1] - c[:, 0], axis=1)
    assert 0.24 * side < way.min() and way.max() < 0.46 * side


def test_a_video_depends_on_its_seed_and_number_alone():
    few, many, other = moving_shapes(3, 1), moving_shapes(40, 1), moving_shapes(40, 2)
    np.testing.assert_array_equal(few, many[:3])
    assert (many != other).any((1, 2, 3, 4)).all()
    assert len(np.unique(many.reshape(40, -1), axis=0)) == 40
    every_third = moving_shapes(3, 1, frames=6)
    np.testing.assert_array_equal(every_third[:, 0], few[:, 0])
    np.testing.assert_array_equal(every_third[:, 2], moving_shapes(3, 1, frames=11)[:, 4])


def test_ways_lead_in_all_directions_and_everywhere():
    c = centroids(moving_shapes(2000))
    way = c[:, -1] - c[:, 0]
    counts = np.bincount(np.floor(np.arctan2(*way.T) / np.pi * 4).astype(int) % 8, minlength=8)
    assert counts.min() > 180 and counts.max() < 330
    assert abs(c.mean((0, 1)) - 7.5).max() < 0.3 and c.std((0, 1)).min() > 1


def test_captions_say_the_shape_and_the_direction():
    data = captioned_shapes(1000, 4, frames=6, side=24)
    np.testing.assert_array_equal(data.images, moving_shapes(1000, 4, 6, 24))
    np.testing.assert_array_equal(data.labels, data.attributes["direction"])
    c = centroids(data.images)
    way = (c[:, -1] - c[:, 0]) / np.linalg.norm(c[:, -1] - c[:, 0], axis=1, keepdims=True)
    for i, caption in enumerate(data.captions):
        shape, direction = caption.removeprefix("a ").split(" moves ")
        assert (shape, direction) == (MOVING[data.attributes["shape"][i]], DIRECTIONS[data.labels[i]])
        words = direction.split()
        towards = np.array([("down" in words) - ("up" in words), ("right" in words) - ("left" in words)])
        assert way[i] @ towards / np.linalg.norm(towards) > np.cos(np.pi / 8 + 0.05), caption  # within half a sector
    assert np.bincount(data.labels, minlength=8).min() > 90
    assert "a ring moves up right" in data.captions
    light = [data.images[data.attributes["shape"] == i, 0].sum((1, 2, 3)).mean() for i in range(4)]
    assert light[MOVING.index("square")] > light[MOVING.index("ring")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), "n must be a whole number of at least 1, got 0"),
        ((1, 0, 1), "frames must be a whole number of at least 2, got 1"),
        ((1, 0, 16, 7), "side must be a whole number of at least 8, got 7"),
        ((1.5,), "n must be a whole number of at least 1, got 1.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, words):
    with pytest.raises(ValueError, match=f"moving_shapes: {words}"):
        moving_shapes(*arguments)
