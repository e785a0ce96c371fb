"""examples/run.py, beyond what the contract says of every example."""

import json
import math
from argparse import Namespace

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)


def test_metrics_are_json_whatever_was_measured(load_example, tmp_path):
    run = load_example("run").Run(Namespace(out=tmp_path, resume=False, steps=1, batch=1, seed=0))
    own = {"kid": math.nan, "psnr": np.float64("inf"), "nested": [{"fine": 0.5, "low": -math.inf}, (1, "nan")]}
    run.write_metrics(own)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert metrics["kid"] is None and metrics["psnr"] is None
    assert metrics["nested"] == [{"fine": 0.5, "low": None}, [1, "nan"]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_that_diverges_says_so_and_keeps_what_was_saved(load_example, tmp_path, bad):
    settings = dict(out=tmp_path, steps=4, batch=1, seed=0, device="cpu")
    run = load_example("run").Run(Namespace(**settings, resume=False))
    run.save()
    with pytest.raises(SystemExit, match=r"diverged: 'loss: G' is (nan|inf) at step 2.*kept in .*checkpoint"):
        for step in run.steps():
            run.log(**{"loss: D": 1.0, "loss: G": bad if step == 2 else 0.5})
    resumed = load_example("run").Run(Namespace(**settings, resume=True))
    assert resumed.step == 0 and not resumed.curves


class Part:
    """Something with a state."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": np.array(self.value)}

    def load_state_dict(self, state):
        self.value = int(state["value"])


def run_of(module, out, value, trained=None, **more):
    settings = dict(out=out, steps=2, batch=1, seed=0, device="cpu", resume=False, trained=trained) | more
    return module.Run(Namespace(**settings), (), trained, part=Part(value))


def test_a_finished_run_with_the_same_settings_is_taken_over(load_example, tmp_path, capsys):
    module = load_example("run")
    first = run_of(module, tmp_path / "first", 5)
    assert len(list(first.steps())) == 2
    taken = run_of(module, tmp_path / "second", 7, tmp_path / "first")
    assert taken.parts["part"].value == 5 and list(taken.steps()) == []
    assert "took over the network" in capsys.readouterr().out
    again = run_of(module, tmp_path / "second", 7, resume=True)  # now it is that folder's own
    assert again.parts["part"].value == 5


@pytest.mark.parametrize("what", ["other settings", "unfinished", "nothing there", "damaged", "itself"])
def test_any_other_run_is_not_taken_over(load_example, tmp_path, what):
    module, folder = load_example("run"), tmp_path / "first"
    first = run_of(module, folder, 5)
    if what != "unfinished":
        list(first.steps())
    first.save()
    if what == "nothing there":
        folder = tmp_path / "elsewhere"
    if what == "damaged":
        (folder / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    out = folder if what == "itself" else tmp_path / "second"
    taken = run_of(module, out, 7, folder, seed=1 if what == "other settings" else 0)
    assert taken.parts["part"].value == 7 and taken.step == 0
