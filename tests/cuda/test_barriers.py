"""Each barrier of real kernels is removed in turn: the emulator must see that it is gone, whatever the results are."""

import re
import sys
from unittest import mock

import numpy as np
import pytest

from kernels import cuda
from kernels.cuda.launch import Source, source_text

from .arrays import on_device, scheduled
from .emulation import fake_cuda, fake_cupy
from .emulation.compiler import EmulatorError

x, g, images = (np.random.default_rng(0).standard_normal(s, np.float32) for s in ((2, 9, 24), (24,), (1, 6, 6, 40)))
heads = np.random.default_rng(1).standard_normal((1, 80, 1, 8)).astype(np.float16)  # of 80 keys, 32 are a stage
CALLS = {
    "group_norm": (x, 4, g, g),
    "conv_weight_grad": (images, images[..., :24].copy(), 3, 1, 1),
    "attention": (heads[:, :3], heads, heads),
    "upfirdn2d": (images, g[:4], 2, 1, (2, 1)),
    "modulate_backward": (x, x, x[:, 0].copy(), x[..., :1].copy(), g),
}
BARRIERS = [
    # the call, the file that has barriers, what they look like, how many there are at least
    ("group_norm", "numbers.cuh", r"__syncthreads\(\);", 2),
    ("group_norm", "columns.cuh", r"__syncthreads\(\);", 1),
    ("conv_weight_grad", "conv_weight_grad.cu", r"__syncthreads\(\);", 1),
    ("conv_weight_grad", "product_tile.cuh", r"__syncthreads\(\);|cp_async_wait<[^;]*>\(\);", 4),
    ("attention", "attention_tensor_core.cu", r"__syncthreads\(\);|cp_async_wait<1>\(\);", 3),  # <0>: for nothing
    ("upfirdn2d", "resample.cu", r"__syncthreads\(\);", 1),
    ("modulate_backward", "modulate.cu", r"__syncthreads\(\);", 1),
]


@pytest.fixture(autouse=True)
def emulated():
    """The emulator, also where the other tests run on a GPU."""
    with mock.patch.dict(sys.modules, {"cupy": fake_cupy, "cupy.cuda": fake_cuda}):
        yield


def launched(call, changed, seeds=(0,)):
    """Runs a call while the sources of `changed`, {path: text}, have these texts. Returns the (path, name) of all
    kernels that it launches, and what the emulator finds, or None."""
    functions = {}

    def function(source, kernel, device):
        key = source.path, kernel
        if key not in functions:
            code = changed.get(source.path, source.text)
            functions[key] = fake_cupy.RawModule(code=code, name_expressions=(kernel,)).get_function(kernel)
        return functions[key]

    found = None
    with mock.patch.object(Source, "_function", function):
        for seed in seeds:
            try:
                with scheduled(fake_cupy, seed):
                    getattr(cuda, call)(*on_device(fake_cupy, CALLS[call]))
            except RuntimeError as error:
                assert isinstance(error.__cause__, EmulatorError)
                found = str(error)
                break
    return {(path, kernel.partition("<")[0]) for path, kernel in functions}, found


def places(text, file, pattern, kernels):
    """Where the pattern is in `file`, in the text of a source that has its included files in their places; in none of
    its kernels but these."""
    for match in re.finditer(pattern, text):
        before = text[: match.start()]
        inside = re.findall(r"__global__ void [^{;]*?(\w+)\(const", before)[-1:]
        if re.findall(r'#line \d+ "(.*)"', before)[-1] == file and set(inside) <= kernels:
            yield match.span()


@pytest.mark.parametrize(("call", "file", "pattern", "least"), BARRIERS)
def test_no_barrier_can_be_spared(call, file, pattern, least):
    launches, found = launched(call, {})
    assert found is None
    barriers = [
        (path, span)
        for path in {path for path, _ in launches}
        for span in places(source_text(path), file, pattern, {name for _, name in launches})
    ]
    assert len(barriers) >= least
    for path, (begin, end) in barriers:
        text = source_text(path)
        _, found = launched(call, {path: text[:begin] + ";" + text[end:]}, seeds=range(4))
        assert found and re.search(r"race in shared|uninitialised shared", found), text[begin - 400 : end + 200]
