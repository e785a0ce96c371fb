"""The checker is itself checked: whatever is broken in a rule, some case of the operation fails.

Each test breaks one thing in one rule and runs the checks of `tests/ops` on the cases that use it, until one raises.
"""

import ast
import inspect
import itertools
import re
import sys
import textwrap

import numpy as np
import pytest

import minigen
from minigen import Tensor, autograd
from minigen.autograd import Primitive, registry
from minigen.gradcheck import GradcheckError, gradcheck

from .ops.cases import CASES, examples_of
from .ops.checks import check_derivatives, check_plain, check_unrecorded
from .ops.monitor import EXAMPLES, exercised, fast_places, labels_for, places, users_of
from .ops.test_kinks import KINKS, check_kink

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is broken may divide by 0

FACTORS = {"sign flipped": -1.0, "a hundredth too large": 1.01, "dropped": 0.0}


def noticed(check, labels, error=AssertionError):
    """Whether the check raises for an example of one of the cases. (None did before: `exercised` has run them.)"""
    assert labels, "no case uses this"
    for label in labels:
        for example in examples_of(label, EXAMPLES):
            try:
                check(example)
            except error:
                return True
    return False


def scaled(rule, argument, factor):
    """The rule with one of its gradients multiplied by a factor."""

    def mutant(*args, **kwargs):
        gradients = rule(*args, **kwargs)
        gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
        old = gradients[argument] if argument < len(gradients) else None
        if old is not None:
            gradients[argument] = lambda: (old() if callable(old) else old) * factor
        return tuple(gradients)

    return mutant


def twist(factor):
    """The identity, with a derivative that is wrong by a factor."""
    made = Primitive(lambda x: x)
    made.vjp(lambda g, _y, _x: g * factor)
    return made


# Every gradient of every rule

RULES = [(name, i) for name, i in places(registry) if registry[name].plain is None]
PLAIN = [(name, i) for name, i in places(registry) if registry[name].plain is not None]
each_factor = pytest.mark.parametrize("factor", FACTORS.values(), ids=FACTORS)


@each_factor
@pytest.mark.parametrize("name, argument", RULES)
def test_a_wrong_gradient_in_a_rule_is_noticed(monkeypatch, name, argument, factor):
    labels = labels_for(name, lambda seen: (name, argument) in seen[0])
    monkeypatch.setattr(registry[name], "rule", scaled(registry[name].rule, argument, factor))
    assert noticed(check_derivatives, labels, GradcheckError)


@each_factor
@pytest.mark.parametrize("name, argument", fast_places(registry))
def test_a_wrong_gradient_in_a_fast_rule_is_noticed(monkeypatch, name, argument, factor):
    labels = labels_for(name, lambda seen: (name, argument) in seen[1])
    monkeypatch.setattr(registry[name], "rule", scaled(registry[name].rule, argument, factor))
    assert noticed(check_unrecorded, labels)


@each_factor
@pytest.mark.parametrize("name, argument", PLAIN)
def test_a_wrong_gradient_in_a_plain_definition_is_noticed(monkeypatch, name, argument, factor):
    labels = labels_for(name, lambda seen: (name, argument) in seen[0])
    plain, wrong = registry[name].plain, twist(factor)

    def mutant(*args, **settings):
        return plain(*(wrong(x) if i == argument and x is not None else x for i, x in enumerate(args)), **settings)

    monkeypatch.setattr(registry[name], "plain", mutant)
    assert noticed(check_derivatives, labels, GradcheckError)


# Every operator that is written in a rule, in a plain definition, or in what they call


OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


class Change(ast.NodeTransformer):
    """Makes the `target`-th of all possible changes to a syntax tree: a flipped sign, a dropped term or factor, a
    comparison turned round, the other branch of a condition."""

    def __init__(self, target):
        self.target, self.count, self.what = target, itertools.count(), ""

    def choose(self, node, *options):
        for option in options:
            if next(self.count) == self.target:
                self.what = f"{ast.unparse(node)} became {ast.unparse(option)}"
                node = option
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        left, right = node.left, node.right
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return self.choose(node, ast.BinOp(left, OPPOSITE[type(node.op)](), right), left, right)
        return self.choose(node, left, right)

    def visit_UnaryOp(self, node):
        self.generic_visit(node)
        return self.choose(node, node.operand)

    def visit_Compare(self, node):
        self.generic_visit(node)
        opposite = OPPOSITE.get(type(node.ops[0]))
        return self.choose(node, ast.Compare(node.left, [opposite()], node.comparators)) if opposite else node

    def visit_IfExp(self, node):
        self.generic_visit(node)
        return self.choose(node, node.body, node.orelse)


def mutants_of(function):
    """(what was changed, the changed function) for every possible change."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list = []
    found = []
    while True:
        change = Change(len(found))
        changed = ast.fix_missing_locations(change.visit(ast.parse(ast.unparse(tree))))
        if not change.what:
            return found
        made = {}
        exec(compile(changed, "mutant", "exec"), function.__globals__, made)
        found.append((change.what, made[function.__name__]))


def helpers(*names):
    """Functions of `minigen.ops` that rules and plain definitions call, with those that call them."""
    for path, users in names:
        module, name = path.split(".")
        owner = sys.modules[f"minigen.ops.{module}"]
        yield owner, name, getattr(owner, name), users


SOURCES = [
    *((p, "rule", p.rule, [p.name]) for p in registry.values() if p.rule and p.name in dict(places(registry))),
    *((p, "plain", p.plain, [p.name]) for p in registry.values() if p.plain and p.name in dict(places(registry))),
    *helpers(
        ("elementwise._share", ["maximum", "minimum"]),
        ("conv._input_grad", ["conv"]),
        ("conv._bias_grad", ["conv", "conv_transpose"]),
        ("normalization._normalise", ["group_norm"]),
        ("normalization._affine", ["group_norm"]),
        ("noise._estimate_x0", ["ddpm_step", "ddim_step"]),
    ),
]
MUTANTS = [
    (f"{'/'.join(users)} {name}: {what}", owner, name, mutant, users)
    for owner, name, function, users in SOURCES
    for what, mutant in mutants_of(function)
]
EQUIVALENT = {  # changes that make no difference, and why
    "attention plain: -2 became 2": "an array of four axes",
    "conv/conv_transpose _bias_grad: g.ndim - 1 became 1": "the engine sums over the other axes",
    "ddim_step plain: x_prev if eta == 0 else x_prev + math.sqrt(variance) * _noise_like(x, seed, draw, first_row) "
    "became x_prev + math.sqrt(variance) * _noise_like(x, seed, draw, first_row)": "it adds 0 times the noise",
    "group_norm rule: None if d is None else Tensor(d) became Tensor(d)": "nobody looks at it without such an input",
    "linear_step plain: total if deviation == 0 else total + deviation * _noise_like(arrays[0], seed, draw, first_row) "
    "became total + deviation * _noise_like(arrays[0], seed, draw, first_row)": "it adds 0 times the noise",
    "modulate rule: None if d is None else Tensor(d) became Tensor(d)": "nor here",
}


@pytest.mark.parametrize("what, owner, attribute, mutant, users", MUTANTS, ids=[what[:80] for what, *_ in MUTANTS])
def test_a_changed_operator_is_noticed(monkeypatch, what, owner, attribute, mutant, users):
    labels = users_of(users)
    monkeypatch.setattr(owner, attribute, mutant)
    checks = [check_derivatives, *([check_unrecorded, check_plain] if any(registry[u].plain for u in users) else [])]
    seen = any(noticed(check, labels, Exception) for check in checks) or wrong_at_a_kink(users)
    assert seen != (what in EQUIVALENT), f"{what}: not noticed" if not seen else f"{what}: does make a difference"


def wrong_at_a_kink(users):
    for what, *kink in KINKS:
        if what.split(":")[0] in users:
            try:
                check_kink(*kink)
            except Exception:
                return True
    return False


def test_there_are_mutants_of_everything():
    assert len(MUTANTS) > 250
    assert {u for *_, users in MUTANTS for u in users} >= {"multiply", "conv", "attention", "ddim_step"}


# Second order only


def detached(rule):
    """The same first derivative, which forgets that it depends on the inputs."""

    def mutant(g, y, *inputs, **settings):
        return rule(g, *(x.detach() if isinstance(x, Tensor) else x for x in (y, *inputs)), **settings)

    return mutant


PIECEWISE_LINEAR = {
    "relu",
    "leaky_relu",
    "abs",
    "maximum",
    "minimum",
    "max",
    "min",
    "clip",
    "where",
    "upfirdn2d",
}  # the same everywhere nearby
CURVED = [
    p.name
    for p in registry.values()
    if p.name in dict(RULES) and (p.keeps_output or any(p.keeps_input)) and p.name not in PIECEWISE_LINEAR
]


@pytest.mark.parametrize("name", CURVED)
def test_a_derivative_that_is_wrong_in_second_order_only_is_noticed(monkeypatch, name):
    labels = labels_for(name, lambda seen: name in dict(seen[0]))
    monkeypatch.setattr(registry[name], "rule", detached(registry[name].rule))
    if CASES[labels[0]].name == name:
        assert not noticed(lambda example: check_derivatives(example, order=1), labels)
    assert noticed(check_derivatives, labels, GradcheckError)


# Broadcasting


def repeated_axes(g, shape):
    extra = g.ndim - len(shape)
    padded = (1,) * extra + shape
    return tuple(i for i, (p, n) in enumerate(zip(padded, g.shape, strict=True)) if i < extra or p != n)


UNBROADCAST = {
    "skipped": lambda g, shape: g,
    "the first slice": lambda g, shape: g[
        tuple(slice(0, 1) if i in repeated_axes(g, shape) else slice(None) for i in range(g.ndim))
    ].reshape(shape),
    "the mean": lambda g, shape: g.mean(repeated_axes(g, shape), keepdims=True).reshape(shape),
    "without the leading axes": lambda g, shape: g[(0,) * (g.ndim - len(shape))].sum(
        tuple(i for i, (p, n) in enumerate(zip(shape, g.shape[g.ndim - len(shape) :], strict=True)) if p != n),
        keepdims=True,
    ),
}
BROADCASTING = {
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "clip", "where",
    "broadcast_to", "matmul", "einsum",
}  # fmt: skip
NOT_NEEDED = {("einsum", "without the leading axes")}  # it has summed over axes that an operand does not have


@pytest.mark.parametrize("how", UNBROADCAST)
@pytest.mark.parametrize("name", sorted(BROADCASTING))
def test_broadcasting_that_is_not_undone_is_noticed(monkeypatch, name, how):
    """Skipped for one operation, or done wrongly."""
    labels = labels_for(name, lambda seen: name in seen[2])
    right, wrong = autograd._unbroadcast, UNBROADCAST[how]

    def mutant(g, shape, of):
        return wrong(g, shape) if of == name else right(g, shape, of)

    monkeypatch.setattr(autograd, "_unbroadcast", mutant)
    assert noticed(check_derivatives, labels, Exception) == ((name, how) not in NOT_NEEDED)


def test_these_are_the_operations_that_broadcast():
    seen = [exercised(label)[2] for label, case in CASES.items() if case.differentiable]
    assert set().union(*seen) == BROADCASTING


# gradcheck by itself


def made(forward, rule):
    """A primitive outside of the registry."""
    primitive = Primitive(forward)
    primitive.vjp(rule)
    return primitive


def cube(rule):
    return made(lambda x: x**3, rule)


def random(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape))


def test_right_derivatives_pass():
    assert gradcheck(cube(lambda g, _y, x: g * 3.0 * x * x), [random(3, 2)], elementwise=True) is None
    assert gradcheck(lambda a, b: minigen.matmul(a, b).tanh(), [random(2, 3), random(3, 2)]) is None
    assert gradcheck(lambda x: x * 2.0, [random(0, 3)]) is None
    assert gradcheck(lambda x, n, k: x[n] * k, [random(4), minigen.tensor([1, 1]), 2.5]) is None


@pytest.mark.parametrize("elementwise", [False, True])
@pytest.mark.parametrize(
    "rule",
    [
        lambda g, _y, x: g * 3.0 * x,
        lambda g, _y, x: g * -3.0 * x * x,
        lambda g, _y, x: g * (3.0 * x * x + 1e-4),
        lambda g, _y, x: g.mean() * 3.0 * x * x,  # right for the gradient of a sum
        lambda g, _y, x: g * np.inf * x,
        lambda g, _y, x: g * np.nan * x,
        lambda g, _y, x: None,
    ],
)
def test_a_wrong_first_derivative_is_refused(rule, elementwise):
    with pytest.raises(GradcheckError, match="order 1"):
        gradcheck(cube(rule), [random(3, 2)], elementwise=elementwise)


def test_a_wrong_second_derivative_is_refused():
    partly_detached = cube(lambda g, _y, x: g * 3.0 * x * x.detach())
    gradcheck(partly_detached, [random(3, 2)], order=1)
    with pytest.raises(GradcheckError, match="order 2"):
        gradcheck(partly_detached, [random(3, 2)])


def test_a_second_derivative_through_the_output_gradient_is_refused():
    """The rule is linear in g; this one forgets that."""
    with pytest.raises(GradcheckError, match="order 2"):
        gradcheck(cube(lambda g, _y, x: g.detach() * 3.0 * x * x), [random(3, 2)])


def test_float32_inputs_are_refused():
    with pytest.raises(TypeError, match="input 1 is float32; finite differences need float64"):
        gradcheck(minigen.add, [random(2), Tensor(np.ones(2, np.float32))])


def test_a_gradient_of_another_dtype_is_refused():
    narrow = cube(lambda g, _y, x: (g * 3.0 * x * x).astype(np.float32))
    with pytest.raises(TypeError, match="float32 gradient to a float64 input"):
        gradcheck(narrow, [random(3)])


def test_a_gradient_of_another_dtype_that_gets_past_the_engine_is_refused(monkeypatch):
    monkeypatch.setattr(
        "minigen.gradcheck.grad", lambda *args, **kwargs: [g.astype(np.float32) for g in autograd.grad(*args, **kwargs)]
    )
    with pytest.raises(GradcheckError, match=r"float64 cpu, its gradient .* float32 cpu"):
        gradcheck(cube(lambda g, _y, x: g * 3.0 * x * x), [random(3)])


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="gave a gradient of shape"):
        gradcheck(cube(lambda g, _y, x: (g * 3.0 * x * x)[:1]), [random(3)])


def test_an_error_says_where_it_is():
    """Every error names the function, the shapes, the seed and both values; `elementwise` the input and the element."""
    places = np.array([[0.0, 0.0], [0.5, 0.0]])
    plus = made(lambda a, b: a + b, lambda g, _y, _a, _b: (g, g + g * places))
    a, b = random(2, 2), random(1, 2, 2)
    told = (
        r"my op at shapes \[\(2, 2\), \(1, 2, 2\)\], seed 5, order 1, {}: "
        r"the tape says (\S+), finite differences say (\S+)$"
    )
    with pytest.raises(GradcheckError, match=told.format("random direction")):
        gradcheck(plus, [a, b], seed=5, name="my op")
    with pytest.raises(GradcheckError) as caught:
        gradcheck(plus, [a, b], seed=5, name="my op", elementwise=True)
    match = re.search(told.format(r"input 1 element \(0, 1, 0\)"), str(caught.value))
    tape, differences = (float(number) for number in match.groups())
    assert tape == pytest.approx(1.5 * differences)


def test_the_weights_and_directions_depend_on_the_seed():
    seen = []

    def function(x):
        seen.append(x.data.copy())
        return x * x

    for seed in (0, 0, 1):
        gradcheck(function, [random(3)], seed=seed, order=1)
    runs = np.array(seen).reshape(3, -1, 3)
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    steps = np.abs(runs[:, 2:] - runs[:, :1])  # of the evaluations away from the starting point
    assert (steps > 0.4e-4).all() and (steps < 3.1e-4).all()
