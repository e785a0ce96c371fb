"""A wheel carries the kernels' sources, and runs them where it is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import setuptools.build_meta, sys; print(setuptools.build_meta.build_wheel(sys.argv[1]))"
RUN = """
import sys
import numpy as np
from tests.cuda.emulation import fake_cupy
cupy = fake_cupy.install()
from kernels import cuda, reference
x = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)
np.testing.assert_array_equal(cuda.upsample(cupy.asarray(x), (2, 3)).get(), reference.upsample(x, (2, 3)))
print(cuda.__file__)
"""


def run(code, *args, **options):
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the contents of a wheel were put into, and their names."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    for name in ("kernels", "minigen"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    with zipfile.ZipFile(folder / run(BUILD, str(folder), cwd=source)) as wheel:
        wheel.extractall(site)
        return site, wheel.namelist()


def test_all_sources_are_in_it(installed):
    sources = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("kernels/**/*.cu*")]
    assert sources and set(sources) <= set(installed[1])


def test_a_kernel_runs_from_it(installed, tmp_path):
    site, _ = installed
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}  # the emulator is not in the wheel
    assert run(RUN, cwd=tmp_path, env=environment) == str(site / "kernels" / "cuda" / "__init__.py")
