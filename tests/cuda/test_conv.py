"""Convolutions and matrix products on tensor cores and exactly, at sizes around the tiles of the kernels."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import cuda, reference
from kernels.cuda import launch
from kernels.cuda.report.recording import recording
from kernels.precision import float32_matmul_precision
from tests.kernels.test_agreement import assert_close

from .arrays import on_cpu, on_device, scheduled
from .emulation import fake_cuda

module = import_module("kernels.cuda.conv")  # `kernels.cuda.conv` is the function of that name

PATHS = {  # dtype, precision, the largest error, how many numbers are 16 bytes
    "float32": ("float32", "highest", 2e-5, 4),
    "TF32": ("float32", "high", 2e-3, 4),
    "float16": ("float16", "highest", 5e-3, 8),
}
paths = pytest.mark.parametrize("path", PATHS)
# Whole vectors of 16 bytes, or numbers one by one (exact ones are among the calls of test_agreement.py).
widths_too = pytest.mark.parametrize(
    "path, whole_vectors",
    [("float32", True), ("TF32", True), ("TF32", False), ("float16", True), ("float16", False)],
)


@pytest.fixture
def only(monkeypatch):
    """Leaves the kernels one tile."""
    return lambda tile: monkeypatch.setattr(module, "TILES", (tile,))


def numbers(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def on_gpu(cupy, name, path, arrays, schedule=0, **kwargs):
    """A kernel's result for arrays of the path's dtype."""
    with float32_matmul_precision(PATHS[path][1]), scheduled(cupy, schedule):
        return on_cpu(getattr(cuda, name)(*on_device(cupy, list(arrays)), **kwargs))


def assert_agrees(cupy, name, path, arrays, schedule=0, **kwargs):
    got = on_gpu(cupy, name, path, arrays, schedule, **kwargs)
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arrays]
    expected = getattr(reference, name)(*wide, **kwargs)
    assert (got.shape, got.dtype) == (expected.shape, np.dtype(PATHS[path][0]))
    squares = [a**2 if isinstance(a, np.ndarray) else a for a in wide]
    variance = getattr(reference, name)(*squares, **{k: v for k, v in kwargs.items() if k != "slope"})
    usual = max(1.0, np.sqrt(variance.max(initial=0)))  # of a sum of random products: few of them may all be small
    assert_close(got.astype(np.float64), expected, PATHS[path][2], usual)


# ---- every size around a tile ----------------------------------------------------------------------------


@widths_too
@settings(max_examples=6)
@given(data=st.data())
def test_matmul(cupy, path, whole_vectors, data):
    """Rows around the tile of 64, depth around the step of 32 or 64, columns around the tile of 64."""
    dtype, _, _, width = PATHS[path]
    rows = data.draw(st.sampled_from([0, 1, 63, 64, 65, 129]))
    if whole_vectors:
        depth = data.draw(st.sampled_from([width, 64 - width, 64, 64 + width, 256]))
        columns = data.draw(st.sampled_from([width, 64 - width, 64, 64 + width]))
    else:
        depth, columns = (data.draw(st.sampled_from([1, 31, 33, 63, 65])) for _ in range(2))
    bias = data.draw(st.sampled_from([None, numbers(dtype, columns)]))
    arrays = numbers(dtype, rows, depth), numbers(dtype, depth, columns), bias
    assert_agrees(cupy, "matmul", path, arrays, data.draw(st.integers(0, 2)))


def test_matmul_over_nothing_is_the_bias(cupy):
    bias = numbers("float32", 3)
    y = on_gpu(cupy, "matmul", "float32", (numbers("float32", 2, 0), numbers("float32", 0, 3), bias))
    np.testing.assert_array_equal(y, [bias, bias])


@st.composite
def windows(draw):
    """Sizes, kernel and settings of a convolution of a sequence, images or volumes."""
    axes = draw(st.sampled_from([1, 2, 2, 3]))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, stride, dilation = per_axis(1, 3), per_axis(1, 2), per_axis(1, 2)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    padding = tuple(draw(st.integers(0, (e - 1) // 2)) for e in extent)  # more, and a transposed one may be empty
    sizes = tuple(e - 2 * p + draw(st.integers(0, 7 - 2 * axes)) for e, p in zip(extent, padding))
    sizes = tuple(max(n, 1) for n in sizes)
    return sizes, kernel, dict(stride=stride, padding=padding, dilation=dilation, groups=draw(st.sampled_from([1, 2])))


@widths_too
@settings(max_examples=5)
@given(data=st.data())
def test_three_convolutions(cupy, path, whole_vectors, data):
    """The same window for all three: y = conv(x, w), then its transposes for a cotangent of y's shape."""
    dtype, _, _, width = PATHS[path]
    sizes, kernel, over = data.draw(windows())
    few, many = (width, 64 + width) if whole_vectors else (3, 65)
    channels, columns = data.draw(st.sampled_from([(few, many), (many, few)]))
    groups, schedule = over["groups"], data.draw(st.integers(0, 2))
    x = numbers(dtype, data.draw(st.integers(1, 3)), *sizes, groups * channels)
    weight, bias = numbers(dtype, *kernel, channels, groups * columns), numbers(dtype, groups * columns)
    window = module.checks.conv(x, weight, bias, **over, slope=1.0, dtypes=module.HALF_TOO)
    g = numbers(dtype, len(x), *window.out, groups * columns, seed=1)
    assert_agrees(cupy, "conv", path, (x, weight, bias), schedule, slope=0.2, **over)
    received = numbers(dtype, *kernel, groups * columns, channels, seed=1)
    assert_agrees(cupy, "conv_transpose", path, (g, received), schedule, **over)
    assert_agrees(cupy, "conv_weight_grad", path, (x, g, kernel), schedule, **over)


@pytest.mark.parametrize("path, tile", [("TF32", 0), ("TF32", 1), ("float16", 0)])
def test_larger_tiles(cupy, only, path, tile):
    """More rows, columns and steps than one tile has; and few of each."""
    only(module.TILES[tile])
    dtype = PATHS[path][0]
    for channels, columns in ((8, 136), (136, 8)):
        x, weight = numbers(dtype, 1, 12, 11, channels), numbers(dtype, 3, 1, channels, columns)
        assert_agrees(cupy, "conv", path, (x, weight), padding=(1, 0))
        assert_agrees(cupy, "conv_weight_grad", path, (x, numbers(dtype, 1, 12, 11, columns), (3, 1)), padding=(1, 0))


# ---- what else is promised ---------------------------------------------------------------------------------


@paths
def test_the_same_bits_in_any_order_of_threads(cupy, path):
    dtype = PATHS[path][0]
    x, weight = numbers(dtype, 2, 17, 16, 16), numbers(dtype, 3, 3, 16, 8)
    g = numbers(dtype, 2, 17, 16, 8)
    for name, arrays in (("conv", (x, weight)), ("conv_weight_grad", (x, g, (3, 3)))):
        first, *others = [on_gpu(cupy, name, path, arrays, schedule, padding=1) for schedule in range(3)]
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_the_same_bits_in_any_tile(cupy, only):
    x, weight = numbers("float32", 1, 9, 8, 16), numbers("float32", 3, 3, 16, 72)
    results = []
    for tile in module.TILES:
        only(tile)
        results.append(on_gpu(cupy, "conv", "TF32", (x, weight), padding=1))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_precision_is_what_was_asked_for(cupy):
    """float32 products are exact unless TF32 is allowed; then they are not."""
    x, weight = numbers("float32", 64, 64), numbers("float32", 64, 64)
    exact = x.astype(np.float64) @ weight
    highest, high = (np.abs(on_gpu(cupy, "matmul", path, (x, weight)) - exact).max() for path in ("float32", "TF32"))
    assert highest < 2e-5 < high


def test_nan_and_infinity_are_passed_on(cupy):
    x = np.ones((1, 6, 4), np.float32)
    x[0, 1, 0], x[0, 4, 1] = np.nan, np.inf
    for path in ("float32", "TF32"):
        y = on_gpu(cupy, "conv", path, (x, np.ones((1, 4, 4), np.float32)))
        assert np.isnan(y[0, 1]).all() and np.isposinf(y[0, 4]).all() and np.isfinite(y[0, [0, 2, 3, 5]]).all()


def test_a_view_of_weights_that_do_not_begin_at_16_bytes(cupy):
    x, weight = numbers("float32", 5, 8), numbers("float32", 9, 8)
    flat = cupy.asarray(np.concatenate([[9], weight.reshape(-1)[:64]]).astype(np.float32))
    y = on_cpu(cuda.matmul(cupy.asarray(x), flat[1:].reshape(8, 8)))
    assert_close(y, x.astype(np.float64) @ weight[:8], 2e-5)


def test_more_pixels_than_32_bits_count_are_refused():
    pixel = module.checks.Window((1,), (1,), (0,), (1,), (2**21,))
    with pytest.raises(ValueError, match=r"2147483648 pixels and 2097152 numbers in a sample; .* to 2\*\*31"):
        module.plan_of(pixel, (1024, 2**21, 1), 1, 1, 1)


@pytest.mark.parametrize("rows, columns", [(2**17, 2**15), (2**16, 2**15)])
def test_more_weights_than_32_bits_count_are_refused(monkeypatch, rows, columns):
    b = SimpleNamespace(shape=(rows, columns))
    matmul = import_module("kernels.cuda.matmul")
    monkeypatch.setattr(matmul.checks, "matmul", lambda *args, **settings: None)  # b would take 8 GB
    monkeypatch.setattr(matmul, "empty", lambda *args: None)
    with pytest.raises(ValueError, match=rf"the weight has {rows * columns} numbers; .* count to 2\*\*31"):
        matmul.matmul(SimpleNamespace(shape=(2, rows)), b)


@pytest.fixture
def small_blocks(monkeypatch):
    """An emulated GPU of one multiprocessor, whose blocks have as little shared memory as those of sm_86."""
    attributes = {"MultiProcessorCount": 1, "MaxSharedMemoryPerBlockOptin": 99 << 10}
    monkeypatch.setattr(fake_cuda.Device, "attributes", attributes)
    monkeypatch.setattr(launch, "_attributes", {})


def test_tiles_fit_the_shared_memory_of_the_gpu(cupy, small_blocks):
    """The largest tile would be chosen on one multiprocessor; 99 KB are too little for it."""
    x, weight = numbers("float32", 128, 8), numbers("float32", 8, 128)
    assert_agrees(cupy, "matmul", "TF32", (x, weight))
    assert_agrees(cupy, "conv_weight_grad", "TF32", (x[None], numbers("float32", 1, 128, 128), (1,)))


@pytest.mark.parametrize("arch, tile", [(80, "128, 128"), (86, "128, 64"), (89, "128, 64"), (120, "128, 64")])
def test_large_products_on_gpus_with_little_shared_memory(arch, tile):
    with recording(arch) as (cupy, launches):
        cuda.matmul(cupy.empty((2**15, 512), "float32"), cupy.empty((512, 1024), "float32"))
        cuda.conv_weight_grad(*[cupy.empty((1, 2**15, 1024), "float32")] * 2, 1)
    large = [launch for launch in launches if launch.kernel.startswith(("convolve", "weight_grad"))]
    assert len(large) == 2 and all(f"{tile}, 4, 4>" in launch.kernel for launch in large)


@paths
def test_an_image_does_not_depend_on_its_batch(cupy, only, path):
    """To the bit: at any place in a tile, and in any tile, which the number of images has a part in choosing."""
    dtype = PATHS[path][0]
    x, weight, tiles = numbers(dtype, 3, 9, 9, 40), numbers(dtype, 3, 3, 40, 24), module.TILES
    results = []
    for tile in tiles:
        only(tile)
        results.append(on_gpu(cupy, "conv", path, (x, weight), padding=1))
        np.testing.assert_array_equal(results[-1], results[0])
    np.testing.assert_array_equal(on_gpu(cupy, "conv", path, (x[1:2], weight), padding=1), results[0][1:2])


def test_large_products_get_large_tiles_and_small_ones_fill_the_gpu(cupy):
    x = cupy.asarray(numbers("float32", 1))
    chosen = [
        module.tile_for(x, rows, columns, 1)[:2] for rows, columns in ((2**16, 512), (2**16, 64), (256, 64), (2**16, 3))
    ]
    assert chosen == [(128, 128), (128, 64), (64, 64), (128, 64)]
    assert module.tile_for(x.astype(np.float64), 2**16, 512, 1) == module.SMALL
