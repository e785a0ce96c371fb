"""Motion and shape, read off videos whose motion and shape are known."""

import numpy as np
import pytest

from minigen.data import captioned_shapes, moving_shapes
from minigen.metrics import centroids, directions, frames_shuffled, hollow, linear_motion, motion_modes


def dots(places, side=12):
    """A video of one pixel: places (T, 2) -> (1, T, side, side, 1)."""
    video = np.zeros((1, len(places), side, side, 1), np.uint8)
    for frame, (y, x) in zip(video[0], places, strict=True):
        frame[y, x] = 200
    return video


def test_centroids_are_where_the_light_is():
    places = [(1, 2), (4, 4), (9, 0)]
    np.testing.assert_allclose(centroids(dots(places))[0], places)
    two = dots([(0, 0), (0, 0)]) + dots([(4, 2), (4, 2)])
    np.testing.assert_allclose(centroids(two)[0], [(2, 1)] * 2)


def test_a_line_at_constant_speed_is_linear_and_its_way_is_known():
    linear, way = linear_motion(dots([(8 - t, 2 * t) for t in range(5)]))
    assert linear[0] == pytest.approx(1)
    np.testing.assert_allclose(way[0], (-4, 8))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(0, 0), (0, 3), (0, 3)], 1 - 1.5 / 6),  # x: residuals of (-2, 1, 1) from (-1.5, 0, 1.5)
        ([(0, 0), (0, 4), (0, 0)], 0),  # there and back
        ([(3, 3)] * 4, 0),  # it does not move
    ],
)
def test_r_squared_by_hand(places, expected):
    assert linear_motion(dots(places))[0][0] == pytest.approx(expected)


def test_a_dark_video_moves_nowhere():
    linear, way = linear_motion(np.zeros((2, 4, 8, 8, 1)))
    assert not linear.any() and not way.any()


def test_moving_shapes_move_in_lines_and_do_not_once_shuffled():
    videos = moving_shapes(200)
    linear, way = linear_motion(videos)
    assert linear.min() > 0.99
    assert np.linalg.norm(way, axis=1).min() > 0.2 * 16 and np.linalg.norm(way, axis=1).max() < 0.5 * 16
    mixed = frames_shuffled(videos)
    assert (linear_motion(mixed)[0] < 0.9).all()
    assert (np.sort(mixed, 1) == np.sort(videos, 1)).all()  # the same light in the same pixels
    assert (frames_shuffled(videos) == mixed).all()


def test_a_ring_is_hollow_and_a_disc_is_not():
    y, x = np.mgrid[:16, :16] - 7.5
    r = np.hypot(y, x)
    disc, ring = (r < 3.2), (r < 3.2) & (r > 1.6)
    videos = np.stack([disc, ring]).astype(np.float32)[:, None, ..., None].repeat(3, 1)
    assert hollow(videos).tolist() == [False, True]
    assert hollow(moving_shapes(2000)).mean() == pytest.approx(0.25, abs=0.03)  # rings are a quarter of the shapes


def test_modes_are_sectors_and_holes():
    ways = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
    places = [[(5, 5), (5 + 3 * y, 5 + 3 * x)] for y, x in ways]
    found = [motion_modes(dots(p))[0] for p in places]
    assert found == [0, 1, 2, 3, 4, 5, 6, 7]
    videos = moving_shapes(500)
    assert ((motion_modes(videos) >= 8) == hollow(videos)).all()
    assert len(np.unique(motion_modes(videos))) == 16


def test_directions_are_the_nearest_of_eight():
    ways = [(1, 8), (6, 8), (8, 1), (8, -6), (-1, -8), (-6, -8), (-8, 1), (-8, 6)]
    found = [directions(dots([(10, 10), (10 + y, 10 + x)], side=24))[0] for y, x in ways]
    assert found == [0, 1, 2, 3, 4, 5, 6, 7]
    data = captioned_shapes(1000)
    assert (directions(data.images) == data.labels).mean() > 0.98  # the others are close to the next one


@pytest.mark.parametrize("shape", [(2, 1, 8, 8, 1), (2, 4, 8, 8, 3), (4, 8, 8, 1)])
def test_what_is_no_video_of_light_is_refused(shape):
    with pytest.raises(ValueError, match=r"needs videos \(N, T >= 2, H, W, 1\), got shape"):
        linear_motion(np.zeros(shape))
