"""examples/compression.py: a file is read by another process, which has nothing but the model beside it."""

import json
import shutil

import numpy as np
import pytest

from minigen.metrics import psnr

from .small import run_script, write_data

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "constriction"):
    pytest.importorskip(module)

DECODE = """
from pathlib import Path
folder = Path({folder!r})
assert run("unused", "--decode", folder / "level1.bin") == 0
(folder / "empty.bin").touch()
assert run("unused", "--decode", folder / "empty.bin") == 1
assert run("unused", "--decode", folder / "missing.bin") == 1
"""


def test_another_process_decodes_the_file_to_the_very_images_that_were_measured(tmp_path):
    data = write_data(tmp_path)
    run_script("compression", data, f"run({str(tmp_path / 'run')!r})")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("level1.bin", "model.safetensors"):
        shutil.copy(tmp_path / "run" / name, elsewhere)
    done = run_script("compression", data, DECODE.format(folder=str(elsewhere)))
    assert "not a file of the model" in done.stderr and "No such file" in done.stderr
    decoded = np.load(elsewhere / "level1.npz")["images"]
    measured = np.load(tmp_path / "run" / "samples.npz")
    np.testing.assert_array_equal(decoded, measured["images"])

    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    size, quality = metrics["levels_bytes_psnr"][1]
    assert size == (elsewhere / "level1.bin").stat().st_size / len(decoded)
    assert quality == pytest.approx(psnr(decoded, measured["originals"]))
