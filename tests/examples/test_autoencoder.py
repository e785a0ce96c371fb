"""examples/autoencoder.py: its figure, and the baseline beside it."""

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example):
    return load_example("autoencoder")


def test_the_error_is_summed_over_pixels_and_averaged_over_images(example):
    x = np.zeros((2, 3, 4, 1), np.float32)
    y = x.copy()
    y[0], y[1, 0, 0] = 0.5, 1
    assert example.error_per_image(y, x) == pytest.approx((12 * 0.25 + 1) / 2)


def test_pca_gives_back_what_its_components_span_and_the_best_of_the_rest(example):
    rng = np.random.default_rng(0)
    flat = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 16)) + rng.normal(size=16)).astype(np.float32)
    images = flat.reshape(50, 4, 4, 1)
    np.testing.assert_allclose(example.through_pca(images[:40], images[40:], 3), images[40:], atol=1e-4)
    spectrum = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    error = example.error_per_image(example.through_pca(images, images, 2).astype(np.float32), images)
    assert error == pytest.approx(spectrum[2] ** 2 / 50, rel=1e-3)
