"""What every operation computes: the formula of its definition, in both dtypes, from arrays and Tensors."""

import numpy as np
import pytest
from hypothesis import strategies as st

import minigen
from minigen import ops

from .cases import CASES
from .checks import FLOAT32, FLOAT64, check_arrays, check_value
from .devices import on_each_device

every_case = pytest.mark.parametrize("label", CASES)


@every_case
@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@on_each_device(cpu=25, cuda=3)
def test_value(label, dtype, device, data):
    check_value(data.draw(CASES[label].examples()), dtype, CASES[label].differentiable, device)


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.name in ops.__all__])
@on_each_device(cpu=5, cuda=2)
def test_arrays_are_taken_as_tensors_are(label, device, data):
    check_arrays(data.draw(CASES[label].examples()), device)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@on_each_device(cpu=20, cuda=2)
def test_batch_norm_moves_the_running_statistics(momentum, dtype, device, data):
    """In training only: the mean and the unbiased variance of the batch, by the momentum."""
    shape = data.draw(st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 3)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    x, mean, var = (a.astype(dtype) for a in np.random.default_rng(seed).random((3, *shape)))
    mean, var = mean[0, 0], var[0, 0]
    t, *running = (minigen.tensor(a, device=device) for a in (x, mean, var))
    minigen.batch_norm(t, *running)
    assert np.array_equal(running[0].numpy(), mean) and np.array_equal(running[1].numpy(), var)
    minigen.batch_norm(t.requires_grad_(), *running, training=True, momentum=momentum)
    rows = x.reshape(-1, shape[-1]).astype(np.float64)
    now = rows.sum(0) / len(rows)
    spread = ((rows - now) ** 2).sum(0) / (len(rows) - 1)
    # Numbers up to 1 are rounded by up to eps / 2, and the variance of equal numbers is nothing but that.
    rtol, atol = 1e-5 if dtype == FLOAT32 else 1e-12, 4 * np.finfo(dtype).eps
    for tensor, old, new in ((running[0], mean, now), (running[1], var, spread)):
        assert (tensor.dtype, tensor.device) == (dtype, t.device) and not tensor.requires_grad
        np.testing.assert_allclose(tensor.numpy(), old + momentum * (new - old), rtol=rtol, atol=atol)
