"""The attention of the specification against loops over queries, and its gradients against differences."""

import math

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cpu.attention import flat, key_spans
from kernels.cpu.jit import get_num_threads, set_num_threads

from .numeric import assert_gradients_match, gradients

RNG = np.random.default_rng(0)
BOOL_MASK = np.array([[True, False, True, True], [False] * 4, [True, True, False, True]])  # query 1 sees nothing
ADDED_MASK = np.where(BOOL_MASK, RNG.standard_normal((2, 1, 3, 4)), -np.inf)
SETTINGS = [
    dict(),
    dict(is_causal=True),
    dict(mask=BOOL_MASK),
    dict(mask=BOOL_MASK[:, :1]),
    dict(mask=ADDED_MASK, scale=0.3),
    dict(mask=ADDED_MASK[:, :, 0, 0].reshape(2, 1, 1, 1), is_causal=True),
    dict(mask=RNG.standard_normal((2, 1, 4))),  # one for each head
]


def example():
    rng = np.random.default_rng(1)
    shapes = (2, 3, 2, 3), (2, 4, 2, 3), (2, 4, 2, 5)  # q, k, v
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("settings", SETTINGS)
def test_attention_is_a_weighted_mean_of_values(settings):
    q, k, v = example()
    out, lse = reference.attention(q, k, v, **settings)
    scale = settings.get("scale", 1 / math.sqrt(3))
    mask = np.broadcast_to(settings.get("mask", True), (2, 2, 3, 4))
    for n, h, i in np.ndindex(2, 2, 3):
        weights = np.zeros(4)
        for s in range(4):
            allowed = not (settings.get("is_causal") and s > i)
            if allowed:
                added = mask[n, h, i, s] if mask.dtype != bool else (0 if mask[n, h, i, s] else -math.inf)
                weights[s] = math.exp(scale * (q[n, i, h] @ k[n, s, h]) + added)
        total = weights.sum()
        expected = weights @ v[n, :, h] / total if total else np.zeros(5)
        np.testing.assert_allclose(out[n, i, h], expected, atol=1e-13)
        np.testing.assert_allclose(lse[n, h, i], math.log(total) if total else -math.inf)


@pytest.mark.parametrize("module", [reference, cpu])
@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients(module, settings):
    q, k, v = example()
    out, lse = reference.attention(q, k, v, **settings)
    g = np.random.default_rng(2).standard_normal(out.shape)
    got = module.attention_backward(g, out, lse, q, k, v, **settings)
    assert_gradients_match(got, gradients(lambda *a: reference.attention(*a, **settings)[0], (q, k, v), g))


@pytest.mark.parametrize("module", [reference, cpu])
def test_a_row_that_sees_nothing_gives_zero(module):
    q, k, v = example()
    for keys, mask in ((4, np.zeros((3, 4), bool)), (0, None)):
        k_seen, v_seen = k[:, :keys], v[:, :keys]
        out, lse = module.attention(q, k_seen, v_seen, mask)
        assert not out.any() and np.isneginf(lse).all()
        for gradient in module.attention_backward(out + 1, out, lse, q, k_seen, v_seen, mask):
            assert not gradient.any()


@pytest.mark.parametrize("module", [reference, cpu])
def test_large_scores_do_not_overflow(module):
    q = np.full((1, 3, 1, 4), 1e3, np.float32)
    v = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    with np.errstate(over="raise", invalid="raise"):
        out, lse = module.attention(q, q, v)
    np.testing.assert_allclose(out.ravel(), 1, rtol=1e-6)
    np.testing.assert_allclose(lse.ravel(), 2e6 + math.log(3), rtol=1e-6)


def test_rising_scores_over_many_tiles():
    """The running maximum moves in every tile, by far more than exp can span."""
    keys = np.linspace(-3000, 3000, 500).reshape(1, 500, 1, 1)
    q, v = np.array([1.0, -1.0]).reshape(1, 2, 1, 1), np.arange(500.0).reshape(1, 500, 1, 1)
    out, lse = cpu.attention(q, keys, v, scale=1.0)
    expected, expected_lse = reference.attention(q, keys, v, scale=1.0)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(lse, expected_lse, rtol=1e-14)


def test_views_of_one_projection_are_read_where_they_are():
    qkv = np.random.default_rng(3).standard_normal((2, 70, 3, 2, 5)).astype(np.float32)
    views = [qkv[:, :, i] for i in range(3)]
    assert all(np.shares_memory(flat(view)[0], qkv) for view in views)
    copies = [view.copy() for view in views]
    got, expected = cpu.attention(*views), cpu.attention(*copies)
    g = got[0][:, ::-1]
    got += cpu.attention_backward(g, *got, *views)
    expected += cpu.attention_backward(g.copy(), *expected, *copies)
    for a, b in zip(got, expected):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("settings", [dict(), dict(is_causal=True), dict(mask=RNG.random((330, 1100)) < 0.01)])
def test_long_sequences_of_few_heads(settings, dtype, tolerance):
    """Longer than a task: the keys of a head are cut into spans, whose parts of dq are summed."""
    rng = np.random.default_rng(4)
    q, k, v, g = (
        rng.standard_normal((1, n, 1, d)).astype(dtype) for n, d in ((330, 9), (1100, 9), (1100, 33), (330, 33))
    )
    assert key_spans(1, 1100) > 2
    out, lse = reference.attention(q.astype(float), k.astype(float), v.astype(float), **settings)
    expected = reference.attention_backward(*(a.astype(float) for a in (g, out, lse, q, k, v)), **settings)
    results, threads = [], get_num_threads()
    for n in {1, threads}:
        set_num_threads(n)
        got = cpu.attention(q, k, v, **settings)
        results.append((*got, *cpu.attention_backward(g, *got, q, k, v, **settings)))
    for a, b in zip(results[0], results[-1]):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(results[0], (out, lse, *expected)):
        finite = np.isfinite(b)
        np.testing.assert_array_equal(a[~finite], b[~finite])
        assert np.abs(a[finite] - b[finite]).max() <= tolerance * max(1, np.abs(b[finite]).max())


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_a_query_that_is_not_finite_spoils_its_own_row_only(what):
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, 70, 1, 4)).astype(np.float32) for _ in range(3))
    out, lse = cpu.attention(q, k, v)
    dq, *_ = cpu.attention_backward(out, out, lse, q, k, v)
    q[0, [5, 63]] = what
    others = np.delete(np.arange(70), [5, 63])
    with np.errstate(invalid="ignore"):
        spoilt, lse = cpu.attention(q, k, v)
        dq_spoilt, dk, dv = cpu.attention_backward(out, spoilt, lse, q, k, v)
    for a, b in ((spoilt, out), (dq_spoilt, dq)):
        np.testing.assert_array_equal(a[0, others], b[0, others])
        assert np.isnan(a[0, [5, 63]]).all()
    assert np.isnan(dk).all() and np.isnan(dv).all()
