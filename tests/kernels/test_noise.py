"""The diffusion steps of the specification against closed forms."""

import math

import numpy as np
import pytest

from kernels import cpu, reference

MODULES = pytest.mark.parametrize("module", [reference, cpu])
RNG = np.random.default_rng(0)
X0, EPS = RNG.standard_normal((2, 3, 4, 2))
ALPHA_BAR, ALPHA_BAR_PREV = 0.3, 0.6
X = math.sqrt(ALPHA_BAR) * X0 + math.sqrt(1 - ALPHA_BAR) * EPS
OUTPUTS = {"eps": EPS, "x0": X0, "v": math.sqrt(ALPHA_BAR) * EPS - math.sqrt(1 - ALPHA_BAR) * X0}


@MODULES
def test_add_noise_is_the_forward_process(module):
    alpha, sigma = RNG.random((2, 3))
    x_t, noise = module.add_noise(X0, alpha, sigma, seed=5, draw=6, first_row=7)
    np.testing.assert_array_equal(noise, module.normal(X0.shape, 5, 6, 7, np.float64))
    for n in range(3):
        np.testing.assert_allclose(x_t[n], alpha[n] * X0[n] + sigma[n] * noise[n], rtol=1e-14)


@MODULES
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_ddpm_step_samples_the_posterior(module, prediction):
    """q(x_prev | x, x0) is the product of two Gaussians in x_prev, which is how it is derived here:
    x | x_prev ~ N(sqrt(alpha) x_prev, beta) and x_prev | x0 ~ N(sqrt(a) x0, 1 - a) for a = alpha_bar_prev."""
    alpha = ALPHA_BAR / ALPHA_BAR_PREV
    precision = alpha / (1 - alpha) + 1 / (1 - ALPHA_BAR_PREV)
    mean = X * math.sqrt(alpha) / (1 - alpha) + X0 * math.sqrt(ALPHA_BAR_PREV) / (1 - ALPHA_BAR_PREV)
    mean /= precision
    z = reference.normal(X.shape, 1, 2, 3, np.float64)
    got = module.ddpm_step(X, OUTPUTS[prediction], ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, 3, prediction)
    np.testing.assert_allclose(got, mean + z / math.sqrt(precision), atol=1e-13)


@MODULES
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_ddim_step_moves_along_the_line_from_x0_to_eps(module, prediction):
    got = module.ddim_step(X, OUTPUTS[prediction], ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, prediction=prediction)
    expected = math.sqrt(ALPHA_BAR_PREV) * X0 + math.sqrt(1 - ALPHA_BAR_PREV) * EPS
    np.testing.assert_allclose(got, expected, atol=1e-13)
    noisier = module.ddim_step(X, OUTPUTS[prediction], ALPHA_BAR, 0.1, 1, 2, prediction=prediction)
    np.testing.assert_allclose(noisier, math.sqrt(0.1) * X0 + math.sqrt(0.9) * EPS, atol=1e-13)


@MODULES
@pytest.mark.parametrize("clip", [None, 0.7])
def test_eta_of_one_is_ancestral_sampling(module, clip):
    args = (X, EPS, ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, 3)
    ancestral = module.ddpm_step(*args, clip=clip)
    np.testing.assert_allclose(module.ddim_step(*args, eta=1.0, clip=clip), ancestral, atol=1e-13)


@MODULES
def test_eta_scales_the_noise(module):
    sigma = 0.4 * math.sqrt((1 - ALPHA_BAR_PREV) / (1 - ALPHA_BAR) * (1 - ALPHA_BAR / ALPHA_BAR_PREV))
    z = reference.normal(X.shape, 1, 2, dtype=np.float64)
    expected = math.sqrt(ALPHA_BAR_PREV) * X0 + math.sqrt(1 - ALPHA_BAR_PREV - sigma**2) * EPS + sigma * z
    got = module.ddim_step(X, EPS, ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, eta=0.4)
    np.testing.assert_allclose(got, expected, atol=1e-13)


@MODULES
@pytest.mark.parametrize("step", ["ddpm_step", "ddim_step"])
def test_the_last_step_gives_the_clean_estimate(module, step):
    step = getattr(module, step)
    for prediction, out in OUTPUTS.items():
        got = step(X, out, ALPHA_BAR, 1.0, 1, 2, prediction=prediction)
        np.testing.assert_allclose(got, X0, atol=1e-13)
    clipped = step(X, EPS, ALPHA_BAR, 1.0, 1, 2, clip=0.5)
    np.testing.assert_allclose(clipped, X0.clip(-0.5, 0.5), atol=1e-13)


@MODULES
@pytest.mark.parametrize("step", ["ddpm_step", "ddim_step"])
def test_guidance_extrapolates_from_the_unconditional_output(module, step):
    uncond = RNG.standard_normal(EPS.shape)
    args = (ALPHA_BAR, ALPHA_BAR_PREV, 1, 2)
    step = getattr(module, step)
    for guidance, out in ((0.0, uncond), (1.0, EPS), (3.0, 3 * EPS - 2 * uncond)):
        got = step(X, EPS, *args, out_uncond=uncond, guidance=guidance)
        np.testing.assert_allclose(got, step(X, out, *args), atol=1e-13)


@MODULES
@pytest.mark.parametrize("step", ["ddpm_step", "ddim_step"])
def test_a_batch_may_be_split_anywhere(module, step):
    step = getattr(module, step)
    settings = dict(eta=0.5) if step.__name__ == "ddim_step" else {}
    whole = step(X, EPS, ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, **settings)
    rest = step(X[1:], EPS[1:], ALPHA_BAR, ALPHA_BAR_PREV, 1, 2, first_row=1, **settings)
    np.testing.assert_array_equal(whole[1:], rest)


@MODULES
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_linear_step_is_a_bounded_sum_with_noise(module, count):
    arrays, coefficients = RNG.standard_normal((count, 3, 4, 2)), [0.5, -1.5, 2.0, 0.25, -0.7][:count]
    total = np.einsum("k,k...->...", coefficients, arrays)
    np.testing.assert_allclose(module.linear_step(arrays, coefficients), total, atol=1e-14)
    noise = reference.normal(X.shape, 5, 6, 7, np.float64)
    got = module.linear_step(arrays, coefficients, 5, 6, 7, deviation=0.3, clip=0.8)
    np.testing.assert_allclose(got, total.clip(-0.8, 0.8) + 0.3 * noise, atol=1e-14)
    rest = module.linear_step(arrays[:, 1:], coefficients, 5, 6, 8, deviation=0.3, clip=0.8)
    np.testing.assert_array_equal(rest, got[1:])


@MODULES
def test_gaussian_step_adds_noise_of_the_variance_that_is_given(module):
    log_variance = RNG.standard_normal(X.shape)
    noise = reference.normal(X.shape, 5, 6, 7, np.float64)
    got = module.gaussian_step(X, log_variance, 5, 6, 7)
    np.testing.assert_allclose(got, X + np.sqrt(np.exp(log_variance)) * noise, atol=1e-13)
    np.testing.assert_array_equal(module.gaussian_step(X[1:], log_variance[1:], 5, 6, 8), got[1:])


@MODULES
@pytest.mark.parametrize("step", ["ddpm_step", "ddim_step"])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_step_from_pure_noise(module, step, prediction):
    """At alpha_bar = 0 there is no eps to predict, but x0 and v = -x0 are as good as ever."""
    out = X0 if prediction == "x0" else -X0
    got = getattr(module, step)(EPS, out, 0.0, ALPHA_BAR_PREV, 1, 2, 3, prediction)
    z = EPS if step == "ddim_step" else reference.normal(X.shape, 1, 2, 3, np.float64)
    np.testing.assert_allclose(got, math.sqrt(ALPHA_BAR_PREV) * X0 + math.sqrt(1 - ALPHA_BAR_PREV) * z, atol=1e-13)
