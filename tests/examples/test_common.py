"""examples/common.py, beyond what the contract says of every example."""

import json
import math
from argparse import Namespace

import numpy as np
import pytest

for module in ("tqdm", "matplotlib", "PIL"):
    pytest.importorskip(module)


def test_metrics_are_json_whatever_was_measured(load_example, tmp_path):
    run = load_example("common").Run(Namespace(out=tmp_path, resume=False, steps=1, batch=1, seed=0))
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
    run = load_example("common").Run(Namespace(**settings, resume=False))
    run.save()
    with pytest.raises(SystemExit, match=r"diverged: 'loss: G' is (nan|inf) at step 2.*kept in .*checkpoint"):
        for step in run.steps():
            run.log(**{"loss: D": 1.0, "loss: G": bad if step == 2 else 0.5})
    resumed = load_example("common").Run(Namespace(**settings, resume=True))
    assert resumed.step == 0 and not resumed.curves
