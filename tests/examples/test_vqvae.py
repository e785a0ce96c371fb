"""examples/vqvae.py: the k-means codec and the pictures of the codes, and images without classes."""

import json
import sys

import numpy as np
import pytest

from .small import SMALL

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example, monkeypatch):
    vqvae = load_example("vqvae")
    for name, value in SMALL["vqvae"][1].items():
        monkeypatch.setattr(vqvae, name, value)
    return vqvae


def of_patches(kinds):
    """kinds (N, h, w) -> images (N, 4 h, 4 w, 1) of plain patches, 30 times as bright as their kind's number."""
    return np.kron(kinds, np.ones((1, 4, 4)))[..., None].astype(np.uint8) * 30


def test_kmeans_gives_patches_of_as_many_kinds_as_there_are_codes_exactly(example):
    kinds = np.random.default_rng(0).integers(0, 8, (20, 2, 3))
    images = of_patches(kinds) / np.float32(255)
    np.testing.assert_allclose(example.kmeans_codec(images[:15], images[15:]), images[15:], atol=1e-6)


def test_kmeans_of_more_kinds_gives_no_more_than_there_are_codes(example):
    images = np.random.default_rng(0).random((10, 8, 8, 1), np.float32)
    coded = example.kmeans_codec(images, images)
    patches = coded.reshape(10, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 16)
    assert coded.shape == images.shape and len(np.unique(patches, axis=0)) <= 8


def test_counted_nats_are_of_the_shares_at_each_place_in_each_class(example):
    known = np.array([[0, 5], [0, 5], [0, 6], [7, 7]])
    nats = example.counted_nats(known, np.array([0, 0, 0, 1]), np.array([[0, 6], [1, 7]]), np.array([0, 1]))
    smoothing = 8 * 0.1  # of 8 codes
    expected = [[3.1 / (3 + smoothing), 1.1 / (3 + smoothing)], [0.1 / (1 + smoothing), 1.1 / (1 + smoothing)]]
    np.testing.assert_allclose(np.exp(-nats), expected)


def test_the_picture_of_a_code_is_the_mean_around_its_places(example):
    kinds = np.array([[[1, 1, 2], [3, 1, 1]]])
    pictures = example.code_pictures(kinds.reshape(1, -1), of_patches(kinds))
    assert pictures.shape == (3, 12, 12, 1)
    np.testing.assert_array_equal(pictures[:, 4:8, 4:8], of_patches(np.array([[[1]], [[2]], [[3]]])))  # 1 is used most
    black, one, three = 0, 30, 90
    around = pictures[2, ::4, ::4, 0]  # of code 3, at the left edge of the last row
    np.testing.assert_array_equal(around, [[black, one, one], [black, three, one], [black, black, black]])


def test_images_in_colour_without_classes(example, monkeypatch, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 12, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    arguments = ["--data", tmp_path / "images.npz", "--out", tmp_path / "out", *SMALL["vqvae"][0]]
    monkeypatch.setattr(sys, "argv", ["vqvae.py", *map(str, arguments)])
    example.main()
    samples = np.load(tmp_path / "out" / "samples.npz")
    assert samples["images"].shape == (6, 8, 12, 3) and "labels" not in samples
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["bits_per_image"] == 6 * 3 and "read" not in metrics and "of_their_class" not in metrics
    for name in ("samples", "reconstructions", "codebook", "curves"):
        assert (tmp_path / "out" / f"{name}.png").exists()


def test_sides_that_patches_do_not_fill_are_one_sentence(example, monkeypatch, tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros((9, 8, 6, 1), np.uint8))
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["vqvae.py", "--batch", "4", "--data", str(tmp_path / "images.npz"), "--out", str(out)]
    )
    with pytest.raises(SystemExit, match=r"must be multiples of 4, got \(8, 6\)"):
        example.main()
    assert not out.exists()
