"""No instance of a kernel is launched in the tests that the compile gate has not seen."""

from contextlib import contextmanager
from unittest import mock

from kernels.cuda.launch import FOLDER, Source
from kernels.cuda.report import gate


@contextmanager
def gated():
    """Inside, a launch is an error if `python -m kernels.cuda.report --check` does not compile what it launches."""
    compiled = {(variant.file, variant.kernel) for variant in gate.variants()}
    get_function = Source._function

    def function(source, kernel, device):
        if source.path.parent == FOLDER and (source.path.name, kernel) not in compiled:
            raise AssertionError(
                f"{source.path.name}: {kernel} is launched, but none of the calls in kernels/cuda/report/calls.py "
                "does it: add one there, so that the gate compiles it"
            )
        return get_function(source, kernel, device)

    with mock.patch.object(Source, "_function", function):
        yield
