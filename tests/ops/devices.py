"""A test of drawn examples, on the CPU and on a GPU: emulated, where each example takes longer, or real."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def on_each_device(cpu, cuda):
    """Decorator: a test with arguments `device`, 'cpu' or 'cuda', and hypothesis's `data` runs with so many examples
    on either."""

    def decorate(check):
        def test(request, device, **given_by_pytest):
            if device == "cuda":
                request.getfixturevalue("cupy")

            @settings(max_examples=cpu if device == "cpu" else cuda)
            @given(data=st.data())
            def run(data):
                check(device=device, data=data, **given_by_pytest)

            run()

        parameters = [p for p in inspect.signature(check).parameters.values() if p.name != "data"]
        request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        test.__signature__ = inspect.Signature([request, *parameters])
        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return pytest.mark.parametrize("device", ["cpu", "cuda"])(test)

    return decorate
