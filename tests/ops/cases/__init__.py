"""What the operation tests know about each operation: random arguments for it, and what NumPy says it gives.

A new operation needs a case, in the file of its kind:

    @case("leaky_relu")
    def _(d):
        slope = d.choice(0.01, 0.2)
        x = d.spaced(d.shape(), kinks=[0])
        return lambda x: minigen.leaky_relu(x, slope), [x], lambda x: np.where(x > 0, x, slope * x)

`d` (see `Draws`) draws shapes, settings and values with hypothesis. The function gives back

    the operation     a function of Tensors, all of them differentiated; settings are in its closure
    its inputs        float64 arrays, away from kinks and ties
    the formula       the same function of float64 arrays, written from the definition: no minigen, no kernels

and every test of this folder, and of `test_gradcheck.py`, then includes the operation: values in both dtypes,
derivatives of first and second order, views, arguments of mixed dtypes, and mutations of its rule. For an operation
without gradient, write `@case("argmax", differentiable=False)` and name it in `test_registry.py`.
"""

from . import (
    activation,
    attention,
    conv,
    elementwise,
    index,
    linalg,
    losses,
    modulated,
    noise,
    normalization,
    reduce,
    resample,
)
from . import shape as _shape
from .drawing import CASES, Case, Draws, Example, case, examples_of

__all__ = ["CASES", "Case", "Draws", "Example", "case", "examples_of"]
