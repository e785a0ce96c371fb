"""examples/anomaly.py: models side by side that do not touch each other, its score, and what it asks of the data."""

import re
import sys

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.data import Dataset

from .small import ROOT

for module in ("tqdm", "sklearn", "scipy"):
    pytest.importorskip(module)
sys.path.insert(0, str(ROOT / "examples"))
import anomaly  # noqa: E402

rng = np.random.default_rng(0)


def test_each_of_the_autoencoders_is_one_by_itself():
    minigen.manual_seed(0)
    together, alone = anomaly.Autoencoders(3, 20), anomaly.Autoencoders(1, 20)
    x = rng.normal(size=(3, 5, 20)).astype(np.float32)
    for i in range(3):
        alone.load_state_dict({name: value[i : i + 1] for name, value in together.state_dict().items()})
        np.testing.assert_allclose(together(Tensor(x)).numpy()[i], alone(Tensor(x[i : i + 1])).numpy()[0], rtol=1e-5)
        together.zero_grad()
        (together(Tensor(x))[i] ** 2).sum().backward()
        for p in together.parameters():
            assert all(np.any(p.grad.data[j]) == (j == i) for j in range(3))


def test_every_class_gets_its_images_alone_and_the_small_ones_theirs_again():
    labels = np.array([7, 3, 7, 7, 9, 3])
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    items = anomaly.by_class(Dataset(images, labels), np.array([3, 7]))
    np.testing.assert_array_equal(items[..., 0, 0, 0], [[1, 0], [5, 2], [1, 3]])


def test_the_score_is_a_share_of_the_image():
    x = np.full((4, 8, 8, 2), rng.random((4, 1, 1, 2)), np.float32)  # flat: blurred, they are the same
    y = np.stack([x, np.zeros_like(x), 2 * x, 0.9 * x])
    expected = np.repeat([[0], [1], [1], [0.01]], 4, 1)
    np.testing.assert_allclose(anomaly.relative_error(x, y), expected, atol=1e-5)
    np.testing.assert_allclose(anomaly.relative_error(3 * x, 3 * y), expected, atol=1e-5)
    assert np.isfinite(anomaly.relative_error(np.zeros_like(x), y)).all()


def test_the_score_forgives_strokes_that_are_off_by_a_pixel_sooner_than_those_that_are_missing():
    x = np.zeros((1, 16, 16, 1), np.float32)
    x[:, 4:12, 7] = 1
    y = np.stack([np.roll(x, 1, 2), np.zeros_like(x)])
    off, missing = anomaly.relative_error(x, y)[:, 0]
    assert off < 0.5 * missing and np.sum((y[0] - x) ** 2) == 2 * np.sum((y[1] - x) ** 2)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    scores, normal = rng.normal(size=(2, 30)), rng.random((2, 30)) < 0.4
    for value, s, n in zip(anomaly.auroc(scores, normal), scores, normal, strict=True):
        assert value == pytest.approx(np.mean(s[~n][:, None] > s[n]))


@pytest.mark.parametrize(
    "labels, more, sentence",
    [
        (None, [], "needs labels"),
        (np.zeros(20, int), [], "needs held-out images of at least two classes, got 1"),
        (np.arange(20) % 2, ["--batch", 1], "--batch: must be from 2 (one of each class) to"),
        (np.arange(20) % 2, ["--batch", 20], "--batch: must be from 2 (one of each class) to"),
    ],
)
def test_what_it_needs_is_one_sentence(labels, more, sentence, tmp_path, monkeypatch):
    arrays = {"images": rng.integers(0, 255, (20, 4, 4, 1)).astype(np.uint8)}
    np.savez(tmp_path / "images.npz", **arrays, **({} if labels is None else {"labels": labels}))
    given = ["anomaly.py", "--data", tmp_path / "images.npz", "--out", tmp_path / "out", "--batch", 2, *more]
    monkeypatch.setattr(sys, "argv", list(map(str, given)))
    with pytest.raises(SystemExit, match=re.escape(sentence)) as end:
        anomaly.main()
    assert "\n" not in str(end.value)
    assert not (tmp_path / "out").exists()
