"""examples/comparison.py: what is said of the usual claims, the model that costs nothing, and runs that fail."""

import json
import math

import numpy as np
import pytest

from .small import run_script, write_data

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def comparison(load_example):
    return load_example("comparison")


def found(frechet, control):
    """Runs with these figures, and others that are all the same."""
    rest = {"kid": 0.1, "precision": 0.5, "recall": 0.5, "vendi": 3.0, "per_seconds": 10.0}
    return [{"frechet": f, "control": c, **rest} for f, c in zip(frechet, control, strict=True)]


def test_claims_are_held_against_the_means_and_every_pair_of_seeds(comparison, monkeypatch):
    monkeypatch.setattr(comparison, "SEEDS", 3)
    runs = {
        "VAE": found((3, 3.1, 2.9), (0.9, 0.9, 0.9)),
        "GAN": found((2, 1, 3.05), (0.8, 0.4, 0.8)),
        "diffusion": found((0.5, 0.6), (0.95, 0.7)),
    }
    summary = comparison.summarise(runs)
    assert [summary[name]["failed"] for name in runs] == [0, 1, 1]
    assert summary["VAE"]["variation"] == pytest.approx(0.1 / 3)
    said = {line.split(":")[0]: line for line in comparison.held_against(runs, summary)}
    assert len(said) == len(comparison.CLAIMS)
    assert (
        "holds on average, not for all seeds (Frechet distance 2.02 against 3)"
        in said["The GAN draws better than the VAE"]
    )
    assert "holds, whichever seeds" in said["The diffusion model draws better than the GAN"]
    assert (
        "**does not hold** (read as asked 82.5% against 90.0%)"
        in said["The diffusion model is better controlled than the VAE"]
    )
    assert "**does not hold**" in said["The VAE draws faster than the diffusion model"]  # as fast is not faster


def test_scores_are_shares_of_the_best(comparison):
    columns = {name: dict.fromkeys(comparison.MEASURES, value) for name, value in (("a", 2.0), ("b", 4.0))}
    scores = comparison.scores(columns)
    assert scores["a"]["Frechet distance"] == 1 and scores["b"]["Frechet distance"] == 0.5
    assert scores["a"]["images/s"] == 0.5 and scores["b"]["images/s"] == 1


def test_normal_distributions_have_each_class_s_mean_and_spread(comparison):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = (rng.normal(100 + 50 * labels[:, None], 10, (400, 16))).clip(0, 255).astype(np.uint8)
    made = comparison.gaussians(images.reshape(400, 4, 4, 1), labels, np.arange(600) % 2, seed=1)
    assert made.shape == (600, 4, 4, 1) and made.dtype == np.uint8
    for label, mean in ((0, 100), (1, 150)):
        some = made[label::2].reshape(300, 16).astype(float)
        np.testing.assert_allclose(some.mean(), mean, atol=2)
        np.testing.assert_allclose(some.std(0).mean(), 10, atol=1)


def test_a_model_that_diverges_is_counted_and_the_others_go_on(tmp_path):
    script = f"""
import contenders
learn, asked = contenders.GAN.learn, []
def diverge(model, x, labels):
    asked.append(model.seed)
    return float("nan") if model.seed == 0 else learn(model, x, labels)
contenders.GAN.learn = diverge
print("-- code", run({str(tmp_path / "out")!r}))
print("-- asked", asked)
"""
    said = run_script("comparison", write_data(tmp_path), script).stdout
    assert "-- code 0" in said and "-- asked [0, 1, 1]" in said
    table = (tmp_path / "out" / "COMPARISON.md").read_text()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(metrics["runs"]["GAN"]) == 1 and len(metrics["runs"]["VAE"]) == 2
    failed = next(line for line in table.splitlines() if "failed runs" in line).split("|")
    asked_for = {name: [run["control"] for run in runs.values()] for name, runs in metrics["runs"].items()}
    counts = [2 - sum(control >= 0.5 for control in asked_for[name]) for name in ("VAE", "GAN", "diffusion")]
    assert [int(cell) for cell in failed[2:5]] == counts and counts[1] >= 1
    assert math.isfinite(metrics["summary"]["VAE"]["control"])
