"""The figures of examples/gan.py, for points that are known. (For its files, see test_contract.py.)"""

from types import SimpleNamespace

import numpy as np
import pytest

import minigen
from minigen import optim
from minigen.random import Generator

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)


@pytest.fixture
def gan(load_example):
    return load_example("gan")


def game(gan, generate, discriminate, centres):
    """One whose G and D are these functions."""
    args = SimpleNamespace(device="cpu", samples=4000, seed=0)
    played = SimpleNamespace(G=generate, D=discriminate, ema=optim.EMA(minigen.nn.Linear(1, 1)), args=args)
    played.real = lambda n, generator: gan.Game.real(
        SimpleNamespace(args=args, centres=minigen.tensor(centres.astype(np.float32))), n, generator
    )
    return args, played


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_the_targets(gan, name):
    centres = gan.CENTRES[name]
    assert len(np.unique(centres.round(6), axis=0)) == len(centres) == {"ring": 8, "grid": 25}[name]
    _, played = game(gan, None, None, centres)
    x = played.real(5000, Generator(0)).numpy()
    covered, good = gan.coverage(x, centres)
    assert covered == len(centres)
    assert good == pytest.approx(1 - np.exp(-9 / 2), abs=0.01)  # |x / sigma|^2 / 2 is exponential


def test_coverage_wants_a_quarter_of_the_fair_share_near_a_mode(gan):
    centres = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    near, far = 2.9 * gan.SIGMA, 3.1 * gan.SIGMA
    points = np.repeat(centres, [40, 5, 4, 15], axis=0)  # of 64: a quarter of the fair share is 4
    assert gan.coverage(points, centres) == (4, 1.0)
    assert gan.coverage(points + [near, 0], centres) == (4, 1.0)
    assert gan.coverage(points + [far, 0], centres) == (0, 0.0)
    points[:2] = centres[0] + [0.5, 0.5]  # nowhere
    points[45] = centres[0]  # one less of 4
    assert gan.coverage(points, centres) == (3, 62 / 64)


def test_the_value_of_a_d_that_knows_nothing_and_of_one_that_knows_all(gan):
    centres = gan.CENTRES["ring"]

    def to_the_middle(z):
        return z * 0

    args, played = game(gan, to_the_middle, lambda x: x[:, :1] * 0, centres)
    points, found = gan.evaluate(args, played, centres)
    assert points.shape == (4000, 2) and found["modes"] == 0 and found["within_3_sigma"] == 0
    assert found["value"] == pytest.approx(-2 * np.log(2)) == pytest.approx(found["value_in_equilibrium"])
    _, played = game(gan, to_the_middle, lambda x: (x**2).sum(axis=1, keepdims=True) * 100 - 100, centres)
    assert gan.evaluate(args, played, centres)[1]["value"] == pytest.approx(0, abs=1e-6)


def test_a_collapse_passes_the_check_of_a_naive_run_and_no_other(gan, capsys):
    found = {"modes": 3, "modes_of": 8, "within_3_sigma": 0.95, "within_3_sigma_real": 0.989, "value": -1.3}
    found["diagnosis"] = ["mode collapse: the samples cover 3 of 8 modes."]
    gan.report(gan.report_lines("ring", found, naive=True), check=True)
    with pytest.raises(SystemExit):
        gan.report(gan.report_lines("ring", found, naive=False), check=True)
    found |= {"modes": 8, "diagnosis": []}
    gan.report(gan.report_lines("ring", found, naive=False), check=True)
    with pytest.raises(SystemExit):
        gan.report(gan.report_lines("ring", found, naive=True), check=True)
    assert "MISS ring: modes covered: 8, asked <= 7" in capsys.readouterr().out


@pytest.mark.parametrize(("naive", "last"), [(False, 0.05), (True, 1.0)])
def test_steps_become_smaller_but_not_in_a_naive_run(gan, naive, last):
    args = SimpleNamespace(device="cpu", naive=naive, steps=3, batch=4, loss="non-saturating")
    played = gan.Game(gan.CENTRES["ring"], args)
    first = played.g_optimizer.lr
    for _ in range(3):
        played.play(Generator(0))
    assert played.g_optimizer.lr == played.d_optimizer.lr == pytest.approx(last * first)


def test_data_is_a_target_and_nothing_else(gan, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gan.py", "--data", "digits"])
    with pytest.raises(SystemExit):
        gan.main()
    assert "invalid choice: 'digits' (choose from" in capsys.readouterr().err
