"""examples/denoising.py: both of its tasks in one run, what it trains on, and what it shows."""

import json
import sys

import numpy as np
import pytest

import minigen
from minigen.data import photograph
from minigen.random import Generator

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "skimage"):
    pytest.importorskip(module)


@pytest.fixture
def example(load_example, monkeypatch):
    denoising = load_example("denoising")
    small = {"TUNING_IMAGES": 1, "TEST_IMAGES": 4, "HELD_OUT": ("chelsea",), "PATCH": 64, "TILE": 16}
    small["RESIDUAL_DENOISER"] = {"channels": 8, "blocks": 1, "patch": 2}
    small["FILTERS"] = {name: (f, candidates[:1]) for name, (f, candidates) in denoising.FILTERS.items()}
    for name, value in small.items():
        monkeypatch.setattr(denoising, name, value)
    return denoising


def test_digits_and_photographs_in_one_run(example, monkeypatch, tmp_path, capsys):
    arguments = ["--steps", "3", "--batch", "6", "--samples", "4", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["denoising.py", *arguments])
    example.main()
    printed = capsys.readouterr().out
    assert "on digits, dB:" in printed and "on photos, dB:" in printed
    psnr = json.loads((tmp_path / "metrics.json").read_text())["psnr"]
    assert set(psnr) == {"digits, Gaussian", "digits, salt and pepper", "digits, masked", "photos, Gaussian"}
    assert psnr["photos, Gaussian"]["noisy"] == pytest.approx(20 * np.log10(255 / 25), abs=0.15)
    samples = np.load(tmp_path / "samples.npz")
    assert samples["images"].shape == (4, 28, 28, 1) and samples["photos, clean"].shape == (4, 80, 80, 3)
    curves = minigen.load(tmp_path / "checkpoint.safetensors")["curves"]
    assert {name: len(values) for name, values in curves.items()} == {"digits": 2, "photos": 1}  # in turns
    assert (tmp_path / "photos.png").exists()


def test_photographs_are_trained_on_whole_and_halved_and_tested_unseen(example):
    task = example.light_noise()
    coffee, chelsea = photograph("coffee"), photograph("chelsea")
    halved = coffee[:128, :128].reshape(64, 2, 64, 2, 3).mean((1, 3)).round()

    def trained_on(piece):
        likely = task.images[(task.images[:, 0] == piece[0]).all((1, 2))]  # by their first row
        return bool((likely == piece).all((1, 2, 3)).any())

    assert trained_on(coffee[:64, :64]) and trained_on(halved) and not trained_on(chelsea[:64, :64])
    np.testing.assert_allclose(task.test[0], chelsea[:, :450] / 255, atol=1e-6)


def test_each_kind_of_noise_gets_its_part_of_a_batch(example):
    noises = {"one": lambda x, generator: x + 1, "two": lambda x, generator: x + 2, "three": lambda x, generator: x + 3}
    for n in range(1, 8):
        y = example.corrupt(minigen.tensor(np.zeros((n, 2, 2, 1), np.float32)), noises, Generator(0))
        added = y.numpy()[:, 0, 0, 0].tolist()
        assert added == sorted(added) and len(added) == n
        assert max(map(added.count, (1, 2, 3))) - min(map(added.count, (1, 2, 3))) <= 1


def test_squares_to_look_at(example):
    small = [np.full((8, 12, 1), i / 10, np.float32) for i in range(10)]
    assert example.squares(small, 5)[:, 0, 0, 0].tolist() == [0, 51, 102, 153, 204]
    large = [np.zeros((170, 250, 3), np.float32)]  # 2 x 3 of them
    assert example.squares(large, 4).shape == (4, 80, 80, 3)
    assert len(example.squares(large, 100)) == 6
