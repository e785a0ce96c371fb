"""Solids: each grid depends on its seed and number alone, and is filled as the solid of its label is."""

import sys

import numpy as np
import pytest

from minigen.data import SOLIDS, solids
from minigen.data.solids import DISTANCES, RADII


@pytest.fixture(scope="module")
def data():
    return solids(1200)


def test_grids_are_occupancies(data):
    assert data.images.dtype == np.uint8 and data.images.shape == (1200, 16, 16, 16, 1)
    assert data.name == "solids" and data.labels.dtype == np.int64
    counts = np.bincount(data.labels, minlength=len(SOLIDS))
    assert len(counts) == len(SOLIDS) and counts.min() > 110 and counts.max() < 195
    partly = ((data.images > 0) & (data.images < 255)).mean((1, 2, 3, 4))
    assert partly.min() > 0.01  # the surface is smooth


@pytest.mark.parametrize("n", [1, 499, 501])
def test_a_grid_depends_on_its_seed_and_number_alone(data, n, monkeypatch):
    for block in (500, 7):
        monkeypatch.setattr(sys.modules["minigen.data.solids"], "_BLOCK", block)
        few = solids(n)
        np.testing.assert_array_equal(few.images, data.images[:n])
        np.testing.assert_array_equal(few.labels, data.labels[:n])


def test_no_two_are_alike(data):
    every = np.concatenate([data.images, solids(200, seed=1).images]).reshape(1400, -1)
    assert len(np.unique(every, axis=0)) == 1400


@pytest.mark.parametrize("side", [12, 16, 20])
def test_the_same_solid_is_drawn_at_any_size_and_lies_in_the_grid(side):
    """The volume of a solid, and that of a layer of voxels around the grid, which must be empty."""
    small, large = (solids(300, 2, s).images[..., 0] / 255 for s in (side, 40))
    volume, exact = small.mean((1, 2, 3)), large.mean((1, 2, 3))
    np.testing.assert_allclose(volume, exact, rtol=0.15)
    assert abs(volume / exact - 1).mean() < 0.06
    for axis in (1, 2, 3):  # a ball that touches the border fills less than this of the outermost layer
        assert np.take(small, [0, -1], axis).mean((1, 2, 3)).max() < 0.05


def test_places_and_sizes_vary(data):
    light = data.images[..., 0].astype(np.float64)
    total = light.sum((1, 2, 3))
    middle = np.stack([(light * axis).sum((1, 2, 3)) / total for axis in np.mgrid[:16, :16, :16]])
    symmetric = data.labels != SOLIDS.index("cone")  # whose centre of mass is below the middle
    places = middle[:, symmetric] - 7.5
    assert abs(places.mean(1)).max() < 0.1 and places.std(1).min() > 0.7
    assert 1.8 < abs(places).max() < (0.5 - RADII[0]) * 16 + 0.1
    balls = total[data.labels == SOLIDS.index("ball")] / 255
    radii = (balls * 3 / (4 * np.pi)) ** (1 / 3)
    assert RADII[0] * 16 * 0.75 < radii.min() + 0.05 and radii.max() < RADII[1] * 16 * 0.95 + 0.05
    assert radii.std() > 0.3


def test_solids_are_upright_and_turned():
    """The upright axis of a cylinder, and the way to the corners of a box, from moments of their grids."""
    data = solids(1500, side=24)
    points = np.stack(np.mgrid[:24, :24, :24]).reshape(3, -1)
    cylinders, boxes = (data.images[data.labels == SOLIDS.index(name), ..., 0] for name in ("cylinder", "box"))
    for grid in cylinders[:40]:
        long = np.linalg.eigh(np.cov(points, aweights=grid.ravel().astype(float)))[1][:, -1]
        assert abs(long[1]) > 0.999
    turns = []
    for grid in boxes:
        plan = grid.sum(1, dtype=float)  # seen from above
        z, x = np.mgrid[:24, :24] - np.sum(np.mgrid[:24, :24] * plan, (1, 2))[:, None, None] / plan.sum()
        turns.append(np.angle((plan * (x + 1j * z) ** 4).sum()) / (2 * np.pi) % 1)  # the same after a quarter turn
    assert np.bincount((np.array(turns) * 8).astype(int), minlength=8).min() > 0.07 * len(turns)


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("p", [0.0, 0.5, 0.999])
def test_distances_are_negative_inside_and_within_the_ball(name, p):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.3, 1.3, (3, 1, 20_000)).astype(np.float32)
    d = DISTANCES[name](*points, np.float32([[p]]))
    far = np.linalg.norm(points, axis=0) > 1.001
    assert (d[far] > 0).all()
    assert 0.01 < (d < 0).mean() < 0.25
    nudged = points + rng.normal(scale=0.01, size=points.shape).astype(np.float32)
    moved = np.linalg.norm(nudged - points, axis=0)
    assert (abs(DISTANCES[name](*nudged, np.float32([[p]])) - d) <= moved * 1.001 + 1e-5).all()  # no steeper than 1
    slope = [(DISTANCES[name](*(points + e), np.float32([[p]])) - d) / 1e-3 for e in 1e-3 * np.eye(3)[..., None, None]]
    near = abs(d) < 0.05
    assert np.median(np.linalg.norm(slope, axis=0)[near]) == pytest.approx(1, abs=0.02)  # nor flatter, at the surface


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0,), "n must .* at least 1, got 0"), ((2.5,), "n must"), ((1, 0, 11), "side must .* at least 12, got 11")],
)
def test_what_cannot_be_drawn_is_refused(arguments, words):
    with pytest.raises(ValueError, match=f"solids: {words}"):
        solids(*arguments)
