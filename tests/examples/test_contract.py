"""What every example promises: its files, its exit codes, and a run that is stopped and resumed like one that was not.

The runs are tiny: that a model learns is what `--check` says at full length.
"""

import json

import numpy as np
import pytest

import minigen

from .small import EXAMPLES, READ_IMAGES, SMALL, run_script, side_by_side, write_data

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "skimage", "constriction", "tokenizers"):
    pytest.importorskip(module)

SCRIPT = """
import run as run_module
from pathlib import Path
out, steps = Path({out!r}), ("--steps", 4, "--seed", 3)
code = run(out / "whole", *steps, "--check")

class Killed(BaseException):
    pass

real_save, saved = run_module.Run.save, 0
def save_and_die(run):
    global saved
    real_save(run)
    saved += 1
    if saved == 2:
        raise Killed
run_module.Run.save, run_module.SAVE_EVERY_SECONDS = save_and_die, 0  # after every step
try:
    run(out / "killed", *steps)
except Killed:
    print("killed")
run_module.Run.save = real_save
print("-- resumed", run(out / "killed", *steps, "--resume"))
print("-- refused", run(out / "killed", *steps, "--resume", "--batch", 3))
print("-- again", run(out / "whole", *steps))
print("-- check", code)
"""
TIMES = "seconds"  # in the names of figures that differ from run to run


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """name -> the running or finished script of each example whose tests were asked for."""

    def run(name):
        out = tmp_path_factory.mktemp(name)
        return out, run_script(name, write_data(out), SCRIPT.format(out=str(out)))

    with side_by_side(run, request, "done") as running:
        yield running


@pytest.fixture(scope="module", params=EXAMPLES)
def done(request, runs):
    return runs[request.param].result()


def test_every_example_has_a_small_configuration():
    assert set(EXAMPLES) == set(SMALL)


def test_leaves_what_the_contract_names(done):
    out, process = done
    assert "images/s" in process.stderr  # the progress bar
    for name in ("samples.png", "curves.png"):
        assert (out / "whole" / name).read_bytes().startswith(b"\x89PNG")
    images = np.load(out / "whole" / "samples.npz")["images"]
    assert images.dtype == np.uint8 and images.ndim == 4 and len(images)
    metrics = json.loads((out / "whole" / "metrics.json").read_text())
    assert metrics["steps"] == 4 and metrics["seed"] == 3
    curves = minigen.load(out / "whole" / "checkpoint.safetensors")["curves"]
    assert curves and all(np.isfinite(values).all() for values in curves.values())


def test_check_exits_with_1_if_and_only_if_a_figure_falls_short(done):
    _, process = done
    checked, *_ = process.stdout.partition("killed")
    assert "ok  " in checked or "MISS" in checked
    assert f"-- check {int('MISS' in checked)}" in process.stdout


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(done):
    out, process = done
    assert "killed" in process.stdout and "-- resumed 0" in process.stdout
    whole, resumed = (minigen.load(out / name / "checkpoint.safetensors") for name in ("whole", "killed"))
    assert_same(whole, resumed)
    whole, resumed = (json.loads((out / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert_same(whole, resumed)
    whole, resumed = (np.load(out / name / "samples.npz") for name in ("whole", "killed"))
    assert_same(dict(whole), dict(resumed))


def test_resuming_with_other_settings_is_refused_and_an_earlier_run_is_kept(done):
    out, process = done
    assert "-- refused 1" in process.stdout and "not 3" in process.stderr
    assert "-- again 0" in process.stdout
    kept, again = ({p.name for p in (out / name).iterdir()} for name in ("whole.1", "whole"))
    assert kept == again


@pytest.mark.parametrize("name", READ_IMAGES)
def test_images_that_will_not_do_are_one_sentence_before_any_training(name, tmp_path):
    np.savez(tmp_path / "four channels.npz", images=np.zeros((12, 8, 8, 4), np.uint8), labels=np.arange(12) % 3)
    script = f"print('-- code', run({str(tmp_path / 'out')!r}))"
    done = run_script(name, tmp_path / "four channels.npz", script)
    assert "-- code 1" in done.stdout and "1 or 3 channels, got 4" in done.stderr
    assert not (tmp_path / "out").exists()


def assert_same(a, b, path=""):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[key], f"{path}/{key}")
        elif TIMES not in key:
            np.testing.assert_array_equal(value, b[key], err_msg=f"{path}/{key}")
