"""examples/latent.py: which settings are compared, and the autoencoder that it needs."""

import math
import subprocess
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import pytest

from minigen.autoencoders import KLAutoencoder

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)


@pytest.fixture
def latent(load_example):
    return load_example("latent")


def settings(*distances):
    return [{"steps": steps, "frechet": distance, "seconds": steps} for steps, distance in enumerate(distances, 1)]


def chosen(latent, pixels, latents):
    found = latent.choose({"pixels": settings(*pixels), "latents": settings(*latents)})
    return found["pixels"]["steps"], found["latents"]["steps"]


def test_the_fewest_steps_that_are_good_enough_are_compared(latent):
    assert chosen(latent, pixels=(9, 2.09, 2.0, 2.2), latents=(2.09, 2.01, 2.0, 1.0)) == (2, 3)  # 5% for pixels alone
    assert chosen(latent, pixels=(9, 2.11, 2.0, 2.2), latents=(2.2, 1.9, 2.5, 1.0)) == (3, 2)


def test_where_the_latents_never_reach_the_pixels_their_best_is_shown(latent):
    assert chosen(latent, pixels=(3, 2, 1), latents=(9, 7, 8)) == (3, 2)
    assert chosen(latent, pixels=(math.nan, math.nan), latents=(math.nan, math.nan)) == (1, 1)  # too few samples


def test_an_autoencoder_of_other_images_is_refused(latent, tmp_path):
    path = tmp_path / "autoencoder.safetensors"
    KLAutoencoder(1, channels=8, patch=2).save(path)
    args = Namespace(autoencoder=path, digest="", device="cpu")
    with pytest.raises(SystemExit, match="for images of 1 channels, not 3"):
        latent.load_autoencoder(args, 3, [])
    assert latent.load_autoencoder(args, 1, []).arguments["in_channels"] == 1
    assert args.digest  # so that a run is not resumed in other latents


def test_a_missing_autoencoder_is_trained_first(latent, tmp_path, monkeypatch):
    called = []

    class Popen(nullcontext):
        returncode = 0

        def __init__(self, command, stdout):
            super().__init__(self)
            called.append([str(word) for word in command])

        def wait(self):
            KLAutoencoder(3, channels=8, patch=2).save(tmp_path / "kl_autoencoder" / "autoencoder.safetensors")

    (tmp_path / "kl_autoencoder").mkdir()
    monkeypatch.setattr(subprocess, "Popen", Popen)
    args = Namespace(autoencoder=None, digest="", device="cpu", out=tmp_path / "latent", data="shapes")
    with pytest.raises(SystemExit, match=r"is not there: examples/kl_autoencoder\.py writes it"):
        latent.load_autoencoder(args, 3, None)
    with pytest.raises(SystemExit, match="typo is not there"):
        latent.load_autoencoder(Namespace(**{**vars(args), "autoencoder": tmp_path / "typo"}), 3, [])
    latent.load_autoencoder(args, 3, ["--steps", "2"])
    (command,) = called
    assert command[2:4] == ["--steps", "2"]
    assert Path(command[1]).name == "kl_autoencoder.py"
    assert command[command.index("--out") + 1] == str(tmp_path / "kl_autoencoder")
    assert command[command.index("--data") + 1] == "shapes"
    latent.load_autoencoder(args, 3, [])
    assert len(called) == 1
