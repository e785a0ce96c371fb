"""The drawn set: each image depends on its seed and number alone, and shows what its caption and attributes say."""

import sys
import time

import numpy as np
import pytest

from minigen.data import load, shapes
from minigen.data.shapes import HELD_OUT_PAIRS, VALUES

RGB = dict(
    red=(222, 28, 36),
    orange=(255, 136, 0),
    yellow=(255, 228, 10),
    green=(24, 168, 60),
    cyan=(20, 220, 230),
    blue=(36, 72, 240),
    purple=(146, 44, 206),
    pink=(255, 120, 200),
)


@pytest.fixture(scope="module")
def data():
    return shapes(2000)


def names(data, attribute):
    return [VALUES[attribute][i] for i in data.attributes[attribute]]


def same(a, b):
    np.testing.assert_array_equal(a.images, b.images)
    assert a.captions == b.captions
    for name in VALUES:
        np.testing.assert_array_equal(a.attributes[name], b.attributes[name])


@pytest.mark.parametrize("n", [1, 499, 500, 501])
def test_an_image_depends_on_its_seed_and_number_alone(data, n):
    same(shapes(n), data.subset(np.arange(n)))


def test_nor_on_how_many_are_drawn_at_a_time(data, monkeypatch):
    monkeypatch.setattr(sys.modules["minigen.data.shapes"], "_BLOCK", 7)
    same(shapes(30), data.subset(np.arange(30)))


def test_seeds_and_held_out_images_differ(data):
    for other in (shapes(50, seed=1), shapes(50, held_out=True)):
        assert not (other.images == data.images[:50]).all((1, 2, 3)).any()
        assert (other.attributes["position"] != data.attributes["position"][:50]).any()


def test_held_out_pairs_are_never_in_training_and_alone_in_the_held_out_set(data):
    for column in zip(*HELD_OUT_PAIRS, strict=True):
        assert len(set(column)) == 8  # every shape once, every colour once
    assert {*zip(names(data, "shape"), names(data, "colour"), strict=True)}.isdisjoint(HELD_OUT_PAIRS)
    held_out = shapes(200, held_out=True)
    assert {*zip(names(held_out, "shape"), names(held_out, "colour"), strict=True)} == set(HELD_OUT_PAIRS)


def test_every_value_comes_about_equally_often(data):
    for name, values in VALUES.items():
        share = np.bincount(data.attributes[name], minlength=len(values)) / len(data)
        deviation = np.sqrt(share.mean() * (1 - share.mean()) / len(data))
        assert np.abs(share - 1 / len(values)).max() < 4 * deviation, name
    np.testing.assert_array_equal(data.labels, data.attributes["shape"])


def read(caption):
    """The attributes that a caption names, from its words alone."""
    words = caption.replace(",", "").split()
    found = {}
    for name in ("shape", "colour", "size", "background", "background_colour"):
        (found[name],) = [i for i, value in enumerate(VALUES[name]) if value in words]
    place = " ".join(w for w in words if w in {"top", "bottom", "left", "right", "centre"})
    return {**found, "position": VALUES["position"].index(place)}


def test_captions_say_exactly_the_attributes(data):
    assert len({caption.split()[0] for caption in data.captions}) > 3  # several wordings
    for i, caption in enumerate(data.captions):
        assert read(caption) == {name: values[i] for name, values in data.attributes.items()}, caption


def test_captions_read_like_this(data):
    assert data.captions[:4] == [
        "in the bottom left, a large orange star on a shaded navy background",
        "large yellow star, centre, plain beige background",
        "a small purple triangle in the bottom left, on a shaded navy background",
        "a large green heart on the left, on a shaded brown background",
    ]
    assert any(" at the top, on a " in caption for caption in data.captions)


def test_images_show_the_colour_position_and_size_that_they_say(data):
    """Read off the pixels that have exactly one of the eight colours."""
    hits = np.stack([(data.images == rgb).all(-1) for rgb in RGB.values()])  # (8,N,32,32)
    counts = hits.sum((2, 3))
    np.testing.assert_array_equal(counts.argmax(0), data.attributes["colour"])
    assert np.sort(counts, 0)[-2].max() == 0  # no pixel of a background, nor of an edge, has another of them
    assert counts.max(0).min() >= 6

    shown = hits.any(0)
    rows, columns = middle_of(shown.any(2)), middle_of(shown.any(1))
    nearest = np.rint((rows - 15.5) / 7.5) * 3 + np.rint((columns - 15.5) / 7.5) + 4
    np.testing.assert_array_equal(nearest, data.attributes["position"])
    for shape, name in enumerate(VALUES["shape"]):
        of_shape = data.labels == shape
        small, medium, large = (counts.max(0)[of_shape & (data.attributes["size"] == size)] for size in range(3))
        assert small.max() < medium.min() and medium.max() < large.min(), name


def middle_of(occupied):
    """(N, 32) -> the middle of the stretch from the first True to the last."""
    return (occupied.argmax(1) + 31 - occupied[:, ::-1].argmax(1)) / 2


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star", "cross", "heart"])
def test_the_middle_of_a_shape_has_its_colour(data, shape):
    (chosen,) = np.nonzero(data.labels == VALUES["shape"].index(shape))
    for i in chosen:
        row, column = np.divmod(data.attributes["position"][i], 3)
        middle = data.images[i, int(16 + 7.5 * (row - 1)), int(16 + 7.5 * (column - 1))]
        assert tuple(middle) == RGB[VALUES["colour"][data.attributes["colour"][i]]]


def test_backgrounds_have_their_colour_and_pattern(data):
    """The four corners' mean colour, and its spread, of shapes in the middle."""
    middle = data.attributes["position"] == 4
    corners = np.concatenate([data.images[middle][:, :4], data.images[middle][:, -4:]], 1).reshape(middle.sum(), -1, 3)
    kind, tint = data.attributes["background"][middle], data.attributes["background_colour"][middle]
    tints = np.array([(126, 128, 130), (206, 196, 172), (104, 82, 66), (46, 52, 84)])
    distances = np.linalg.norm(corners.mean(1)[:, None] - tints, axis=-1)
    np.testing.assert_array_equal(distances.argmin(1), tint)
    spread = corners.std(1).max(1)
    assert spread[kind == 0].max() == 0
    assert spread[kind != 0].min() > 3


def test_ten_thousand_take_seconds():
    shapes(1)  # compiles the kernel that draws random numbers
    started = time.process_time()
    data = load("shapes")
    assert time.process_time() - started < 5
    assert data.name == "shapes" and data.images.shape == (10_000, 32, 32, 3)


@pytest.mark.parametrize("n", [0, -1, 2.5, "ten"])
def test_a_wrong_number_is_refused(n):
    with pytest.raises(ValueError, match="shapes: n must be a whole number of at least 1"):
        shapes(n)


def test_a_wrong_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        shapes(5, seed=-1)
