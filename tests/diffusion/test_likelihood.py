"""Exact likelihoods of data whose density is known, and the variational bound, which must be above them."""

import numpy as np
import pytest

import minigen
from minigen import Tensor
from minigen.diffusion import (
    Diffusion,
    Timetable,
    bits_per_dimension,
    convert,
    linear_schedule,
    log_likelihood,
    zero_terminal_snr,
)
from minigen.diffusion.variational import bound_terms
from minigen.random import Generator

from .exact import MixtureDenoiser

GAUSSIAN = MixtureDenoiser([0.3], [0.5], [1.0])
MIXTURE = MixtureDenoiser([-0.7, 0.4], [0.2, 0.35], [0.4, 0.6])


def levels(steps, smallest=0.002, largest=80.0):
    return Timetable(1 / (1 + np.geomspace(largest, smallest, steps + 1) ** 2))


@pytest.mark.parametrize("denoiser", [GAUSSIAN, MIXTURE], ids=["Gaussian", "mixture"])
def test_log_likelihood_is_that_of_the_density(denoiser):
    """Numbers are independent, so the Jacobian is diagonal, and one vector of signs gives its trace exactly."""
    x0 = 0.5 * minigen.randn(6, 3, 2, dtype=np.float64, generator=Generator(1))
    expected = denoiser.log_density(x0, 1.0 - 1e-12).data.sum(axis=(1, 2))
    got = log_likelihood(denoiser, x0, levels(600, largest=1000), generator=Generator(2))
    np.testing.assert_allclose(got, expected, atol=0.02)
    coarse, fine, finest = (log_likelihood(denoiser, x0, levels(n), generator=Generator(2)) for n in (40, 80, 160))
    assert np.abs(fine - finest).max() < np.abs(coarse - fine).max() / 3  # second order: a quarter


class Correlated(MixtureDenoiser):
    """Data A z with normal z: E[x0 | x] = alpha S (alpha^2 S + beta^2)^-1 x, S = A A^T. Not diagonal."""

    A = np.array([[1.0, 0.4, 0.0], [0.0, 0.5, -0.3], [0.2, 0.0, 0.7]])

    def __init__(self):
        self.covariance = self.A @ self.A.T

    def __call__(self, x, alpha_bar):
        S = self.covariance
        return x @ (np.sqrt(alpha_bar) * S @ np.linalg.inv(alpha_bar * S + (1 - alpha_bar) * np.eye(3))).T


def test_hutchinsons_estimate_has_the_right_mean():
    denoiser = Correlated()
    x0 = Tensor(np.random.default_rng(0).standard_normal((1, 3)) @ denoiser.A.T)
    inverse, (_, log_det) = np.linalg.inv(denoiser.covariance), np.linalg.slogdet(denoiser.covariance)
    expected = -0.5 * (x0.data @ inverse * x0.data).sum(1) - log_det / 2 - 1.5 * np.log(2 * np.pi)
    many = Tensor(np.repeat(x0.data, 400, 0))
    got = log_likelihood(denoiser, many, levels(100, 0.01), generator=Generator(3))
    assert got.std() > 0.01  # it is an estimate
    assert abs(got.mean() - expected[0]) < 6 * got.std() / 20 + 0.01
    more = log_likelihood(denoiser, many, levels(100, 0.01), probes=4, generator=Generator(3))
    assert more.std() < 0.7 * got.std()


class Exact:
    """The network that knows all about N(mean, std^2), number by number: the answer, and the variance of p(x_prev | x),
    which is that of q(x_prev | x, x0) and what is not known of x0."""

    def __init__(self, diffusion, mean, std):
        self.diffusion, self.std, self.denoiser = diffusion, std, MixtureDenoiser([mean], [std], [1.0])

    def __call__(self, x, t):
        if np.all(t == t[0]):
            return self.of_one(x, int(t[0]))
        return minigen.concatenate([self.of_one(x[i : i + 1], int(t[i])) for i in range(len(x))])

    def of_one(self, x, t):
        table = self.diffusion.alphas_cumprod
        a, prev = float(table[t]), float(table[t - 1]) if t else 1.0
        answer = convert(self.denoiser(x, a), x, a, "x0", self.diffusion.prediction)
        if self.diffusion.variance == "fixed":
            return answer
        beta, posterior = 1 - a / prev, (1 - a / prev) * (1 - prev) / (1 - a)
        unknown = self.std**2 * (1 - a) / (a * self.std**2 + 1 - a)
        true = posterior + (np.sqrt(prev) * beta / (1 - a)) ** 2 * unknown
        v = np.log(true / posterior) / np.log(beta / posterior) if t else 0.0
        return minigen.concatenate([answer, answer * 0.0 + (2 * v - 1)], axis=-1)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_the_bound_is_just_above_the_entropy(prediction):
    """8-bit data from a Gaussian and the exact network, its variances included, or those of the posterior, which are
    too small by a factor of up to two in the last steps. The entropy of the values is that of the density and of a
    bin's width."""
    values = np.random.default_rng(0).normal(0.0, 0.25, (10, 200)) * np.linspace(0.5, 1.5, 10)[:, None]
    x0 = Tensor(np.round((values + 1) * 127.5) / 127.5 - 1)
    log_density = MixtureDenoiser([0.0], [0.25], [1.0]).log_density(x0, 1 - 1e-12).data
    truth = -log_density.mean(axis=1) / np.log(2) + np.log2(127.5)
    bits = {}
    for variance in ("learned", "fixed"):
        diffusion = Diffusion(200, "linear", prediction, variance)
        bits[variance] = bits_per_dimension(diffusion, Exact(diffusion, 0.0, 0.25), x0, 200, Generator(1)).data
    assert -0.01 < bits["learned"].mean() - truth.mean() < 0.05
    assert np.corrcoef(bits["learned"], truth)[0, 1] > 0.95
    assert bits["fixed"].mean() > bits["learned"].mean() + 0.1


def test_terms_are_the_divergence_of_two_gaussians():
    """KL(N(m1, s1^2) || N(m2, s2^2)) = log(s2 / s1) + (s1^2 + (m1 - m2)^2) / 2 s2^2 - 1/2."""
    diffusion, rng = Diffusion(100, "linear", "eps", variance="learned"), np.random.default_rng(0)
    x0, x_t, out, rest = (Tensor(rng.standard_normal((3, 4, 2))) for _ in range(4))
    t = np.array([1, 40, 99])
    got = bound_terms(diffusion, x_t, out, rest, x0, t).data
    abar = diffusion.alphas_cumprod
    for n, step in enumerate(t):
        a, prev = abar[step], abar[step - 1]
        beta = 1 - a / prev
        x0_hat = (x_t.data[n] - np.sqrt(1 - a) * out.data[n]) / np.sqrt(a)

        def mean(x0, n=n, a=a, prev=prev, beta=beta):
            return np.sqrt(prev) * beta / (1 - a) * x0 + np.sqrt(1 - beta) * (1 - prev) / (1 - a) * x_t.data[n]

        s1 = np.sqrt(beta * (1 - prev) / (1 - a))
        v = (rest.data[n] + 1) / 2
        s2 = np.sqrt(beta**v * (s1**2) ** (1 - v))
        kl = np.log(s2 / s1) + (s1**2 + (mean(x0.data[n]) - mean(x0_hat)) ** 2) / (2 * s2**2) - 0.5
        assert np.isclose(got[n], kl.mean(), rtol=1e-9)


def test_the_last_term_counts_every_value_once():
    """The chances of all 256 values under the last Gaussian are 1 together."""
    diffusion = Diffusion(100, "linear", "x0")
    values = Tensor((np.arange(256) / 127.5 - 1)[:, None])
    t = np.zeros(256, int)
    for x0_hat in (-1.0, 0.37):
        x_t, out = Tensor(np.full((256, 1), x0_hat)), Tensor(np.full((256, 1), x0_hat))
        nats = bound_terms(diffusion, x_t, out, None, values, t).data
        assert np.isclose(np.exp(-nats).sum(), 1, atol=1e-6)


def test_the_bound_trains_the_variance_and_leaves_the_prediction_alone():
    x0 = Tensor(np.random.default_rng(0).normal(0, 0.25, (64, 8)))
    scale, share = Tensor(np.full(1, 1.1), True), Tensor(np.full(1, -1.0), True)

    def network(x, t):
        answer = Exact(Diffusion(20, "linear"), 0.0, 0.25)(x, t) * scale
        return minigen.concatenate([answer, minigen.broadcast_to(share, answer.shape)], axis=-1)

    Diffusion(20, "linear", variance="learned").loss(network, x0, Generator(1)).backward()
    with_bound, scale.grad = scale.grad.data, None
    assert share.grad.data[0] < 0  # more than the least variance is wanted
    Diffusion(20, "linear").loss(lambda x, t: network(x, t)[:, :8], x0, Generator(1)).backward()
    np.testing.assert_allclose(with_bound, scale.grad.data, rtol=1e-9)


def test_samples_of_learned_variance_follow_the_data():
    """p(x_prev | x) of Gaussian data is Gaussian: with its own variance, even 10 steps are exact."""
    std, got = 0.7, {}
    for variance in ("learned", "fixed"):
        diffusion = Diffusion(10, "linear", "eps", variance)
        got[variance] = diffusion.sample(Exact(diffusion, 0.2, std), (100, 400), 1, 10, "ddpm", clip=None).data
    # the last step gives E[x0 | x], whose variance is that of x0 less Var[x0 | x]
    a = diffusion.alphas_cumprod[0]
    expected = np.sqrt(std**2 - std**2 * (1 - a) / (a * std**2 + 1 - a))
    assert abs(got["learned"].std() - expected) < 6 * expected / np.sqrt(2 * 40000) + 0.005
    assert got["fixed"].std() < got["learned"].std() - 0.02


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: log_likelihood(GAUSSIAN, minigen.randn(2, 3), levels(5), 0),
            "probes must be at least 1, got 0",
        ),
        (lambda: log_likelihood(GAUSSIAN, minigen.randn(2, 3), Timetable([0.5, 1.0])), "two levels or more .*, got 1"),
        (
            lambda: Diffusion(10, variance="learned").loss(lambda x, t: x, minigen.randn(2, 3)),
            r"must give \(2, 6\), twice the channels of x0, got \(2, 3\)",
        ),
        (
            lambda: Diffusion(10, variance="learned").sample(lambda x, t: x, (2, 3), steps=2),
            r"must give \(2, 6\), twice the channels of x0, got \(2, 3\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_pure_noise_has_no_likelihood_but_is_left_out():
    diffusion = Diffusion(1000, zero_terminal_snr(linear_schedule(1000)), "v")
    x0 = minigen.randn(2, 3, dtype=np.float64, generator=Generator(0))
    assert np.isfinite(log_likelihood(GAUSSIAN, x0, diffusion.timetable(50))).all()
