"""examples/comparison.py: what is said of the usual claims, the model that costs nothing, and runs that fail."""

import argparse
import json
import math

import numpy as np
import pytest

from minigen.data import Dataset, held_out

from .small import run_script, write_data

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


HELD_OUT = held_out(Dataset(np.zeros((12, 8, 8, 1), np.uint8), np.arange(12), "x"))[1].labels[0]  # of 12 images


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
    summary = comparison.summarise(runs, real_control=0.96)
    assert [summary[name]["failed"] for name in runs] == [0, 1, 1]
    assert summary["GAN"]["variation"] == pytest.approx(np.std([2, 3.05], ddof=1) / 2.525)  # of those that did not fail
    assert summary["VAE"]["variation"] == pytest.approx(0.1 / 3)
    said = {line.split(":")[0]: line for line in comparison.held_against(runs, summary)}
    assert len(said) == len(comparison.CLAIMS)
    assert (
        "holds on average, not for all pairs of seeds (Frechet distance 2.02 against 3)"
        in said["The GAN draws better than the VAE"]
    )
    assert "holds, whichever seeds" in said["The diffusion model draws better than the GAN"]
    assert (
        "**does not hold** on average, not for all pairs of seeds (read as asked 82.5% against 90.0%)"
        in said["The diffusion model is better controlled than the VAE"]
    )
    # as fast is not faster
    assert "**does not hold**, whichever seeds" in said["The VAE draws faster than the diffusion model"]
    assert "holds (failed runs 0 against 1)" in said["The VAE is more stable than the GAN"]
    assert (
        "holds (variation of the Frechet distance over seeds 12.9% against 29.4%)"
        in said["The diffusion model is more stable than the GAN"]
    )


def test_a_family_without_runs_is_less_stable_and_nothing_else_can_be_told(comparison, monkeypatch):
    monkeypatch.setattr(comparison, "SEEDS", 2)
    runs = {"VAE": found((3, 3), (0.9, 0.9)), "GAN": [], "diffusion": found((3, 3), (0.9, 0.9))}
    summary = comparison.summarise(runs, real_control=0.96)
    said = {line.split(":")[0]: line for line in comparison.held_against(runs, summary)}
    assert "holds (failed runs 0 against 2)" in said["The VAE is more stable than the GAN"]
    assert "cannot be told" in said["The GAN draws better than the VAE"]
    scores = comparison.scores(summary)
    assert np.isnan(scores["GAN"]["images/s"]) and scores["VAE"]["images/s"] == scores["diffusion"]["images/s"] == 1


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
print("-- again", run({str(tmp_path / "out")!r}, "--resume"), asked)
"""
    said = run_script("comparison", write_data(tmp_path), script).stdout
    assert "-- code 0" in said and "-- asked [0, 1, 1]" in said
    assert "-- again 0 [0, 1, 1]" in said  # that one diverged is known
    table = (tmp_path / "out" / "COMPARISON.md").read_text()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(metrics["runs"]["GAN"]) == 1 and len(metrics["runs"]["VAE"]) == 2
    failed = next(line for line in table.splitlines() if "failed runs" in line).split("|")
    asked_for = {name: [run["control"] for run in runs.values()] for name, runs in metrics["runs"].items()}
    least = metrics["summary"]["real, held out"]["control"] / 2
    counts = [2 - sum(control >= least for control in asked_for[name]) for name in ("VAE", "GAN", "diffusion")]
    assert [int(cell) for cell in failed[2:5]] == counts and counts[1] >= 1
    assert math.isfinite(metrics["summary"]["VAE"]["control"])


def test_models_have_random_numbers_of_their_own(load_example):
    contenders = load_example("contenders")
    args = argparse.Namespace(batch=2, device="cpu")
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2
    models = [family(args, images, labels, 2, 5, 3) for family in contenders.FAMILIES.values() for _ in range(2)]
    states = [model.generator.state_dict() for model in models]
    assert all(state["seed"] == 5 for state in states) and states[0] == states[1]
    models[0].step()
    assert models[0].generator.state_dict() != states[0]
    assert [model.generator.state_dict() for model in models[1:]] == states[1:]
    first, rest = models[0].noise(0, 2).numpy(), models[0].noise(1, 3).numpy()
    np.testing.assert_array_equal(first[1], rest[0])  # an image has the same noise in any batch


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        (np.zeros(12, int), (), "needs labelled images of two classes or more"),
        (np.arange(12) % 3, ("--steps", 3), "--steps are shared by 2 seeds: give a multiple of that, not 3"),
        (np.where(np.arange(12) == HELD_OUT, 2, np.arange(12) % 2), (), "there is no image of class 2 to learn from"),
    ],
)
def test_what_cannot_be_compared_is_named_before_any_training(labels, more, words, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 255, (12, 8, 8, 1)).astype(np.uint8), labels=labels)
    script = f"print('-- code', run({str(tmp_path / 'out')!r}, *{more!r}))"
    done = run_script("comparison", tmp_path / "x.npz", script)
    assert "-- code 0" not in done.stdout and words in done.stderr
    assert not (tmp_path / "out").exists()
