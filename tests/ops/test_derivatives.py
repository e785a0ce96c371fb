"""The derivatives of every operation: against difference quotients, fused against plain, and of any memory layout."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .cases import CASES
from .checks import LAYOUTS, check_derivatives, check_float32, check_plain, check_unrecorded, check_views
from .devices import on_each_device

every_case = pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.differentiable])
FUSED = [label for label in CASES if re.search("attention|norm|_step|add_noise|gelu", label) and label != "norm"]


@every_case
@on_each_device(cpu=25, cuda=2)
def test_derivatives_along_a_random_direction(label, device, data):
    check_derivatives(data.draw(CASES[label].examples()), device=device)


@every_case
@settings(max_examples=4)
@given(data=st.data())
def test_derivatives_element_by_element(label, data):
    check_derivatives(data.draw(CASES[label].examples(tiny=True)), elementwise=True)


@every_case
@on_each_device(cpu=15, cuda=2)
def test_an_unrecorded_backward_pass_gives_the_same(label, device, data):
    check_unrecorded(data.draw(CASES[label].examples()), device=device)


@pytest.mark.parametrize("label", FUSED)
@on_each_device(cpu=15, cuda=2)
def test_a_fused_operation_gives_what_its_plain_definition_gives(label, device, data):
    check_plain(data.draw(CASES[label].examples()), device=device)


@every_case
@on_each_device(cpu=10, cuda=2)
def test_float32_gradients(label, device, data):
    check_float32(data.draw(CASES[label].examples()), device=device)


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
@on_each_device(cpu=8, cuda=1)
def test_inputs_that_are_not_contiguous(label, layout, device, data):
    check_views(data.draw(CASES[label].examples()), layout, device)
