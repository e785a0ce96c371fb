"""The convolutions of the specification against sums written out, and against each other."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import cpu, reference

from .kernel_calls import convolutions, out_size


def naive_conv(x, weight, stride, padding, dilation, groups):
    """The equation, one product at a time."""
    kernel, (per_group, out_channels) = weight.shape[:-2], weight.shape[-2:]
    out = out_size(kernel, x.shape[1:-1], stride, padding, dilation)
    y = np.zeros((len(x), *out, out_channels))
    for n, *p in itertools.product(*map(range, (len(x), *out))):
        for o, k in itertools.product(range(out_channels), np.ndindex(kernel)):
            at = [s * pi + d * ki - pad for s, pi, d, ki, pad in zip(stride, p, dilation, k, padding)]
            if all(0 <= i < size for i, size in zip(at, x.shape[1:-1])):
                group = o // (out_channels // groups)
                for c in range(per_group):
                    y[(n, *p, o)] += x[(n, *at, group * per_group + c)] * weight[(*k, c, o)]
    return y


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "stride", "padding", "dilation", "groups"),
    [
        ((2, 7, 3), (3, 3, 2), (1,), (0,), (1,), 1),
        ((1, 8, 4), (3, 2, 6), (2,), (2,), (2,), 2),
        ((2, 5, 4, 2), (3, 3, 2, 3), (1, 1), (1, 1), (1, 1), 1),
        ((1, 6, 5, 3), (2, 3, 1, 6), (2, 1), (1, 0), (1, 2), 3),
        ((1, 4, 3, 4, 2), (2, 1, 3, 2, 2), (1, 2, 1), (1, 0, 2), (2, 1, 1), 1),
    ],
)
def test_conv_is_the_sum_written_out(x_shape, weight_shape, stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    y = reference.conv(x, weight, None, stride, padding, dilation, groups)
    np.testing.assert_allclose(y, naive_conv(x, weight, stride, padding, dilation, groups), atol=1e-13)


def test_conv_by_hand():
    x = np.array([1.0, 2, 3, 4]).reshape(1, 4, 1)
    weight = np.array([1.0, 10, 100]).reshape(3, 1, 1)
    for module in (reference, cpu):
        assert module.conv(x, weight, padding=1).ravel().tolist() == [210, 321, 432, 43]
        assert module.conv(x, weight, np.array([0.5]), stride=2, padding=1).ravel().tolist() == [210.5, 432.5]
        assert module.conv_transpose(x, weight).ravel().tolist() == [1, 12, 123, 234, 340, 400]
        assert module.conv_transpose(x[:, :2], weight, stride=3, output_padding=1).ravel().tolist() == [
            *(1, 10, 100, 2, 20, 200, 0)
        ]
        assert module.conv_weight_grad(x, x[:, :2], 3).ravel().tolist() == [5, 8, 11]


@settings(max_examples=25, deadline=None)
@given(drawn=convolutions())
def test_the_three_are_transposes_of_each_other(drawn):
    """<g, conv(x, w)> = <conv_transpose(g, w), x> = <conv_weight_grad(x, g), w>"""
    arrays, batch, kernel, size, (c_in, c_out), window = drawn
    rng = arrays.rng
    x = rng.standard_normal((batch, *size, c_in))
    weight = rng.standard_normal((*kernel, c_in // window["groups"], c_out))
    y = reference.conv(x, weight, **window)
    g = rng.standard_normal(y.shape)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, window["dilation"])]
    left_over = [(n + 2 * p - e) % s for n, p, e, s in zip(size, window["padding"], extent, window["stride"])]
    dx = reference.conv_transpose(g, weight.swapaxes(-1, -2), output_padding=left_over, **window)
    dweight = reference.conv_weight_grad(x, g, kernel, **window)
    assert dx.shape == x.shape and dweight.shape == weight.shape
    np.testing.assert_allclose((x * dx).sum(), (g * y).sum(), atol=1e-10)
    np.testing.assert_allclose((weight * dweight).sum(), (g * y).sum(), atol=1e-10)


@given(
    size=st.tuples(st.integers(40, 90), st.integers(60, 130)),
    channels=st.tuples(st.sampled_from([16, 33]), st.sampled_from([1, 8])),
)
@settings(max_examples=5, deadline=None)
def test_images_of_several_blocks(size, channels):
    """More patches than are made at a time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *size, channels[0]))
    weight = rng.standard_normal((3, 3, *channels))
    y = reference.conv(x, weight, padding=1)
    np.testing.assert_allclose(cpu.conv(x, weight, padding=1), y, atol=1e-11)
    expected = reference.conv_weight_grad(x, y, 3, padding=1)
    atol = 1e-14 * np.abs(expected).max()  # thousands of products may add up to nearly nothing
    np.testing.assert_allclose(cpu.conv_weight_grad(x, y, 3, padding=1), expected, rtol=1e-10, atol=atol)
