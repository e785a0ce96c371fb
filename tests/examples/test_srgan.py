"""examples/srgan.py: shapes and photographs in one run, and what photographs are learned from."""

import json
import sys

import numpy as np
import pytest

import minigen
from minigen.data import Dataset, photograph, shapes
from minigen.random import Generator

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "skimage"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example, monkeypatch):
    srgan = load_example("srgan")
    small = {"NETWORK": {"channels": 8, "blocks": 1}, "HELD_OUT": ("chelsea",), "TRAINING": ("coffee",), "STRIDE": 60}
    for name, value in small.items():
        monkeypatch.setattr(srgan, name, value)
    return srgan


def test_shapes_and_photographs_in_one_run(example, monkeypatch, tmp_path, capsys):
    few = shapes(30)
    monkeypatch.setattr(example, "load_data", lambda args, multiple_of: (setattr(args, "digest", ""), few)[1])
    monkeypatch.setattr(example, "Features", lambda data: lambda images: images.reshape(len(images), -1)[:, :64] / 255)
    arguments = ["--steps", "4", "--batch", "2", "--samples", "4", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["srgan.py", *arguments])
    example.main()
    printed = capsys.readouterr().out
    assert "on shapes, dB:" in printed and "on photos, dB:" in printed and "KID of adversarial:" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["fidelity"]) == {"bicubic", "L1", "adversarial"}
    assert metrics["photos"]["L1"]["psnr"] == pytest.approx(metrics["photos"]["bicubic"]["psnr"], abs=0.2)
    curves = minigen.load(tmp_path / "checkpoint.safetensors")["curves"]
    lengths = {name: len(values) for name, values in curves.items() if "absolute error" in name}
    assert lengths == {"absolute error: L1": 2, "absolute error: adversarial": 2, "absolute error: photos": 4}
    assert (tmp_path / "photos.png").exists() and np.load(tmp_path / "samples.npz")["images"].shape == (4, 32, 32, 3)


def test_the_adversary_starts_from_the_average_of_the_first_network(example, namespace):
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    minigen.manual_seed(0)
    task = example.Pictures(namespace(steps=8), Dataset(images))
    monitored = []
    for step in range(4):
        task.learn(step)
    learned = {name: average.copy() for name, average in task.l1.ema.average.items()}
    assert np.abs(learned["last.weight"]).max() > 0
    task.gan.descend = lambda loss: monitored.append(task.gan.network.state_dict())  # before a step of its own
    task.learn(4)
    for name, average in learned.items():
        np.testing.assert_array_equal(monitored[0][name], average)
    task.learn(5)
    for name, average in task.l1.ema.average.items():
        np.testing.assert_array_equal(average, learned[name])  # the first one has finished


def test_photographs_are_learned_from_at_all_sizes(example, namespace):
    task = example.Photographs(namespace(steps=2), Generator(0))
    pieces, side = task.batches.arrays[0], example.PIECE
    coffee = photograph("coffee")
    half = example.resize(coffee[None], 200, 300)[0]
    for piece in (coffee[:side, 60 : 60 + side], half[60 : 60 + side, :side]):
        assert (pieces == piece).all((1, 2, 3)).any()
    assert len(pieces) == sum(
        len(range(0, h - side + 1, 60)) * len(range(0, w - side + 1, 60))
        for h, w in ((400, 600), (300, 450), (200, 300))
    )


@pytest.fixture
def namespace():
    from argparse import Namespace

    return lambda steps: Namespace(device="cpu", steps=steps, seed=0, batch=2)
