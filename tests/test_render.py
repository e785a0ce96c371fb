"""Views of solids: where a surface is seen, how light it is, and what hides what."""

import numpy as np
import pytest

import minigen
from minigen.data import solids, to_float
from minigen.render import BACKGROUND, LAMP, LIT, SHADE, SPAN, render


def ball(radius, side=16, centre=(0.0, 0.0, 0.0)):
    points = np.stack(np.mgrid[:side, :side, :side]) - (side - 1) / 2 - np.reshape(centre, (3, 1, 1, 1))
    return np.rint(255 * np.clip(radius - np.linalg.norm(points, axis=0) + 0.5, 0, 1)).astype(np.uint8)[None, ..., None]


def box(depth, height, width, side=16):
    grid = np.zeros((1, side, side, side), np.uint8)
    grid[:, slice(*depth), slice(*height), slice(*width)] = 255
    return grid


def test_nothing_is_seen_of_an_empty_grid():
    view = render(np.zeros((2, 8, 8, 8, 1), np.uint8), size=10)
    assert view.dtype == np.uint8 and view.shape == (2, 10, 10, 1) and (view == BACKGROUND).all()


@pytest.mark.parametrize("view", [(0, 0), (30, 30), (-70, 10), (200, -50)])
def test_a_ball_is_a_disc_from_everywhere(view):
    radius, size = 5.0, 96
    seen = render(ball(radius), size, *view)[0, ..., 0]
    y, x = (np.mgrid[:size, :size] + 0.5) / size * SPAN * 18 - SPAN * 9  # the grid has a layer around it
    r = np.hypot(y, x)
    assert (seen[r < radius - 0.35] <= LIT).all() and (seen[r > radius + 0.35] == BACKGROUND).all()
    normal = np.stack([-np.sqrt(np.maximum(radius**2 - r**2, 0)), y, x]) / radius
    expected = SHADE + (LIT - SHADE) * np.maximum(np.tensordot(LAMP, normal, 1) / np.linalg.norm(LAMP), 0)
    inner = r < 0.85 * radius
    assert abs(seen[inner] - expected[inner]).mean() < 4 and abs(seen[inner] - expected[inner]).max() < 25


@pytest.mark.parametrize(("azimuth", "elevation", "seen"), [(0, 0, "front"), (90, 0, "right"), (0, 90, "top")])
def test_the_viewer_stands_where_he_is_said_to(azimuth, elevation, seen):
    """A plate on the front, the right or the top of the grid has its full size, and its place, from there alone."""
    plates = {
        "front": box((0, 2), (0, 6), (0, 10)),
        "right": box((0, 10), (0, 6), (14, 16)),
        "top": box((0, 6), (0, 2), (0, 10)),
    }
    view = render(plates[seen], 90, azimuth, elevation)[0, ..., 0] < BACKGROUND
    rows, columns = np.nonzero(view.any(1))[0], np.nonzero(view.any(0))[0]
    pixel = 90 / (SPAN * 18)  # pixels to a voxel
    expected = {"front": (0, 0, 6, 10), "right": (0, 0, 6, 10), "top": (10, 0, 6, 10)}[
        seen
    ]  # from above the front is below
    middle = 45
    top, left = (middle + pixel * (first - 8) for first in expected[:2])
    bottom, right = top + pixel * expected[2], left + pixel * expected[3]
    for found, wanted in zip((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1), (top, left, bottom, right)):
        assert found == pytest.approx(wanted, abs=2)


def test_what_is_in_front_hides_what_is_behind():
    near, far = ball(3.0, centre=(-4, 0, 0)), ball(3.0, centre=(4, 0, 0))
    np.testing.assert_array_equal(render(near | far, azimuth=0, elevation=0), render(near, azimuth=0, elevation=0))
    apart = render(near | far, azimuth=90, elevation=0)[0, ..., 0] < BACKGROUND  # from the right, the front is left
    assert apart.sum() > 1.9 * (render(near, azimuth=90, elevation=0) < BACKGROUND).sum()
    left = render(near, azimuth=90, elevation=0)[0, ..., 0] < BACKGROUND
    assert np.nonzero(left.any(0))[0].max() < 24


def test_a_solid_ends_where_the_grid_does():
    view = render(np.full((1, 8, 8, 8), 255, np.uint8), 80, 0, 0)[0, ..., 0] < BACKGROUND
    assert view.mean() == pytest.approx((8 / (SPAN * 10)) ** 2, rel=0.12)


def test_any_kind_of_array_and_batch_gives_the_same_view():
    grids = solids(3).images
    views = render(grids)
    assert views.shape == (3, 48, 48, 1)
    for same in (grids[..., 0], to_float(grids), minigen.tensor(to_float(grids))):
        np.testing.assert_array_equal(render(same), views)
    np.testing.assert_array_equal(render(grids[1:2])[0], views[1])


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 8, 3), (0, 8, 8, 8)])
def test_what_is_no_grid_is_refused(shape):
    with pytest.raises(ValueError, match=r"needs grids \(N, D, H, W\) or \(N, D, H, W, 1\), got shape"):
        render(np.zeros(shape, np.uint8))


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        render(np.zeros((1, 8, 8, 8), np.uint8), 0)
