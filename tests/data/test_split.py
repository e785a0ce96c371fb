"""Held-out images: apart from the training images, and always the same."""

import numpy as np
import pytest

from minigen.data import Dataset, held_out


@pytest.mark.parametrize(("n", "share", "expected"), [(10, 0.2, 2), (10, 0.5, 5), (2, 0.2, 1), (12, 0.01, 1)])
def test_all_images_are_in_one_of_the_two(n, share, expected):
    data = Dataset(np.zeros((n, 4, 4, 1), np.uint8), np.arange(n))
    training, test = held_out(data, share)
    assert len(test) == expected and sorted([*training.labels, *test.labels]) == list(range(n))
    np.testing.assert_array_equal(held_out(data, share)[1].labels, test.labels)


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match="at least two images, since one is held out, got 1"):
        held_out(Dataset(np.zeros((1, 4, 4, 1), np.uint8)))
