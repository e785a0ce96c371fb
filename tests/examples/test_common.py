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
