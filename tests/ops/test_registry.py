"""Nothing goes unchecked: every public operation has a case, every gradient of every primitive is looked at."""

import inspect
from pathlib import Path

import pytest

import minigen
from minigen.autograd import primitive, registry

from .cases import CASES
from .monitor import NO_FAST_GRADIENT, NO_GRADIENT, exercised, unchecked

NOT_DIFFERENTIABLE = {
    "argmax",
    "argmin",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "not_equal",
    "sign",
}


def public_operations():
    functions = inspect.getmembers(minigen.F, inspect.isfunction)
    own = [name for name, f in functions if f.__module__ == minigen.F.__name__ and not name.startswith("_")]
    return [*minigen.ops.__all__, *own]


def without_case(names, labels):
    return sorted(set(names) - {CASES[label].name for label in labels})


def test_every_public_operation_has_a_case():
    assert len(public_operations()) > 90
    assert without_case(public_operations(), CASES) == []


def test_every_case_is_of_a_public_operation():
    assert {case.name for case in CASES.values()} <= set(public_operations())


def test_no_module_hides_an_operation():
    """With a module minigen/clip, `import minigen.clip` would put it in the place of the function `minigen.clip`."""
    assert not {path.stem for path in Path(minigen.__file__).parent.iterdir()} & set(minigen.ops.__all__)


def test_an_operation_without_a_case_is_noticed():
    assert without_case([*public_operations(), "brand_new"], CASES) == ["brand_new"]
    assert without_case(public_operations(), [label for label in CASES if label != "silu"]) == ["silu"]


def test_only_these_operations_are_without_gradient():
    differentiable = {case.name for case in CASES.values() if case.differentiable}
    assert {case.name for case in CASES.values()} - differentiable == NOT_DIFFERENTIABLE


def test_every_gradient_of_every_primitive_is_checked():
    assert unchecked(registry, CASES) == []


def test_a_primitive_without_a_case_is_noticed():
    def brand_new(a, b):
        return a + b

    brand_new.__module__ = "minigen.ops.brand_new"
    try:
        primitive(brand_new)
        assert unchecked(registry, CASES) == [("brand_new", 0), ("brand_new", 1)]
    finally:
        del registry["brand_new"]


def test_a_gradient_that_no_case_asks_for_is_noticed():
    """The bounds of clip are differentiated in one case only, the fast rule of attention in that of its own."""
    assert unchecked(registry, [label for label in CASES if label != "clip to tensors"]) == [("clip", 1), ("clip", 2)]
    missing = unchecked(registry, [label for label in CASES if "attention" not in label])
    assert missing == [("attention", i) for i in (0, 1, 2, 3, 0, 1, 2)]


@pytest.mark.parametrize("name, argument", sorted(NO_GRADIENT))
def test_arguments_without_gradient_have_none(name, argument):
    assert all((name, argument) not in exercised(label)[0] for label in CASES if CASES[label].differentiable)


@pytest.mark.parametrize("name, argument", sorted(NO_FAST_GRADIENT))
def test_arguments_that_the_fast_rule_leaves_out_are_differentiated_by_the_plain_definition(name, argument):
    """A learned mask: the rule is called, and has a gradient for it only because it asks the plain definition."""
    labels = [label for label in CASES if CASES[label].differentiable and (name, argument) in exercised(label)[0]]
    assert labels == ["scaled_dot_product_attention with a learned mask"]
