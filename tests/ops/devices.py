"""A test of drawn examples, on the CPU and on a GPU: emulated, where each example takes longer, or real."""

import inspect

from hypothesis import given, settings
from hypothesis import strategies as st


def on_each_device(cpu, cuda):
    """Decorator: a test with the arguments `device`, a fixture, and `data`, hypothesis's, runs with so many examples on
    either."""

    def decorate(check):
        def test(device, **given_by_pytest):
            @settings(max_examples=cpu if device == "cpu" else cuda)
            @given(data=st.data())
            def run(data):
                check(device=device, data=data, **given_by_pytest)

            run()

        parameters = [p for p in inspect.signature(check).parameters.values() if p.name != "data"]
        test.__signature__ = inspect.Signature(parameters)
        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return decorate
