"""The embedding of time and class, and what is refused in their place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.diffusion.embedding import ConditionEmbedding, check_conditions, timestep_embedding
from minigen.nn import functional as F


@given(times=st.lists(st.floats(0, 1000), min_size=1, max_size=4), half=st.integers(1, 6))
def test_timestep_embedding_is_sines_and_cosines(times, half):
    e = timestep_embedding(np.array(times), 2 * half).data
    angles = np.outer(times, 10000.0 ** (-np.arange(half) / half))
    np.testing.assert_allclose(e, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-6)
    assert e.dtype == np.float32


def test_integer_and_float_times_are_alike():
    whole = timestep_embedding(np.array([0, 5, 999]), 8).data
    np.testing.assert_array_equal(timestep_embedding(np.array([0.0, 5.0, 999.0], np.float32), 8).data, whole)
    np.testing.assert_array_equal(timestep_embedding(Tensor(np.array([0, 5, 999])), 8).data, whole)
    np.testing.assert_array_equal(whole[0], [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_time_and_class_are_added_in_the_networks_dtype(dtype):
    minigen.manual_seed(0)
    embed, t, labels = ConditionEmbedding(8, 6, num_classes=3).astype(dtype), np.array([3.5, 700]), np.array([2, 3])
    h = embed.time2(F.silu(embed.time1(timestep_embedding(t, 8).astype(dtype))))
    expected = F.silu(h + embed.classes.weight.data[labels])
    y = embed(t, labels)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-6)
    assert ConditionEmbedding(8, 6).classes is None


def test_bad_conditions_are_named():
    t = np.array([1, 2])
    check_conditions("UNet", 2, t, None, None)
    check_conditions("UNet", 2, t, [0, 4], 4)
    check_conditions("UNet", 2, t, Tensor(np.array([0, 4])), 4)
    check_conditions("UNet", 0, t[:0], np.zeros(0, int), 4)
    for n, labels, classes, message in (
        (3, None, None, r"UNet: t must hold one timestep for each of 3 samples, got shape \(2,\)"),
        (2, [0, 1], None, r"UNet: made without classes \(num_classes=K\), but called with labels"),
        (2, None, 4, "UNet: made with num_classes=4, but called without labels"),
        (2, [0], 4, r"labels must be one integer for each of 2 samples, got int64 of shape \(1,\)"),
        (2, [[0, 1]], 4, r"one integer for each of 2 samples, got int64 of shape \(1, 2\)"),
        (2, np.array([0.0, 1.0]), 4, r"one integer for each of 2 samples, got float64 of shape \(2,\)"),
        (2, [0, 5], 4, "labels must be from 0 to 4, which means no class, got 0 to 5"),
        (2, [-1, 3], 4, "labels must be from 0 to 4, which means no class, got -1 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            check_conditions("UNet", n, t, labels, classes)
    with pytest.raises(ValueError, match=r"ConditionEmbedding: channels must be even, .* got 7"):
        ConditionEmbedding(7, 6)
