"""Each algorithm for a convolution against the specification, at sizes where another one would have been chosen."""

import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import checks, reference
from kernels.cpu import direct, jit, memory, narrow, winograd
from kernels.cpu.gemm import panels_of_taps

from .kernel_calls import Arrays, convolutions, out_size, transposed_size
from .test_agreement import TOLERANCE, assert_close

conv = importlib.import_module("kernels.cpu.conv")  # `kernels.cpu.conv` is the function
CHANNELS = [1, 3, 12, 13, 14, 16, 17, 31, 32, 33, 40, 64, 65]  # both sides of a tile's rows, a vector, a tile's width


@st.composite
def images(draw):
    """(x, weight, bias, padding) of a convolution of 1x3x3, 2x3x3 or 3x3x3 at stride 1, contiguous."""
    arrays = Arrays(draw)
    deep, depth = draw(st.sampled_from([(1, 1), (1, 2), (2, 2), (3, 3), (3, 4)]))
    size = [depth] + [draw(st.sampled_from([3, 4, 5, 7, 8, 9, 13, 16])) for _ in range(2)]
    padding = tuple(draw(st.integers(0, 2)) for _ in range(3))
    channels, columns = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(CHANNELS))
    shapes = (draw(st.sampled_from([1, 2, 9])), *size, channels), (deep, 3, 3, channels, columns), (columns,)
    x, weight, bias = (np.ascontiguousarray(arrays(*shape)).copy() for shape in shapes)
    return x, weight, bias, padding


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@settings(max_examples=60, deadline=None)
@given(images(), st.sampled_from([1.0, 0.2]))
def test_winograd(call, slope):
    x, weight, bias, padding = call
    exact = reference.conv(*wide(x, weight, bias), padding=padding, slope=slope)
    tolerance = TOLERANCE[str(x.dtype)]
    for turned in (False, True):
        y = np.full(exact.shape, np.nan, x.dtype)
        given_weight = weight[::-1, ::-1, ::-1].copy() if turned else weight
        winograd.winograd(x, given_weight, bias, padding, y, slope, turned)
        assert_close(y, exact, tolerance)
    g = np.random.default_rng(0).standard_normal(exact.shape).astype(x.dtype)
    exact = reference.conv_weight_grad(*wide(x, g), weight.shape[:3], padding=padding)
    assert_close(winograd.winograd_weight_grad(x, g, len(weight), padding), exact, tolerance)


@pytest.mark.parametrize("padding", [0, 1, 2, (2, 0, 1)])
def test_winograd_of_volumes_as_it_is_called(padding, monkeypatch):
    """With the weight as a view, too, as the gradient's rule hands it on."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 5, 6, 9, 12)), rng.standard_normal((3, 3, 3, 12, 7))
    y = reference.conv(x, weight, padding=padding)
    g, back = rng.standard_normal(y.shape), weight.swapaxes(-1, -2)
    dx, dweight = (
        reference.conv_transpose(g, back, padding=padding),
        reference.conv_weight_grad(x, g, 3, padding=padding),
    )
    monkeypatch.setattr(conv, "cheapest", lambda *_: "winograd")
    np.testing.assert_allclose(conv.conv(x, weight, padding=padding), y, atol=1e-10)
    np.testing.assert_allclose(conv.conv_transpose(g, back, padding=padding), dx, atol=1e-10)
    np.testing.assert_allclose(conv.conv_weight_grad(x, g, 3, padding=padding), dweight, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_direct_and_narrow(data):
    arrays, batch, kernel, size, _, setting = data.draw(convolutions())
    setting["groups"] = 1
    channels, columns = data.draw(st.sampled_from(CHANNELS)), data.draw(st.sampled_from(CHANNELS))
    x, weight = arrays(max(batch, 1), *size, channels).copy(), arrays(*kernel, channels, columns).copy()
    bias, tolerance = arrays(columns).copy(), TOLERANCE[str(x.dtype)]
    slope = data.draw(st.sampled_from([1.0, 0.0, 0.2]))
    window = conv.over_volume(
        checks.conv(x, weight, bias, *[setting[k] for k in ("stride", "padding", "dilation")], 1, 1)
    )
    volume, matrices = conv.as_volume(x), conv.as_volume_weight(weight).reshape(-1, channels, columns)

    exact = reference.conv(*wide(x, weight, bias), **setting, slope=slope)
    y = np.full((len(x), *window.out, columns), np.nan, x.dtype)
    panels = panels_of_taps(matrices, np.arange(len(matrices)))
    direct.convolve(volume, panels, bias, window, y, slope)
    assert_close(y.reshape(exact.shape), exact, tolerance)

    g, exact_size = np.random.default_rng(0).standard_normal(exact.shape).astype(x.dtype), exact.shape[1:-1]
    exact = reference.conv_weight_grad(*wide(x, g), kernel, **setting)
    assert_close(direct.weight_grad(volume, conv.as_volume(g), window).reshape(exact.shape), exact, tolerance)

    if min(transposed_size(kernel, exact_size, output_padding=(0,) * len(kernel), **setting)) < 1:
        return  # padding leaves nothing of the transposed convolution
    back = weight.swapaxes(-1, -2).copy()  # (*K, O, C): from g's channels to x's
    exact = reference.conv_transpose(*wide(g, back), **setting)
    out = window._replace(out=(1,) * (4 - exact.ndim + 1) + exact.shape[1:-1])
    y = narrow.narrow_transpose(conv.as_volume(g), conv.as_volume_weight(back), None, out)
    assert_close(y.reshape(exact.shape), exact, tolerance)


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "narrow"])
def test_results_do_not_depend_on_the_number_of_threads(algorithm, monkeypatch):
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((5, 19, 22, 40), (3, 3, 40, 70)))
    g = rng.standard_normal((5, 19, 22, 70)).astype(np.float32)
    monkeypatch.setattr(conv, "cheapest", lambda *_: algorithm)
    most, results = jit.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            jit.set_num_threads(threads)
            results.append([conv.conv(x, weight, padding=1), conv.conv_weight_grad(x, g, 3, padding=1)])
    finally:
        jit.set_num_threads(most)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "narrow"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_every_pixel_that_sees_it(algorithm, value, monkeypatch):
    """And, but for Winograd's tiles of 4x4, no other."""
    x, weight = np.ones((1, 16, 16, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
    x[0, 7, 9, 3] = value
    monkeypatch.setattr(conv, "cheapest", lambda *_: algorithm)
    finite = np.isfinite(conv.conv(x, weight, padding=1)).all(-1)[0]
    assert not finite[6:9, 8:11].any()
    reach = (slice(4, 12), slice(8, 12)) if algorithm == "winograd" else (slice(6, 9), slice(8, 11))
    finite[reach] = True
    assert finite.all()


@pytest.mark.parametrize("channels", [64, 256])
def test_winograd_is_as_accurate_as_claimed(channels):
    """1e-5 of the largest output in float32, for inputs of unit variance; direct convolution has 1e-6."""
    rng = np.random.default_rng(channels)
    x, weight = (rng.standard_normal(s) for s in ((4, 1, 16, 16, channels), (1, 3, 3, channels, channels)))
    exact = reference.conv(x, weight, padding=(0, 1, 1))
    y = np.empty(exact.shape, np.float32)
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    winograd.winograd(x, weight, np.zeros(channels, np.float32), (0, 1, 1), y)
    assert np.abs(y - exact).max() < 1e-5 * np.abs(exact).max()


def test_the_cheapest_algorithm_is_what_measurements_say():
    def choice(samples, size, channels, columns, kernel=3, stride=1, deep=1):
        depth = size if deep > 1 else 1
        out = (depth, size // stride, size // stride)
        window = checks.Window((deep, kernel, kernel), (1, stride, stride), (deep // 2, 1, 1), (1, 1, 1), out)
        return conv.cheapest(window, window, samples, (depth, size, size), channels, columns, np.dtype(np.float32))

    assert choice(32, 32, 64, 64) == choice(64, 14, 32, 32) == choice(32, 8, 256, 256) == "winograd"
    assert choice(32, 32, 64, 128, kernel=4, stride=2) == choice(32, 32, 3, 64) == "direct"
    assert choice(32, 32, 64, 3) == "narrow"
    assert choice(32, 8, 32, 32, deep=3) == choice(32, 4, 64, 64, deep=3) == "winograd"
    assert choice(32, 2, 64, 64, deep=3) == "direct"


def test_transposed_matrices_become_contiguous():
    x = np.arange(math.prod((2, 3, 40, 70)), dtype=np.float32).reshape(2, 3, 40, 70)
    view = x.swapaxes(-1, -2)
    got = memory.contiguous(view)
    assert got.flags.carray
    np.testing.assert_array_equal(got, view)
    assert memory.contiguous(x) is x


def test_out_size_of_the_strategy_is_that_of_the_checks():
    window = checks.conv(np.ones((1, 9, 8, 2)), np.ones((3, 2, 2, 5)), None, (2, 1), (1, 0), (1, 2), 1, 1.0)
    assert window.out == out_size((3, 2), (9, 8), (2, 1), (1, 0), (1, 2))
