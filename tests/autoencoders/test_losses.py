"""What autoencoders descend on, against SciPy, integrals, enumeration, and a model whose likelihood is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.autoencoders import (
    DiagonalGaussian,
    active_units,
    bernoulli_nll,
    collapse_notice,
    importance_weighted_bound,
    squared_error,
    standard_normal_log_prob,
)
from minigen.gradcheck import gradcheck
from minigen.random import Generator

scipy_stats = pytest.importorskip("scipy.stats")
scipy_integrate = pytest.importorskip("scipy.integrate")

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4)  # (N, ..., C)
seeds = st.integers(0, 2**32 - 1)


def normal(shape, seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


def per_item(x):
    return x.reshape(len(x), -1).sum(1)


# Reconstruction


@given(shapes, seeds)
def test_squared_error_is_a_sum_for_each_item(shape, seed):
    a, b = normal(shape, seed), normal(shape, seed + 1)
    np.testing.assert_allclose(squared_error(Tensor(a), Tensor(b)).numpy(), per_item((a - b) ** 2), rtol=1e-12)


@given(shapes, seeds)
def test_bernoulli_nll_is_scipys(shape, seed):
    logits = normal(shape, seed, 3)
    x = np.random.default_rng(seed).integers(0, 2, shape)
    expected = -per_item(scipy_stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits))))
    np.testing.assert_allclose(bernoulli_nll(Tensor(logits), Tensor(x.astype(float))).numpy(), expected, rtol=1e-9)


def test_the_likelihoods_of_all_binary_images_sum_to_1():
    images = np.array(list(itertools.product([0.0, 1.0], repeat=6))).reshape(64, 3, 2, 1)
    logits = np.broadcast_to(normal((1, 3, 2, 1), 0, 2), images.shape)
    assert np.exp(-bernoulli_nll(Tensor(logits), Tensor(images)).numpy()).sum() == pytest.approx(1, abs=1e-12)


def test_bernoulli_nll_of_sure_pixels_does_not_overflow():
    logits = Tensor(np.array([[1e4, -1e4], [1e4, -1e4]], np.float32))
    x = Tensor(np.array([[1, 0], [0, 1]], np.float32))
    assert bernoulli_nll(logits, x).numpy().tolist() == [0, 2e4]


@pytest.mark.parametrize("loss", [squared_error, bernoulli_nll])
def test_reconstruction_losses(loss):
    a, b = Tensor(normal((3, 2, 4), 0)), Tensor(normal((3, 2, 4), 1))
    gradcheck(loss, [a, b])
    with pytest.raises(ValueError, match=r"shape \(3, 2, 4\) but the target \(3, 2, 1\); they must agree"):
        loss(a, Tensor(np.zeros((3, 2, 1))))


# The posterior


def test_parameters_are_means_then_log_variances():
    parameters = np.arange(24.0).reshape(2, 2, 6) - 12
    q = DiagonalGaussian.from_parameters(Tensor(parameters), low=-5, high=5)
    np.testing.assert_array_equal(q.mean.numpy(), parameters[..., :3])
    np.testing.assert_array_equal(q.log_variance.numpy(), parameters[..., 3:].clip(-5, 5))


def test_extreme_parameters_stay_finite():
    q = DiagonalGaussian.from_parameters(Tensor(np.array([[0, 0, 1e30, -1e30]], np.float32)))
    assert np.isfinite([q.kl().item(), q.log_prob(q.mean).item(), *q.sample(Generator(0)).numpy().ravel()]).all()


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match=r"an even last axis; got \(2, 3\)"):
        DiagonalGaussian.from_parameters(Tensor(np.zeros((2, 3))))
    with pytest.raises(ValueError, match=r"mean \(2, 3\) and log_variance \(2, 1\) must agree"):
        DiagonalGaussian(Tensor(np.zeros((2, 3))), Tensor(np.zeros((2, 1))))


@given(st.floats(-4, 4), st.floats(-4, 3))
@settings(max_examples=30)
def test_kl_is_its_integral(mean, log_variance):
    q = scipy_stats.norm(mean, np.exp(0.5 * log_variance))
    p = scipy_stats.norm(0, 1)
    span = 12 * q.std()
    integral, _ = scipy_integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mean - span, mean + span, points=[mean], limit=200
    )
    kl = DiagonalGaussian(Tensor(np.array([[mean]])), Tensor(np.array([[log_variance]]))).kl().item()
    assert kl == pytest.approx(integral, abs=1e-7)
    assert kl >= 0


@given(shapes, seeds)
def test_kl_adds_up_over_independent_dimensions_and_is_0_at_the_prior_alone(shape, seed):
    mean, log_variance = normal(shape, seed), normal(shape, seed + 1)
    kl = DiagonalGaussian(Tensor(mean), Tensor(log_variance)).kl().numpy()
    each = DiagonalGaussian(Tensor(mean.reshape(-1, 1)), Tensor(log_variance.reshape(-1, 1))).kl().numpy()
    np.testing.assert_allclose(kl, each.reshape(len(mean), -1).sum(1), rtol=1e-12)
    assert (each > 0).all()
    zeros = Tensor(np.zeros(shape))
    np.testing.assert_array_equal(DiagonalGaussian(zeros, zeros).kl().numpy(), 0)


@given(shapes, seeds)
def test_log_probabilities_are_scipys(shape, seed):
    mean, log_variance, z = (normal(shape, seed + i) for i in range(3))
    q = DiagonalGaussian(Tensor(mean), Tensor(log_variance))
    expected = per_item(scipy_stats.norm.logpdf(z, mean, np.exp(0.5 * log_variance)))
    np.testing.assert_allclose(q.log_prob(Tensor(z)).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(
        standard_normal_log_prob(Tensor(z)).numpy(), per_item(scipy_stats.norm.logpdf(z)), rtol=1e-10
    )


def test_samples_follow_the_posterior_and_their_log_ratios_average_to_the_kl():
    """20,000 codes of 3 numbers, fixed seed; each bound is 5 standard errors."""
    n, mean, log_variance = 20_000, np.array([0.5, -2.0, 0.0]), np.array([-1.0, 0.7, 0.0])
    q = DiagonalGaussian(Tensor(np.tile(mean, (n, 1))), Tensor(np.tile(log_variance, (n, 1))))
    z = q.sample(Generator(1))
    std = np.exp(0.5 * log_variance)
    assert (np.abs(z.numpy().mean(0) - mean) < 5 * std / np.sqrt(n)).all()
    assert (np.abs(z.numpy().std(0) - std) < 5 * std / np.sqrt(2 * n)).all()
    ratios = (q.log_prob(z) - standard_normal_log_prob(z)).numpy()
    assert abs(ratios.mean() - q.kl().numpy()[0]) < 5 * ratios.std() / np.sqrt(n)


def test_samples_are_a_function_of_the_generator():
    q = DiagonalGaussian(Tensor(normal((4, 3), 0)), Tensor(normal((4, 3), 1)))
    first = q.sample(Generator(5)).numpy()
    np.testing.assert_array_equal(q.sample(Generator(5)).numpy(), first)
    assert not np.isin(q.sample(Generator(6)).numpy(), first).any()


def test_gradients_of_the_posterior():
    """Also of a sample's: the noise is the same in each evaluation, so z = mean + std eps is a smooth function."""
    parameters, z = Tensor(normal((2, 3, 4), 0)), Tensor(normal((2, 3, 2), 1))
    gradcheck(lambda p: DiagonalGaussian.from_parameters(p).kl(), [parameters], name="kl")
    gradcheck(lambda p: DiagonalGaussian.from_parameters(p).sample(Generator(3)), [parameters], name="sample")
    gradcheck(lambda p, z: DiagonalGaussian.from_parameters(p).log_prob(z), [parameters, z], name="log_prob")
    gradcheck(standard_normal_log_prob, [z])


# Bounds on the likelihood


class LinearGaussian:
    """p(z) = N(0, 1), p(x | z) = N(A z, s^2): so p(x) = N(0, A A^T + s^2), and p(z | x) is normal too.

    The columns of A are orthogonal, so that p(z | x) is independent in each dimension, as q is.
    """

    noise = 0.7

    def __init__(self, seed, n=3, x_size=4, z_size=2):
        self.a = np.linalg.qr(normal((x_size, z_size), seed))[0] * [1.5, 0.8]
        self.x = normal((n, z_size), seed + 1) @ self.a.T + self.noise * normal((n, x_size), seed + 2)
        self.variance = 1 / (1 + (self.a**2).sum(0) / self.noise**2)
        self.mean = self.x @ self.a / self.noise**2 * self.variance

    def log_likelihood(self):
        covariance = self.a @ self.a.T + self.noise**2 * np.eye(len(self.a))
        return scipy_stats.multivariate_normal(np.zeros(len(self.a)), covariance).logpdf(self.x)

    def log_weights(self, samples, generator, shift=0.0, stretch=1.0):
        """(samples, N), with q = p(z | x), its mean shifted and its variance stretched."""
        mean = np.broadcast_to(self.mean + shift, (samples, *self.mean.shape)).reshape(-1, self.mean.shape[1])
        q = DiagonalGaussian(Tensor(mean), Tensor(np.broadcast_to(np.log(stretch * self.variance), mean.shape)))
        z = q.sample(generator)
        errors = np.tile(self.x, (samples, 1)) - z.numpy() @ self.a.T
        log_p_x = per_item(scipy_stats.norm.logpdf(errors, scale=self.noise))
        log_weights = standard_normal_log_prob(z).numpy() + log_p_x - q.log_prob(z).numpy()
        return Tensor(log_weights.reshape(samples, len(self.x)))


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_true_posterior_every_bound_is_the_likelihood(samples):
    model = LinearGaussian(0)
    bound = importance_weighted_bound(model.log_weights(samples, Generator(0)))
    np.testing.assert_allclose(bound.numpy(), model.log_likelihood(), rtol=1e-10)


def test_the_bounds_are_in_order_and_close_in_on_the_likelihood():
    """ELBO <= bound of 10 <= bound of 20,000 ~ log p(x), in averages over repetitions; seeds are fixed."""
    model = LinearGaussian(3)
    log_weights = model.log_weights(20_000, Generator(1), shift=0.4, stretch=1.8).numpy()
    tight = importance_weighted_bound(log_weights).numpy()
    tens = [importance_weighted_bound(w).numpy() for w in log_weights.reshape(-1, 10, len(model.x))]
    elbo = log_weights.mean(0)
    # E[log p(x, z) - log q(z)], in closed form: log p(x) - KL(q || p(z | x))
    d = 0.4**2 / model.variance
    expected = model.log_likelihood() - 0.5 * (1.8 + d - np.log(1.8) - 1).sum()
    np.testing.assert_allclose(elbo, expected, atol=5 * log_weights.std() / np.sqrt(len(log_weights)))
    assert (elbo + 0.1 < np.mean(tens, 0)).all() and (np.mean(tens, 0) + 0.01 < tight).all()
    weights = np.exp(log_weights - model.log_likelihood())  # of mean 1
    np.testing.assert_allclose(tight, model.log_likelihood(), atol=5 * weights.std() / np.sqrt(len(weights)))


@given(st.integers(1, 6), st.integers(1, 4), seeds, st.floats(-1e4, 1e4))
def test_importance_weighted_bound_is_a_logarithm_of_a_mean(k, n, seed, shift):
    log_weights = normal((k, n), seed, 2)
    bound = importance_weighted_bound(Tensor(log_weights)).numpy()
    np.testing.assert_allclose(bound, np.log(np.exp(log_weights).mean(0)), atol=1e-12)
    moved = importance_weighted_bound(Tensor(log_weights + shift)).numpy()  # no overflow, no underflow
    np.testing.assert_allclose(moved, bound + shift, atol=1e-10)
    assert (bound >= log_weights.mean(0) - 1e-12).all()  # Jensen


def test_gradient_of_the_importance_weighted_bound():
    gradcheck(importance_weighted_bound, [Tensor(normal((5, 3), 0))])


# Collapse


def test_active_units_vary_with_the_image(device):
    means = np.zeros((1000, 4), np.float32)
    means[:, 0] = 7  # the same for every image
    means[:, 1] = normal(1000, 0, 0.05)  # of variance 0.0025
    means[:, 2:] = normal((1000, 2), 1, 0.2)  # 0.04
    on_device = Tensor(means).to(device)
    assert active_units(on_device) == active_units(on_device.data) == 2
    assert active_units(on_device, threshold=0.001) == 3


@given(st.integers(1, 300), st.data())
def test_collapse_is_noticed_below_a_quarter(units, data):
    active = data.draw(st.integers(0, units))
    notice = collapse_notice(active, units)
    if active / units >= 0.25:
        assert notice is None
    else:
        assert notice == f"posterior collapse: {active} of {units} latent units active: lower beta or warm it up"


def test_losses_on_a_gpu_are_the_cpus(cupy):
    parameters, z = (Tensor(normal((3, 2, c), 0).astype(np.float32)) for c in (4, 2))

    def everything(device):
        q = DiagonalGaussian.from_parameters(parameters.to(device))
        on_device = z.to(device)
        x = minigen.sigmoid(on_device)
        kinds = [squared_error(on_device, x), bernoulli_nll(on_device, x), q.kl(), q.log_prob(on_device)]
        sample = q.sample(Generator(0))
        values = [*kinds, standard_normal_log_prob(sample), importance_weighted_bound(minigen.stack(kinds))]
        assert all([v.device == on_device.device for v in [sample, *values]])
        return np.stack([v.numpy() for v in values])

    np.testing.assert_allclose(everything("cuda"), everything("cpu"), rtol=1e-5)
