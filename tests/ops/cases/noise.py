"""Cases of `minigen/ops/noise.py`, with a Philox generator of their own."""

import math

import numpy as np

import minigen

from .drawing import case


def philox(counter, key):
    """Philox4x32-10 on Python integers (Salmon et al. 2011, section 3.3)."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k1, a & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def noise(shape, seed, draw, first_row):
    """Element e of row r: from words (0, 1) or (2, 3) of block e // 4 of that row (Box & Muller 1958)."""
    y = np.empty((shape[0], math.prod(shape[1:])))
    for r, e in np.ndindex(*y.shape):
        counter = (e // 4, first_row + r, draw % 2**32, draw >> 32)
        words = [w >> 8 for w in philox(counter, (seed % 2**32, seed >> 32))]
        u, v = words[e % 4 // 2 * 2 : e % 4 // 2 * 2 + 2]
        turn = math.sin if e % 2 else math.cos
        y[r, e] = math.sqrt(-2 * math.log((u + 1) / 2**24)) * turn(2 * math.pi * v / 2**24)
    return y.reshape(shape)


def draw_address(d):
    """Which noise: a seed and a draw of up to 64 bits, and the row of the first sample."""
    return dict(seed=d.choice(0, 7, 2**63 + 5), draw=d.choice(0, 3, 2**40 + 1), first_row=d.choice(0, 6))


@case("add_noise")
def _(d):
    address, shape = draw_address(d), d.shape(min_axes=1, max_axes=3)
    inputs = [d.normal(shape), d.normal(shape[:1]), d.normal(shape[:1])]

    def formula(x0, alpha, sigma):
        each = (-1,) + (1,) * (x0.ndim - 1)
        return alpha.reshape(each) * x0 + sigma.reshape(each) * noise(x0.shape, **address)

    return lambda *xs: minigen.add_noise(*xs, **address)[0], inputs, formula


@case("add_noise", "the noise itself", differentiable=False)
def _(d):
    address, shape = draw_address(d), d.shape(min_axes=1, max_axes=3)
    inputs = [d.normal(shape), d.normal(shape[:1]), d.normal(shape[:1])]
    return lambda *xs: minigen.add_noise(*xs, **address)[1], inputs, lambda x0, *_: noise(x0.shape, **address)


def output_for(x0, x, prediction, signal, deviation):
    """What a network would answer if it took x0 for the clean image."""
    return {
        "x0": x0,
        "eps": (x - signal * x0) / deviation,
        "v": (signal * x - x0) / deviation,
    }[prediction]


def estimate(x, out, uncond, prediction, guidance, clip, signal, deviation):
    out = out if uncond is None else guidance * out + (1 - guidance) * uncond
    x0 = {"x0": out, "eps": (x - deviation * out) / signal, "v": signal * x - deviation * out}[prediction]
    return x0 if clip is None else np.minimum(np.maximum(x0, -clip), clip)


def step(name, posterior):
    """`posterior` gives the mean and the standard deviation of the next sample from x and x0."""
    operation = getattr(minigen, name)

    @case(name)
    def _(d):
        shape, now = d.shape(min_axes=1, max_axes=3), d.choice(0.3, 0.1, 0.9)
        settings = dict(**draw_address(d), prediction=d.choice("eps", "x0", "v"), clip=d.choice(None, 1.0))
        settings.update(alpha_bar=now, alpha_bar_prev=d.choice(0.95, 0.92, 1.0))
        eta = settings["eta"] = d.choice(0.4, 0.0, 1.0)
        if name == "ddpm_step":
            del settings["eta"]
        signal, deviation = math.sqrt(now), math.sqrt(1 - now)
        x, x0 = d.normal(shape), d.spaced(shape, kinks=[-1, 1])
        out = output_for(x0, x, settings["prediction"], signal, deviation)
        inputs, guidance = [x, out], 1.0
        if d.flag():
            guidance, uncond = d.choice(0.5, 3.0), d.normal(shape)
            inputs = [x, (out - (1 - guidance) * uncond) / guidance, uncond]

        def function(x, out, uncond=None):
            return operation(x, out, out_uncond=uncond, guidance=guidance, **settings)

        def formula(x, out, uncond=None):
            x0 = estimate(x, out, uncond, settings["prediction"], guidance, settings["clip"], signal, deviation)
            mean, sigma = posterior(x, x0, now, settings["alpha_bar_prev"], eta)
            return mean + sigma * noise(x.shape, settings["seed"], settings["draw"], settings["first_row"])

        return function, inputs, formula


def ddpm(x, x0, now, then, eta):
    """Bayes' rule for x_then given x_now and x0 (Ho et al. 2020, eq. 6 and 7): two Gaussians multiplied, of
    x_then given x0 with variance 1 - then, and of x_now given x_then with variance 1 - now / then."""
    if then == 1:
        return x0, 0.0
    prior, likelihood = 1 / (1 - then), (now / then) / (1 - now / then)
    mean = (math.sqrt(then) * x0 * prior + x * math.sqrt(then / now) * likelihood) / (prior + likelihood)
    return mean, math.sqrt(1 / (prior + likelihood))


def ddim(x, x0, now, then, eta):
    """Song et al. 2021, eq. 12 and 16."""
    sigma = eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
    eps = (x - math.sqrt(now) * x0) / math.sqrt(1 - now)
    return math.sqrt(then) * x0 + math.sqrt(1 - then - sigma**2) * eps, sigma


step("ddpm_step", ddpm)
step("ddim_step", ddim)


@case("linear_step")
def _(d):
    shape, count = d.shape(min_axes=1, max_axes=3), d.choice(3, 1, 2, 4, 5)
    address, deviation, clip = draw_address(d), d.choice(0.4, 0.0), d.choice(None, 1.0)
    coefficients = [0.5, -1.5, 2.0, 0.25, -0.7][:count]
    others = [d.normal(shape) for _ in range(count - 1)]
    total = d.spaced(shape, kinks=[-1, 1])
    first = (total - sum(c * a for c, a in zip(coefficients[1:], others, strict=True))) / coefficients[0]

    def function(*arrays):
        return minigen.linear_step(arrays, coefficients, deviation=deviation, clip=clip, **address)

    def formula(*arrays):
        total = sum(c * a for c, a in zip(coefficients, arrays, strict=True))
        total = total if clip is None else np.minimum(np.maximum(total, -clip), clip)
        return total + deviation * noise(shape, **address)

    return function, [first, *others], formula


@case("gaussian_step")
def _(d):
    address, shape = draw_address(d), d.shape(min_axes=1, max_axes=3)

    def formula(mean, log_variance):
        return mean + np.sqrt(np.exp(log_variance)) * noise(shape, **address)

    return lambda *xs: minigen.gaussian_step(*xs, **address), [d.normal(shape), d.normal(shape)], formula
