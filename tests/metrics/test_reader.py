"""Reader: sure of images like the real ones, unsure of those between the classes."""

import numpy as np
import pytest

from minigen.metrics import Reader

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def real():
    """Two classes: the upper or the lower half is bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = rng.integers(0, 60, (200, 4, 4, 1))
    images[labels == 0, :2] += 150
    images[labels == 1, 2:] += 150
    return images.astype(np.uint8), labels


def test_reads_the_real_images_it_has_not_seen(real):
    reader = Reader(*real)
    assert reader.classes.tolist() == [0, 1] and reader.real == 1.0
    np.testing.assert_array_equal(reader.read(real[0]), real[1])
    assert reader.histogram(real[0][:7]) == [4, 3]


def test_is_unsure_of_what_lies_between_the_classes(real):
    images, _ = real
    between = (images[::2].astype(int) + images[1::2]) // 2
    reader = Reader(*real)
    assert reader.share_read(between.astype(np.uint8)) < 0.5
    assert reader.share_read(between.astype(np.uint8), confidence=0.5) == 1.0


def test_histogram_has_a_number_for_each_class_whatever_the_samples(real):
    images, labels = real
    reader = Reader(images, 9 * labels)
    assert reader.classes.tolist() == [0, 9]
    assert reader.histogram(images[:7]) == [4, 3]
    assert reader.histogram(images[labels == 0][:5]) == [5, 0]
    assert Reader(images, np.array(["up", "down"])[labels]).histogram(images[:7]) == [3, 4]


def test_floats_are_refused(real):
    with pytest.raises(TypeError, match="Reader: needs uint8 images, got float32"):
        Reader(*real).read(np.float32(real[0]) / 255)


def test_one_class_is_refused(real):
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        Reader(real[0][:2], real[1][:2])
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        Reader(real[0], np.zeros(200, np.int64))
