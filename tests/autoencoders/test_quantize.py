"""The codebook: nearest codes by brute force, its moves against their closed form, restarts, and what is said of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import minigen
from minigen import Tensor
from minigen.autoencoders import VectorQuantizer, code_counts, dead_codes_notice, perplexity, straight_through


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def quantizer(codebook, counts, **settings):
    """A quantiser with this codebook and these counts."""
    made = VectorQuantizer(*codebook.shape, **settings)
    counts = np.array(counts, np.float32)
    made.load_state_dict({"counts": counts, "sums": (codebook * counts[:, None]).astype(np.float32)})
    return made


def test_straight_through_has_the_values_of_one_and_the_gradient_of_the_other():
    x, quantized = minigen.tensor(vectors(4, 3) * 1e4, requires_grad=True), minigen.tensor(vectors(4, 3, seed=1))
    quantized.requires_grad_()
    y = straight_through(x, quantized)
    np.testing.assert_array_equal(y.numpy(), quantized.numpy())  # to the last bit
    g = vectors(4, 3, seed=2)
    y.backward(Tensor(g))
    np.testing.assert_array_equal(x.grad.numpy(), g)
    assert quantized.grad is None


def test_straight_through_of_two_shapes_is_refused():
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\) but quantized \(3,\)"):
        straight_through(Tensor(vectors(2, 3)), Tensor(vectors(3)))


@given(seed=st.integers(0, 2**32 - 1), codes=st.integers(1, 9), size=st.integers(1, 5))
def test_the_nearest_code_is_that_of_a_brute_force_search(seed, codes, size):
    codebook, z = vectors(codes, size, seed=seed), vectors(2, 4, 3, size, seed=seed + 1)
    made = quantizer(codebook, np.arange(1, codes + 1)).eval()
    quantized, chosen = made(Tensor(z))
    distances = ((z[..., None, :].astype(float) - made.codebook.numpy()) ** 2).sum(-1)
    assert chosen.shape == (2, 4, 3)
    picked = np.take_along_axis(distances, chosen.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(picked, distances.min(-1), atol=1e-4)  # of two codes equally near, either
    np.testing.assert_array_equal(quantized.numpy(), made.codebook.numpy()[chosen.numpy()])
    np.testing.assert_array_equal(made.embed(chosen).numpy(), quantized.numpy())


def test_the_gradient_of_the_encoder_is_that_of_the_quantised_vectors():
    made, z = quantizer(vectors(6, 3), np.ones(6)), minigen.tensor(vectors(5, 3, seed=1), requires_grad=True)
    quantized, _ = made(z)
    (quantized * quantized).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), 2 * quantized.numpy())
    assert list(made.parameters()) == []  # the codebook is not for an optimiser


def test_the_codebook_moves_as_in_appendix_a_1():
    codebook, counts, decay = vectors(3, 2), np.array([5.0, 7.0, 9.0]), 0.9
    made = quantizer(codebook, counts, decay=decay)
    sums = codebook * counts[:, None]
    for step in range(4):
        z = vectors(4, 5, 2, seed=step + 1)
        _, codes = made(Tensor(z))
        for k in range(3):
            chose = z[codes.numpy() == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(chose)
            sums[k] = decay * sums[k] + (1 - decay) * chose.sum(0)
    np.testing.assert_allclose(made.counts.numpy(), counts, rtol=1e-5)
    np.testing.assert_allclose(made.codebook.numpy(), sums / counts[:, None], rtol=1e-4, atol=1e-6)


def test_codes_become_the_means_of_the_vectors_that_choose_them():
    centres = np.array([[0.0, 10], [10, 0], [-10, 0]], np.float32)
    z = centres[np.arange(60) % 3] + 0.1 * vectors(60, 2)
    made = quantizer(centres + 1, np.ones(3), decay=0.5)
    for _ in range(40):
        made(Tensor(z))
    np.testing.assert_allclose(made.codebook.numpy(), [z[i::3].mean(0) for i in range(3)], atol=1e-4)


def test_in_evaluation_the_codebook_stays():
    made = VectorQuantizer(8, 3).eval()
    before, draw = made.state_dict(), minigen.random.default_generator.draw
    made(Tensor(vectors(10, 3)))
    assert minigen.random.default_generator.draw == draw
    for name, values in made.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_dead_codes_start_again_from_vectors_of_the_batch_and_the_others_go_on():
    codebook = np.array([[0.0, 0], [100, 100], [200, 200]], np.float32)  # no vector chooses the last two
    made = quantizer(codebook, [2, 1, 5], decay=0.9)
    z = vectors(20, 2)
    made(Tensor(z))
    after, counts = made.codebook.numpy(), made.counts.numpy()
    np.testing.assert_allclose(after[0], (0.1 * z.sum(0)) / (0.9 * 2 + 0.1 * 20), rtol=1e-4)
    assert (after[1] == z).all(1).any() and counts[1] == 1  # 0.9 < 1: dead
    np.testing.assert_allclose(after[2], codebook[2], rtol=1e-6)  # 4.5: not yet
    np.testing.assert_allclose(counts[2], 4.5)


def test_a_new_codebook_starts_from_the_first_batch():
    minigen.manual_seed(0)
    made, z = VectorQuantizer(50, 4), 100 + vectors(200, 4)
    made(Tensor(z))  # one code is the nearest to all; the others restart
    from_the_batch = (made.codebook.numpy()[:, None] == z).all(-1).any(-1)
    assert from_the_batch.sum() >= 49


def test_restarts_are_random_numbers_of_the_seed():
    def codebook(seed):
        minigen.manual_seed(0)
        made = VectorQuantizer(30, 4)
        minigen.manual_seed(seed)
        made(Tensor(vectors(100, 4)))
        return made.codebook.numpy()

    np.testing.assert_array_equal(codebook(1), codebook(1))
    assert not np.array_equal(codebook(1), codebook(2))


def test_a_run_continues_from_its_buffers():
    minigen.manual_seed(0)
    whole, resumed = VectorQuantizer(12, 3), VectorQuantizer(12, 3)
    whole(Tensor(vectors(40, 3)))
    resumed.load_state_dict(whole.state_dict())
    generator = minigen.random.default_generator
    draw = generator.state_dict()
    whole(Tensor(vectors(40, 3, seed=1)))
    generator.load_state_dict(draw)
    resumed(Tensor(vectors(40, 3, seed=1)))
    for name, values in whole.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], values)


def test_on_a_gpu_it_moves_the_same_way(cupy):
    made = {}
    for device in ("cpu", "cuda"):
        minigen.manual_seed(3)
        made[device] = VectorQuantizer(10, 4).to(device)
        z = [minigen.tensor(vectors(30, 4, seed=s), device=device, requires_grad=True) for s in range(3)]
        results = [made[device](batch) for batch in z]
        results[0][0].sum().backward()
        made[f"{device} codes"] = [codes.numpy() for _, codes in results]
        assert z[0].grad.device == made[device].codebook.device
    np.testing.assert_array_equal(made["cpu codes"], made["cuda codes"])
    for name, values in made["cpu"].state_dict().items():
        np.testing.assert_allclose(made["cuda"].state_dict()[name], values, rtol=1e-5, atol=1e-6)
    counts = cupy.asarray(np.array([4, 0, 4]))
    np.testing.assert_array_equal(code_counts(results[0][1], 10), np.bincount(made["cpu codes"][0], minlength=10))
    assert math.isclose(perplexity(counts), 2) and "1 of 3" in dead_codes_notice(counts)


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"decay": 0.0}, {"restart_below": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="decay must be between 0 and 1, and restart_below positive"):
        VectorQuantizer(4, 2, **settings)


@pytest.mark.parametrize("sizes", [(0, 2), (4, 0)])
def test_an_empty_codebook_is_refused(sizes):
    with pytest.raises(ValueError, match="num_codes and code_size must be positive, got"):
        VectorQuantizer(*sizes)


def test_no_vectors_move_no_codebook():
    made, nothing = VectorQuantizer(4, 2), Tensor(np.zeros((0, 3, 2), np.float32))
    with pytest.raises(ValueError, match=r"in training it needs at least one vector, got z of shape \(0, 3, 2\)"):
        made(nothing)
    assert made.eval()(nothing)[1].shape == (0, 3)


def test_vectors_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"codes have 2 numbers, but z has shape \(5, 3\)"):
        VectorQuantizer(4, 2)(Tensor(vectors(5, 3)))


def test_code_counts_of_codes_in_any_shape():
    np.testing.assert_array_equal(code_counts(np.array([[0, 2], [2, 2]]), 4), [1, 0, 3, 0])
    np.testing.assert_array_equal(code_counts(Tensor(np.zeros((0, 2), int)), 2), [0, 0])
    for codes in ([5], [-1, 2]):
        with pytest.raises(ValueError, match="code_counts: codes must be from 0 to 2, got"):
            code_counts(codes, 3)


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 1000)).filter(np.any))
def test_perplexity_is_between_1_and_the_number_of_used_codes(counts):
    assert 1 - 1e-9 <= perplexity(counts) <= np.count_nonzero(counts) * (1 + 1e-9)


@given(st.integers(1, 50), st.integers(1, 1000), st.integers(0, 20))
def test_perplexity_of_codes_used_equally_is_their_number(used, times, unused):
    assert math.isclose(perplexity([times] * used + [0] * unused), used)


def test_perplexity_of_an_uneven_use():
    assert math.isclose(perplexity(np.array([1, 1, 2])), 2**1.5)  # an entropy of 1.5 bits


def test_no_codes_have_no_perplexity():
    with pytest.raises(ValueError, match="no code was used"):
        perplexity(np.zeros(3, int))


def test_dead_codes_are_said_in_a_sentence():
    assert dead_codes_notice([3, 1, 2]) is None
    assert dead_codes_notice([0] * 12 + [5] * 116).startswith("12 of 128 codes are dead: ")
