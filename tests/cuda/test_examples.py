"""Every example with --device cuda, at small sizes: it trains, resumes, samples, and gives the CPU's numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigen

for module in ("tqdm", "matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "common")
# For each example: its arguments, and what to set in it, so that it takes seconds on the emulator.
SMALL = {
    "ddpm": (["--steps", "2", "--batch", "4", "--samples", "1"], {"SAMPLING_STEPS": 2}),
}
RUN = """
import sys
sys.path[:0] = [{root!r}, {examples!r}]
if {emulated}:
    from tests.cuda.emulation import fake_cupy
    fake_cupy.install()
import minigen
if {exact}:
    minigen.float32_matmul_precision = lambda precision: None
import {name} as example
for key, value in {settings}.items():
    setattr(example, key, value)
example.main()
"""


def run(name, data, out, device, exact=False, emulated=False, more=()):
    arguments, settings = SMALL[name]
    code = RUN.format(
        root=str(ROOT), examples=str(ROOT / "examples"), name=name, settings=settings, exact=exact, emulated=emulated
    )
    given = ["--data", str(data), "--out", str(out), "--device", device, *arguments, *more]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done, minigen.load(out / "checkpoint.safetensors"), np.load(out / "samples.npz")["images"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=rng.integers(0, 255, (12, 8, 8, 1)).astype(np.uint8), labels=np.arange(12) % 3)
    return path


def test_every_example_has_a_small_configuration():
    assert set(EXAMPLES) == set(SMALL)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "tensor cores"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_gives_the_numbers_of_the_cpu(request, name, exact, data, tmp_path):
    emulated = request.config.getoption("--device") == "emulated"
    _, expected, expected_images = run(name, data, tmp_path / "cpu", "cpu")
    done, state, images = run(name, data, tmp_path / "gpu", "cuda", exact, emulated)
    assert "MiB" in done.stderr  # the memory pool's figures in the progress bar
    tolerance = 2e-5 if exact else 2e-3
    for curve, values in expected["curves"].items():
        np.testing.assert_allclose(state["curves"][curve], values, rtol=tolerance, err_msg=curve)
    assert images.shape == expected_images.shape
    assert np.abs(images.astype(int) - expected_images).max() <= (1 if exact else 4)
