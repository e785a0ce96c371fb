"""Attention on the GPU: each way that products are taken, at sizes around its tiles, masked in every way."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import booleans, integers, sampled_from

from kernels import cuda, reference
from kernels.precision import float32_matmul_precision
from tests.kernels.test_agreement import assert_close

from .arrays import on_cpu, on_device, scheduled

# (dtype, float32_matmul_precision, capability): error, relative to the largest output
WAYS = {
    ("float32", "highest", 80): 2e-5,
    ("float64", "highest", 80): 1e-12,
    ("float32", "high", 80): 2e-3,
    ("float16", "highest", 80): 5e-3,
    ("float16", "highest", 70): 5e-3,  # no tensor cores that these kernels know
}
QUERIES = (0, 1, 31, 32, 33, 63, 64, 65, 129)  # tiles have 64, and up to 128 rows of a head
KEYS = (0, 1, 15, 16, 17, 33, 63, 64, 65)  # 64 go by at a time, or 32, or 16
D = (7, 8, 16, 31, 32)  # with fewer, single products are scores, and rounding them shows
E = (1, 8, 16, 31, 32)


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(map(str, way)))
def way(request, monkeypatch):
    """(dtype, tolerance)."""
    dtype, precision, capability = request.param
    monkeypatch.setattr(import_module("kernels.cuda.launch"), "compute_capability", lambda array: capability)
    with float32_matmul_precision(precision):
        yield dtype, WAYS[request.param]


def random(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def inputs(seed, dtype, samples, heads, queries, keys, d, e):
    """q, k, v and the gradient of out."""
    of_keys = samples, keys, heads
    return random(seed, dtype, (samples, queries, heads, d), (*of_keys, d), (*of_keys, e), (samples, queries, heads, e))


def both_passes(kernels, q, k, v, g, *rest):
    """(out, lse, dq, dk, dv)."""
    out, lse = kernels.attention(q, k, v, *rest)
    return out, lse, *kernels.attention_backward(g, out, lse, q, k, v, *rest)


def in_float64(x):
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def check(cupy, tolerance, *args, on_gpu=None):
    got = both_passes(cuda, *(on_gpu or on_device(cupy, args)))
    expected = both_passes(reference, *[in_float64(a) for a in args])
    for name, fast, truth in zip(("out", "lse", "dq", "dk", "dv"), map(on_cpu, got), expected):
        assert fast.shape == truth.shape
        assert fast.dtype == (np.float32 if name == "lse" and args[0].dtype == np.float16 else args[0].dtype)
        if tolerance >= 1e-3 and name in ("dq", "dk"):
            assert np.abs(fast - truth).max(initial=0) <= tolerance * largest_gradient(expected)
        else:
            assert_close(fast, truth, tolerance)
    return got


def largest_gradient(expected):
    """What rounded products are measured against for dq and dk: these come of differences, p (g v^T - row_sum), which
    for a query that sees one key are 0 but for the rounding of g and v."""
    return max(np.abs(gradient).max(initial=1) for gradient in expected[2:])


@st.composite
def masks(draw, dtype, scores):
    """None, bools or numbers, of any shape that broadcasts to `scores`; some rows see nothing."""
    shape = tuple(draw(sampled_from([1, n])) for n in scores)[draw(integers(0, 3)) :]
    sees = np.random.default_rng(draw(integers(0, 99))).random(shape) < draw(sampled_from([0.1, 0.7]))
    return draw(sampled_from([None, sees, np.where(sees, 0.7, -np.inf).astype(dtype)]))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])  # `way` stays the same
@given(data=st.data())
def test_agrees_with_the_reference(cupy, way, data):
    dtype, tolerance = way
    sizes = data.draw(st.tuples(integers(1, 2), integers(1, 2), sampled_from(QUERIES), sampled_from(KEYS)))
    q, k, v, g = inputs(1, dtype, *sizes, data.draw(sampled_from(D)), data.draw(sampled_from(E)))
    mask = data.draw(masks(dtype, sizes))
    with scheduled(cupy, data.draw(integers(0, 2))):
        check(cupy, tolerance, q, k, v, g, mask, data.draw(booleans()), data.draw(sampled_from([None, 0.3])))


@pytest.mark.parametrize("causal", [False, True])
def test_more_than_one_tile_of_everything(cupy, way, causal):
    dtype, tolerance = way
    check(cupy, tolerance, *inputs(2, dtype, 1, 1, 130, 131, 16, 24), None, causal)


@pytest.mark.parametrize("d, e", [(5, 128), (129, 3)])
def test_large_heads(cupy, way, d, e):
    """Those that tensor cores take, and those that they leave to the exact kernels, which find the scores twice."""
    dtype, tolerance = way
    if dtype == "float16":  # what is left out differs in nothing but its size, and takes long to compile
        d, e = min(d, 64), min(e, 64)
    check(cupy, tolerance, *inputs(3, dtype, 1, 1, 3, 18, d, e))


def test_no_samples(cupy, way):
    dtype, tolerance = way
    check(cupy, tolerance, *inputs(4, dtype, 0, 2, 3, 4, 8, 8))


def test_rows_that_see_nothing(cupy, way):
    dtype, tolerance = way
    sees = np.ones((1, 1, 5, 7), bool)
    sees[..., 2, :] = False
    q, k, v, g = inputs(5, dtype, 1, 2, 5, 7, 8, 8)
    for mask in (sees, np.where(sees, 0, -np.inf).astype(dtype)):
        out, lse, dq, _, _ = check(cupy, tolerance, q, k, v, g, mask)
        assert not on_cpu(out)[:, 2].any() and not on_cpu(dq)[:, 2].any()
        assert np.isneginf(on_cpu(lse)[..., 2]).all()


def test_what_no_query_sees_does_not_count(cupy, way):
    dtype, _ = way
    q, k, v, g = inputs(6, dtype, 1, 1, 3, 40, 8, 8)
    sees = np.arange(40) < 33
    expected = on_device(cupy, [q, k, v, g, sees])
    expected = [on_cpu(x) for x in both_passes(cuda, *expected)]
    k[:, 33:] = v[:, 33:] = 100
    for got, same in zip(both_passes(cuda, *on_device(cupy, [q, k, v, g, sees])), expected):
        np.testing.assert_array_equal(on_cpu(got), same)


def test_large_scores(cupy, way):
    """exp(score) alone would overflow. The scores are whole numbers, so that rounding does not change them."""
    dtype, tolerance = way
    q, k, v, _ = inputs(7, dtype, 1, 1, 4, 70, 8, 8)
    q = (np.sign(q) * 128).astype(dtype)
    k = np.sign(k) * (1 + np.arange(70, dtype=dtype) / 64).reshape(1, 70, 1, 1)
    out, _ = cuda.attention(*on_device(cupy, [q, k, v]), scale=0.5)
    assert_close(on_cpu(out), reference.attention(*map(in_float64, (q, k, v)), scale=0.5)[0], tolerance)


def test_parts_of_one_projection_are_not_copied(cupy, way, monkeypatch):
    dtype, tolerance = way
    (projection,) = random(8, dtype, (2, 9, 5, 2, 8))
    projection[:, :, [1, 3]] = np.nan  # what lies between must not be read
    q, k, v = (projection[:, :, i] for i in (0, 2, 4))
    (g,) = random(9, dtype, q.shape)
    whole = cupy.asarray(projection)
    monkeypatch.setattr(cupy, "ascontiguousarray", None)
    check(cupy, tolerance, q, k, v, g, on_gpu=(whole[:, :, 0], whole[:, :, 2], whole[:, :, 4], cupy.asarray(g)))


def test_views_of_every_kind(cupy, way):
    dtype, tolerance = way
    q, k, v, g = inputs(10, dtype, 2, 2, 6, 5, 8, 8)
    check(cupy, tolerance, q[::-1], k[..., ::2].repeat(2, -1), v.swapaxes(0, 2).copy().swapaxes(0, 2), g[:, ::-1])
    check(cupy, tolerance, q[..., ::2], k[..., ::2], v[:, :, ::-1], g)


def test_a_mask_is_not_expanded(cupy, way, monkeypatch):
    dtype, tolerance = way
    q, k, v, g = inputs(11, dtype, 2, 2, 6, 5, 8, 8)
    sees = np.arange(6).reshape(6, 1) >= np.arange(5)
    moved = *on_device(cupy, [q, k, v, g]), cupy.broadcast_to(cupy.asarray(sees), (2, 2, 6, 5))
    monkeypatch.setattr(cupy, "ascontiguousarray", None)
    check(cupy, tolerance, q, k, v, g, sees, on_gpu=moved)


def test_same_bits_in_any_order_of_threads(cupy, way):
    args = on_device(cupy, [*inputs(12, way[0], 2, 1, 66, 67, 16, 8), None, True])
    with scheduled(cupy, 0):
        first = [on_cpu(x).tobytes() for x in both_passes(cuda, *args)]
    for seed in (1, 2):
        with scheduled(cupy, seed):
            assert [on_cpu(x).tobytes() for x in both_passes(cuda, *args)] == first
