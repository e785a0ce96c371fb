"""examples/ddpm.py as a user runs it, beyond what all examples promise: each kind of stop, damaged checkpoints, errors.

The runs are tiny (random 8 x 8 images, a few steps).
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigen

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    labels = np.arange(60) % 3
    images = (rng.integers(0, 60, (60, 8, 8, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(path, images=images, labels=labels)
    return path


def command(data, out, *more, steps=6):
    fixed = ["--data", data, "--out", out, "--steps", steps, "--batch", 8, "--samples", 5, "--seed", 3]
    return [sys.executable, str(EXAMPLES / "ddpm.py"), *map(str, [*fixed, *more])]


def run(*arguments, **options):
    return subprocess.run(command(*arguments, **options), capture_output=True, text=True)


def weights(out):
    return minigen.load(out / "checkpoint.safetensors")


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, dict):
            assert_same_state(value, b[key])
        elif key != "seconds":
            np.testing.assert_array_equal(value, b[key], err_msg=key)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "ddpm"
    done = run(data, out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_leaves_what_the_contract_names(finished):
    out, done = finished
    assert "loss" in done.stderr and "images/s" in done.stderr  # the progress bar
    samples = np.load(out / "samples.npz")["images"]
    assert samples.shape == (5, 8, 8, 1) and samples.dtype == np.uint8
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 6 and sum(metrics["class_histogram"]) == 5
    assert 0 <= metrics["read"] <= 1 and 0 <= metrics["read_real"] <= 1
    for name in ("samples.png", "curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits(data, finished, tmp_path):
    out = tmp_path / "killed"
    kill_after_step = f"""
import os, signal, sys
sys.path.insert(0, {str(EXAMPLES)!r})
import run
run.SAVE_EVERY_SECONDS = 0  # after every step
real_save, count = run.Run.save, 0
def save(run):
    global count
    real_save(run)
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
run.Run.save = save
import ddpm
ddpm.main()
"""
    arguments = command(data, out)[2:]
    killed = subprocess.run([sys.executable, "-c", kill_after_step, *arguments], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert weights(out)["step"] == 3
    resumed = run(data, out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_state(weights(out), weights(finished[0]))
    np.testing.assert_array_equal(
        np.load(out / "samples.npz")["images"], np.load(finished[0] / "samples.npz")["images"]
    )


def test_ctrl_c_saves_and_says_how_to_resume(data, tmp_path):
    out = tmp_path / "interrupted"
    process = subprocess.Popen(
        command(data, out, steps=100_000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    seen = ""
    while "images/s" not in seen:  # until it trains
        piece = process.stderr.read(1)
        assert piece, seen
        seen += piece
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in stdout and "stopped and saved" in stdout
    assert weights(out)["step"] >= 1


@pytest.mark.parametrize(
    "more, words",
    [
        (["--resume", "--batch", "4"], "was started with --batch 8, not 4"),
        (["--resume", "--seed", "9"], "was started with --seed 3, not 9"),
    ],
)
def test_resuming_with_other_settings_is_refused(data, finished, more, words):
    before = (finished[0] / "checkpoint.safetensors").read_bytes()
    done = run(data, finished[0], *more)
    assert done.returncode == 1 and words in done.stderr
    assert (finished[0] / "checkpoint.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_one_sentence_and_stays(data, finished, tmp_path):
    out = tmp_path / "damaged"
    out.mkdir()
    damaged = (finished[0] / "checkpoint.safetensors").read_bytes()[:1000]
    (out / "checkpoint.safetensors").write_bytes(damaged)
    done = run(data, out, "--resume")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().startswith("cannot resume:") and done.stderr.strip().count("\n") == 0
    assert (out / "checkpoint.safetensors").read_bytes() == damaged


def test_a_foreign_checkpoint_is_one_sentence_and_stays(data, finished, tmp_path):
    whole = weights(finished[0])
    settings = whole["settings"]
    foreign = {
        "arrays": {"a": np.zeros(3)},
        "other settings": {**whole, "settings": np.zeros(3)},
        "no network": {key: value for key, value in whole.items() if key != "network"},
        "no step": {key: value for key, value in whole.items() if key != "step"},
        "another network": {**whole, "network": {name: np.zeros(2, np.float32) for name in whole["network"]}},
        "other data": {**whole, "settings": {**settings, "digest": "0"}},
    }
    for name, state in foreign.items():
        out = tmp_path / name
        out.mkdir()
        minigen.save(state, out / "checkpoint.safetensors")
        before = (out / "checkpoint.safetensors").read_bytes()
        done = run(data, out, "--resume")
        assert done.returncode == 1 and done.stderr.startswith("cannot resume:"), (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert (out / "checkpoint.safetensors").read_bytes() == before


def test_images_of_one_class_are_sampled_without_a_reader(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "one.npz", images=images, labels=np.zeros(20, np.int64))
    done = run(tmp_path / "one.npz", tmp_path / "out", steps=1)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out" / "samples.npz")["images"].shape == (5, 8, 8, 3)


def test_missing_data_is_one_sentence(tmp_path):
    done = run(tmp_path / "nowhere", tmp_path / "out")
    assert done.returncode == 1 and "nowhere" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_gpu_is_one_sentence(data, tmp_path):
    path = f"sys.path.insert(0, {str(EXAMPLES)!r})"
    without_cupy = f"import sys; {path}; sys.modules['cupy'] = None; import ddpm; ddpm.main()"
    arguments = command(data, tmp_path / "out", "--device", "cuda")[2:]
    done = subprocess.run([sys.executable, "-c", without_cupy, *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("device 'cuda': CuPy is not installed")
    assert done.stderr.strip().count("\n") == 0 and not (tmp_path / "out").exists()
