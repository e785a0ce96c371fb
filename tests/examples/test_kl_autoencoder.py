"""A baseline of examples/kl_autoencoder.py. (For its files, see test_contract.py.)"""

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example):
    return load_example("kl_autoencoder")


def test_bicubic_keeps_an_image_that_needs_no_more_numbers(example):
    plain = np.full((2, 8, 12, 3), [[[10, 200, 90]]], np.uint8)
    np.testing.assert_array_equal(example.bicubic(plain, 24), plain)
    noise = np.random.default_rng(0).integers(0, 255, (2, 8, 12, 3)).astype(np.uint8)
    np.testing.assert_array_equal(example.bicubic(noise, 8 * 12 * 3), noise)  # no smaller
    assert example.bicubic(noise, 24).std() < noise.std() / 2
