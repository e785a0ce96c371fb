"""What large arrays take instead of NumPy: the same checks, with every array taken for a large one."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.ops import activation, elementwise, reduce

from .cases import CASES
from .checks import FLOAT32, FLOAT64, LAYOUTS, check_float32, check_unrecorded, check_value, check_views

FILES = ("activation", "elementwise", "normalization", "reduce", "resample")
LABELS = [label for label, case in CASES.items() if case.differentiable and case.build.__module__.endswith(FILES)]


@pytest.fixture(autouse=True, scope="module")
def _everything_is_large():
    with (
        mock.patch.object(activation, "LARGE", 0),
        mock.patch.object(elementwise, "LARGE_SUM", 0),
        mock.patch.object(elementwise, "LARGE_FUNCTION", 0),
        mock.patch.object(reduce, "LARGE", 0),
    ):
        yield


@pytest.mark.parametrize("label", LABELS)
@settings(max_examples=20)
@given(data=st.data())
def test_large_arrays(label, data):
    example = data.draw(CASES[label].examples())
    check_value(example, FLOAT64)
    check_value(example, FLOAT32)
    check_unrecorded(example)
    check_float32(example)
    check_views(example, data.draw(st.sampled_from(sorted(LAYOUTS))))
