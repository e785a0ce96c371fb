"""Every example with --device cuda, at small sizes: it trains, samples, and gives the CPU's numbers."""

from pathlib import Path

import numpy as np
import pytest

import minigen
from tests.examples.small import EXAMPLES, run_script, side_by_side, write_data

for module in ("tqdm", "matplotlib", "PIL", "sklearn", "skimage", "constriction", "tokenizers"):
    pytest.importorskip(module)

pytestmark = pytest.mark.slow

EMULATE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.cuda.emulation import fake_cupy
fake_cupy.install()
"""
SCRIPT = """
from pathlib import Path
out = Path({out!r})
assert run(out / "cpu") == 0
assert run(out / "tensor cores", "--device", "cuda") == 0
minigen.float32_matmul_precision("highest")
minigen.float32_matmul_precision = lambda precision: None
assert run(out / "exact", "--device", "cuda") == 0
"""
# How far tensor cores, which round what they multiply to 10 bits, may be off. StyleGAN's gradient norms have slopes of
# slopes through a dozen layers in them: rounding the weights alone moves them by up to 1e-2, on the CPU too.
TENSOR_CORES = {"stylegan": 2e-2}


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """name -> the running or finished script of each example whose test was asked for.

    The emulator has one thread, so that several run at a time; on a GPU, one.
    """
    emulated = request.config.getoption("--device") == "emulated"
    data = write_data(tmp_path_factory.mktemp("data"))

    def run(name):
        out = tmp_path_factory.mktemp(name)
        return out, run_script(name, data, SCRIPT.format(out=str(out)), EMULATE if emulated else "")

    with side_by_side(run, request, "name", None if emulated else 1) as running:
        yield running


@pytest.mark.parametrize("name", EXAMPLES)
def test_gives_the_numbers_of_the_cpu(runs, name):
    out, done = runs[name].result()
    assert "MiB" in done.stderr  # the memory pool's figures in the progress bar
    expected, expected_images = results(out / "cpu")
    for kind, tolerance, levels in (("exact", 2e-5, 1), ("tensor cores", TENSOR_CORES.get(name, 2e-3), 4)):
        state, images = results(out / kind)
        for curve, values in expected["curves"].items():
            np.testing.assert_allclose(state["curves"][curve], values, rtol=tolerance, err_msg=f"{kind}: {curve}")
        assert images.shape == expected_images.shape
        assert np.abs(images.astype(int) - expected_images).max() <= levels


def results(out):
    return minigen.load(out / "checkpoint.safetensors"), np.load(out / "samples.npz")["images"]
