"""The figures of examples/vae.py, for models whose likelihood is known. (For its files, see test_contract.py.)"""

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minigen
from minigen.autoencoders import DiagonalGaussian
from minigen.random import Generator

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def vae(load_example):
    return load_example("vae")


def all_images():
    """The 16 binary images of 2 x 2 pixels."""
    return np.array(list(itertools.product([0, 1], repeat=4)), np.float32).reshape(16, 2, 2, 1)


def posterior(mean, log_variance):
    """q(z | x) that is the same for each image; a code has 3 numbers."""
    return lambda x: DiagonalGaussian(
        *(minigen.tensor(np.full((len(x), 3), v, np.float32)) for v in (mean, log_variance))
    )


def test_a_vae_whose_codes_say_nothing_is_a_model_of_independent_pixels(vae):
    """q is the prior and the decoder ignores z: -ELBO = -log p(x), so is the importance-weighted bound, and KL = 0."""
    logits = np.random.default_rng(0).standard_normal((1, 2, 2, 1)).astype(np.float32)
    model = SimpleNamespace(
        posterior=posterior(0.0, 0.0), decoder=lambda z: minigen.tensor(np.repeat(logits, len(z), 0))
    )
    x = all_images()
    p = 1 / (1 + np.exp(-logits))
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
    figures = vae.evaluate(model, x, "cpu", Generator(0))
    assert figures["test_nelbo"] == pytest.approx(expected)
    assert figures["test_kl"] == 0 and abs(figures["test_kl_monte_carlo"]) < 1e-6
    bound = vae.tighter_bound(model, x, "cpu", Generator(0))
    assert bound["iw_nll"] == pytest.approx(expected) and bound["iw_nelbo"] == pytest.approx(expected)


def test_where_q_is_wrong_the_bounds_are_in_order_and_the_kl_is_estimated_well(vae, monkeypatch):
    monkeypatch.setattr(vae, "BOUND_SAMPLES", 300)
    monkeypatch.setattr(vae, "DRAWS", 300)
    model = SimpleNamespace(
        posterior=posterior(0.5, -0.5), decoder=lambda z: minigen.tensor(np.zeros((len(z), 2, 2, 1), np.float32))
    )
    figures = vae.evaluate(model, all_images(), "cpu", Generator(0))
    kl = 3 * 0.5 * (0.25 + np.exp(-0.5) + 0.5 - 1)
    assert figures["test_kl"] == pytest.approx(kl)
    error = figures["test_kl_monte_carlo_standard_error"]
    assert 0 < abs(figures["test_kl_monte_carlo"] - kl) < 5 * error < 0.15
    assert figures["test_nelbo"] == pytest.approx(4 * np.log(2) + kl)
    bound = vae.tighter_bound(model, all_images(), "cpu", Generator(0))
    assert bound["iw_nll"] == pytest.approx(4 * np.log(2), abs=0.05)
    assert bound["iw_nelbo"] == pytest.approx(4 * np.log(2) + kl, abs=0.15)


def test_the_baseline_is_a_distribution_and_knows_its_clusters(vae):
    training = np.repeat(all_images()[[0, 3, 12, 15]], 50, 0)
    each = [vae.mixture_of_bernoullis(training, image[None], components=4) for image in all_images()]
    assert np.exp(-np.array(each)).sum() == pytest.approx(1)
    assert vae.mixture_of_bernoullis(training, training, components=4) == pytest.approx(np.log(4), abs=0.05)


def test_bad_input_is_one_sentence(vae, monkeypatch, tmp_path, capsys):
    np.savez(tmp_path / "odd.npz", images=np.zeros((12, 8, 6, 1), np.uint8))
    monkeypatch.setattr(sys, "argv", ["vae.py", "--data", str(tmp_path / "odd.npz"), "--batch", "2"])
    with pytest.raises(SystemExit, match=r"sides of the images must be multiples of 4, got \(8, 6\)"):
        vae.main()
    monkeypatch.setattr(sys, "argv", ["vae.py", "--beta", "-1"])
    with pytest.raises(SystemExit):
        vae.main()
    assert "--beta: must be a number from 0, got -1.0" in capsys.readouterr().err
