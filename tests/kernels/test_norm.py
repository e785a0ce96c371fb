"""The specification of group normalisation against its equation, and its gradients against differences."""

import numpy as np
import pytest

from kernels import cpu, reference

from .numeric import assert_gradients_match, gradients

SHAPES = [((2, 3, 2, 6), 2), ((3, 4), 1), ((2, 5, 3), 3), ((1, 2, 1, 2, 4), 2)]


@pytest.mark.parametrize("shape,groups", SHAPES)
def test_each_group_is_normalised(shape, groups):
    rng = np.random.default_rng(0)
    x, weight, bias = 3 * rng.standard_normal(shape) + 7, *rng.standard_normal((2, shape[-1]))
    y, mean, rstd = reference.group_norm(x, groups, weight, bias, eps=0.1)
    size = shape[-1] // groups
    for n in range(shape[0]):
        for j in range(groups):
            channels = slice(j * size, (j + 1) * size)
            part = x[n, ..., channels]
            average = part.sum() / part.size
            deviation = np.sqrt(((part - average) ** 2).sum() / part.size + 0.1)
            expected = (part - average) / deviation * weight[channels] + bias[channels]
            np.testing.assert_allclose(y[n, ..., channels], expected, atol=1e-12)
            np.testing.assert_allclose([mean[n, j], rstd[n, j]], [average, 1 / deviation])


def test_silu_follows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4))
    y, *_ = reference.group_norm(x, 2)
    np.testing.assert_allclose(reference.group_norm(x, 2, silu=True)[0], y / (1 + np.exp(-y)))


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape,groups", SHAPES)
def test_gradients(shape, groups, silu):
    rng = np.random.default_rng(1)
    x, weight, bias = rng.standard_normal(shape), *rng.standard_normal((2, shape[-1]))
    g = rng.standard_normal(shape)
    _, mean, rstd = reference.group_norm(x, groups, weight, bias, silu=silu)
    got = reference.group_norm_backward(g, x, weight, bias, mean, rstd, groups, silu)
    forward = lambda x, *affine: reference.group_norm(x, groups, *affine, silu=silu)[0]  # noqa: E731
    assert_gradients_match(got, gradients(forward, (x, weight, bias), g))
    without = reference.group_norm_backward(g, x, None, None, mean, rstd, groups, silu)
    assert without[1] is None and without[2] is None
    assert_gradients_match(without[:1], gradients(forward, (x,), g))


@pytest.mark.parametrize("module", [reference, cpu])
def test_statistics_survive_a_large_mean(module):
    """In float32, sums of squares of numbers around 10,000 would lose the variance altogether."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2, 64, 64, 8)) + 1e4).astype(np.float32)
    _, mean, rstd = module.group_norm(x, 2)
    exact = x.astype(np.float64).reshape(2, -1, 2, 4)
    np.testing.assert_allclose(mean, exact.mean((1, 3)), rtol=1e-7)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(exact.var((1, 3)) + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("module", [reference, cpu])
def test_a_group_of_one_number_passes_no_gradient(module):
    """Its output is the bias whatever x is. The scale of what cancels is g rstd = 1 / sqrt(eps)."""
    rng = np.random.default_rng(0)
    g, x = rng.standard_normal((2, 5, 4)).astype(np.float32)
    y, mean, rstd = module.group_norm(x, 4)
    assert not y.any()
    dx, *_ = module.group_norm_backward(g, x, None, None, mean, rstd, 4)
    assert np.abs(dx).max() <= 2e-6 * rstd.max()


def test_sums_over_samples_do_not_depend_on_how_samples_are_shared_out():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 1000, 6))
    weight = np.ones(6)
    _, mean, rstd = cpu.group_norm(x, 1, weight, weight)
    dx, dweight, dbias = cpu.group_norm_backward(g, x, weight, weight, mean, rstd, 1)
    parts = [
        cpu.group_norm_backward(g[s], x[s], weight, weight, mean[s], rstd[s], 1) for s in (slice(0, 7), slice(7, 1000))
    ]
    np.testing.assert_array_equal(dx, np.concatenate([part[0] for part in parts]))
    np.testing.assert_allclose(dweight, parts[0][1] + parts[1][1], rtol=1e-12)
    np.testing.assert_allclose(dbias, parts[0][2] + parts[1][2], rtol=1e-12)
