"""Hypothesis: no deadlines, since a first call may compile kernels; the same examples every time in CI.

The GPU of the tests is emulated (see tests/cuda/emulation), or, with --device cuda, a real one.
"""

import os
import shutil

import pytest
from hypothesis import settings

settings.register_profile("minigen", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "minigen")


def pytest_addoption(parser):
    parser.addoption(
        "--device", choices=["emulated", "cuda"], default="emulated", help="what the tests of the GPU half run on"
    )


def pytest_configure(config):
    if config.getoption("--device") == "cuda":
        from minigen import backend

        try:
            backend.using("cuda")
        except RuntimeError as error:
            raise pytest.UsageError(f"--device cuda: {error}") from error


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What is kept between runs, such as learned features, goes to a folder of this process, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def cupy(request):
    """CuPy, or its stand-in, which runs the kernels on the CPU: whichever `import cupy` gives from now on."""
    from tests.cuda.gated import gated

    with gated():
        if request.config.getoption("--device") == "cuda":
            yield __import__("cupy")
        else:
            if shutil.which("g++") is None:
                pytest.fail("the tests of the GPU half compile CUDA kernels with g++ (11 or later), which is missing")
            from tests.cuda.emulation import fake_cupy

            yield fake_cupy.install()


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Both devices, one after the other."""
    if request.param == "cuda":
        request.getfixturevalue("cupy")
    return request.param
