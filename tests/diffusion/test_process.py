"""The diffusion process: noising, targets, and sampling with a denoiser that is known exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigen
from minigen import Tensor
from minigen.diffusion import Diffusion, UNet, linear_schedule, zero_terminal_snr
from minigen.random import Generator

PREDICTIONS = ["eps", "x0", "v"]


class GaussianDenoiser:
    """The best possible network for data N(mean, std^2), pixel by pixel: E[x0 | x_t] is linear in x_t."""

    def __init__(self, diffusion, mean, std):
        self.diffusion, self.mean, self.std = diffusion, mean, std

    def __call__(self, x, t):
        abar = self.diffusion.alphas_cumprod[t].reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
        variance = abar * self.std**2 + 1 - abar
        x0 = self.mean + np.sqrt(abar) * self.std**2 / variance * (x.data - np.sqrt(abar) * self.mean)
        eps = (x.data - np.sqrt(abar) * x0) / np.sqrt(1 - abar)
        outputs = {"eps": eps, "x0": x0, "v": np.sqrt(abar) * eps - np.sqrt(1 - abar) * x0}
        return Tensor(outputs[self.diffusion.prediction].astype(x.dtype))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(seed=st.integers(0, 1000), n=st.integers(1, 5))
@settings(max_examples=10)
def test_target_gives_back_data_and_noise(prediction, seed, n):
    diffusion = Diffusion(100, "cosine", prediction)
    x0 = minigen.randn(n, 3, 2, dtype=np.float64, generator=Generator(seed))
    t = np.random.default_rng(seed).integers(0, 99, n)
    x_t, noise = diffusion.add_noise(x0, t, Generator(seed + 1))
    target = diffusion.target(x0, noise, t).numpy()
    signal, sigma = (np.sqrt(a)[:, None, None] for a in (diffusion.alphas_cumprod[t], 1 - diffusion.alphas_cumprod[t]))
    np.testing.assert_allclose(x_t.numpy(), signal * x0.numpy() + sigma * noise.numpy(), atol=1e-12)
    recovered = {
        "eps": lambda: (x_t.numpy() - sigma * target) / signal,
        "x0": lambda: target,
        "v": lambda: signal * x_t.numpy() - sigma * target,
    }[prediction]()
    np.testing.assert_allclose(recovered, x0.numpy(), atol=1e-10)


def test_loss_is_zero_for_a_network_that_knows_the_answer():
    diffusion = Diffusion(50, "linear", "eps")
    x0 = minigen.randn(8, 4, generator=Generator(1))

    def knows(x_t, t):
        abar = diffusion.alphas_cumprod[t][:, None]
        return Tensor(((x_t.data - np.sqrt(abar) * x0.data) / np.sqrt(1 - abar)).astype(np.float32))

    assert diffusion.loss(knows, x0, Generator(2)).item() < 1e-8
    assert diffusion.loss(lambda x, t: x * 0.0, x0, Generator(2)).item() > 0.3


def test_errors_of_x0_are_weighed_as_errors_of_v():
    """For a network that is off by 0.1 everywhere: 0.01 times the average weight, whatever the noise."""
    diffusion = Diffusion(1000, "cosine", "x0")
    x0 = minigen.randn(100, 2, generator=Generator(1))
    t = diffusion.random_timesteps(100, Generator(2))
    weights = np.minimum(1 / (1 - diffusion.alphas_cumprod[t]), 5)
    assert np.isclose(diffusion.loss(lambda x, t: x0 + 0.1, x0, Generator(2)).item(), 0.01 * weights.mean(), rtol=1e-4)


def test_random_timesteps_cover_the_range_evenly():
    diffusion = Diffusion(1000)
    t = np.concatenate([diffusion.random_timesteps(10, g) for g in [Generator(s) for s in range(200)]])
    assert t.min() < 20 and t.max() > 979
    for batch in t.reshape(200, 10):
        np.testing.assert_array_equal(np.sort(batch) // 100, np.arange(10))


def test_logit_normal_timesteps_have_their_quantiles():
    diffusion = Diffusion(1000, logit_normal=(0.5, 1.1))
    t = np.concatenate([diffusion.random_timesteps(50, g) for g in [Generator(s) for s in range(200)]])
    z = np.log((t + 0.5) / (999.5 - t))
    assert abs(z.mean() - 0.5) < 0.01 and abs(z.std() - 1.1) < 0.01
    np.testing.assert_allclose(np.quantile(z, [0.1, 0.5, 0.9]), 0.5 + 1.1 * np.array([-1.2816, 0, 1.2816]), atol=0.03)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("method, eta", [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.7), ("ddim", 1.0)])
def test_samples_follow_the_distribution_of_the_data(prediction, method, eta):
    """2,500 samples of 16 pixels. The standard error of the mean is 0.5 / sqrt(40000) = 0.0025, of the deviation
    0.0018; the bounds below leave six of those, and 0.01 for the finite number of steps."""
    diffusion = Diffusion(1000, "cosine", prediction)
    denoiser = GaussianDenoiser(diffusion, mean=0.3, std=0.5)
    x = diffusion.sample(denoiser, (2500, 16), 3, 200, method, eta, clip=None).numpy()
    assert abs(x.mean() - 0.3) < 0.025
    assert abs(x.std() - 0.5) < 0.021


@pytest.mark.parametrize("method, eta", [("ddpm", 0.0), ("ddim", 0.5)])
def test_a_sample_does_not_depend_on_its_batch(method, eta):
    diffusion = Diffusion(100, "cosine", "v")
    denoiser = GaussianDenoiser(diffusion, mean=0.0, std=0.5)
    whole = diffusion.sample(denoiser, (7, 3, 3), 5, 10, method, eta).numpy()
    parts = [
        diffusion.sample(denoiser, (n, 3, 3), 5, 10, method, eta, first_sample=f).numpy() for f, n in [(0, 2), (2, 5)]
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(diffusion.sample(denoiser, (7, 3, 3), 6, 10, method, eta).numpy(), whole)


def test_a_networks_sample_does_not_depend_on_its_batch():
    minigen.manual_seed(0)
    network = UNet(1, channels=8, multipliers=(1, 2), blocks=1, num_groups=2)
    for p in network.parameters():  # the last layers start at zero: give them something to say
        p.assign_(p.data + 0.1 * minigen.randn(*p.shape).data)
    diffusion = Diffusion(100, "cosine", "v")
    whole = diffusion.sample(network, (5, 8, 8, 1), 5, 5).numpy()
    alone = diffusion.sample(network, (1, 8, 8, 1), 5, 5, first_sample=3).numpy()
    np.testing.assert_array_equal(alone[0], whole[3])


def test_sampling_and_training_never_share_noise():
    diffusion = Diffusion(10)
    seen = []
    diffusion.sample(lambda x, t: (seen.append(x.data.copy()), x)[1], (3, 4), seed=7, steps=2)
    generator = Generator(7)
    for _ in range(5):
        x0 = minigen.randn(3, 4, generator=generator)
        _, noise = diffusion.add_noise(x0, np.zeros(3, int), generator)
        assert not np.isin(noise.data, seen[0]).any()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Diffusion(schedule="square"), r"schedule 'square' is unknown.*cosine"),
        (lambda: Diffusion(prediction="noise"), r"prediction 'noise' is unknown.*'eps', 'x0', 'v'"),
        (lambda: Diffusion(timesteps=0), "at least 1, got 0"),
        (lambda: Diffusion(logit_normal=(1.0, 0.0)), r"std above 0, got \(1.0, 0.0\)"),
        (
            lambda: Diffusion(variance="learned", logit_normal=(0.0, 1.0)),
            r"evenly spread: leave out logit_normal=\(0.0,",
        ),
        (lambda: Diffusion(schedule=np.ones(10), timesteps=10), r"10 numbers in \[0, 1\) that fall, got"),
        (
            lambda: Diffusion(10, zero_terminal_snr(linear_schedule(10)), "eps"),
            "'eps' says nothing of x0 in pure noise",
        ),
        (lambda: Diffusion(variance="some"), "variance 'some' is unknown"),
        (lambda: Diffusion(weighting="snr"), "weighting 'snr' is unknown"),
        (lambda: Diffusion(10).timetable(11), "from 1 to 10, got 11"),
        (lambda: Diffusion(10).timetable(0), "at least 1, got 0"),
        (lambda: Diffusion(10).timetable(5, "even"), "spacing 'even' is unknown"),
        (lambda: Diffusion(10).alpha_bar(9.5), "t must be from 0 to 9, got 9.5"),
        (lambda: Diffusion(10).denoiser(lambda x, t: x)(minigen.randn(2, 3), 1.0), r"\(t = 0\), got 1.0"),
        (lambda: Diffusion(10).add_noise(minigen.randn(2, 3), np.array([0, 10])), "from 0 to 9"),
        (lambda: Diffusion(10).add_noise(minigen.randn(2, 3), np.array([0.0, 1.0])), "must be integers"),
        (lambda: Diffusion(timesteps=2.5), "whole number of at least 1, got 2.5"),
        (
            lambda: Diffusion(10).sample(lambda x, t: x, (1, 2), steps=2, method="ddpm", eta=0.5),
            "eta=0.5 belongs to .*'ddim'",
        ),
        (lambda: Diffusion(10).sample(lambda x, t: x, (1, 2), method="rk", steps=2), "method 'rk' is unknown"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
