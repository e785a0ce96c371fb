"""index_add on the CPU."""

import numpy as np
import pytest

from kernels import cpu, reference


@pytest.mark.parametrize("channels", [1, 5, 64])
def test_adds_in_the_order_of_the_rows(channels):
    """The same bits as one addition after another gives."""
    rng = np.random.default_rng(0)
    indices, g = rng.integers(0, 7, 500), rng.standard_normal((500, channels)).astype(np.float32)
    np.testing.assert_array_equal(
        cpu.index_add((9, channels), indices, g), reference.index_add((9, channels), indices, g)
    )


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(
        IndexError, match=f"index_add: indices from {min(index, 1)} to {max(index, 1)} do not fit 0 to 2"
    ):
        cpu.index_add((3, 2), np.array([1, index]), np.zeros((2, 2)))
