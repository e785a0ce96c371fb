"""What every operation computes: the formula of its definition, in both dtypes, from arrays and Tensors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen import ops

from .cases import CASES
from .checks import FLOAT32, FLOAT64, check_arrays, check_value

every_case = pytest.mark.parametrize("label", CASES)


@every_case
@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_value(label, dtype, data):
    check_value(data.draw(CASES[label].examples()), dtype, CASES[label].differentiable)


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.name in ops.__all__])
@settings(max_examples=5)
@given(data=st.data())
def test_arrays_are_taken_as_tensors_are(label, data):
    check_arrays(data.draw(CASES[label].examples()))
