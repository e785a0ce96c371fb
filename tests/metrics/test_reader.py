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
    assert reader.classes == 2 and reader.real == 1.0
    np.testing.assert_array_equal(reader.read(real[0]), real[1])
    assert reader.histogram(real[0][:7]) == [4, 3]


def test_is_unsure_of_what_lies_between_the_classes(real):
    images, _ = real
    between = (images[::2].astype(int) + images[1::2]) // 2
    reader = Reader(*real)
    assert reader.share_read(between.astype(np.uint8)) < 0.5
    assert reader.share_read(between.astype(np.uint8), confidence=0.5) == 1.0


def test_one_class_is_refused(real):
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        Reader(real[0], np.zeros(200, np.int64))
