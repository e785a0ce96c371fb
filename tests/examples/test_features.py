"""examples/features.py: accuracies where they are known, and a sentence for images that will not do."""

import sys

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example, monkeypatch):
    features = load_example("features")
    monkeypatch.setattr(features, "LABELS", (12, 500))
    monkeypatch.setattr(features, "DRAWS", 2)
    return features


def test_accuracies_for_each_number_of_labels(example):
    rng = np.random.default_rng(0)
    labels, test_labels = np.arange(60) % 2, np.arange(40) % 2
    telling = rng.normal(10 * labels, 1)[:, None], rng.normal(10 * test_labels, 1)[:, None]
    silent = rng.normal(size=(60, 1)), rng.normal(size=(40, 1))
    counts, found = example.accuracies({"telling": telling, "silent": silent}, labels, test_labels)
    assert counts == [12, 60]
    for kinds in found.values():
        np.testing.assert_allclose(kinds["telling"], 1)
        assert np.abs(np.array(kinds["silent"]) - 0.5).max() < 0.3


@pytest.mark.parametrize(
    "labels, words",
    [
        (None, "has no labels"),
        (np.zeros(20, np.int64), "two classes or more"),
        (np.arange(20) // 19, "each with at least four images"),
    ],
)
def test_images_that_will_not_do_are_one_sentence(example, monkeypatch, tmp_path, labels, words):
    images = np.zeros((20, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, **({} if labels is None else {"labels": labels}))
    arguments = ["features.py", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "out"), "--batch", "4"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=words):
        example.main()
    assert not (tmp_path / "out").exists()
