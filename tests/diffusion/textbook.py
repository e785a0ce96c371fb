"""Samplers as their papers write them: float64, one line per equation, each in the paper's own coordinates.

`D(y, sigma)` is a denoiser of y = x0 + sigma eps; `noise(i)` the normal numbers of step i.
"""

import itertools

import numpy as np


def native_denoisers(f):
    """process -> D(y, sigma), for a network f(x, t) in float64 that was trained for that process."""

    def of_diffusion(diffusion):
        def D(y, sigma):
            abar = 1 / (1 + sigma**2)
            x, t = np.sqrt(abar) * y, diffusion.timestep(abar)
            out = f(x, t)
            return {
                "eps": lambda: (x - np.sqrt(1 - abar) * out) / np.sqrt(abar),  # Ho et al. 2020, eq. 15
                "x0": lambda: out,
                "v": lambda: np.sqrt(abar) * x - np.sqrt(1 - abar) * out,  # Salimans & Ho 2022, appendix D
            }[diffusion.prediction]()

        return D

    def of_edm(edm):
        def D(y, sigma):  # Karras et al. 2022, table 1
            total = sigma**2 + edm.sigma_data**2
            c_skip, c_out = edm.sigma_data**2 / total, sigma * edm.sigma_data / np.sqrt(total)
            return c_skip * y + c_out * f(y / np.sqrt(total), 1000 * np.log(sigma) / 4)

        return D

    def of_flow(flow):
        def D(y, sigma):  # x_t = (1 - t) x0 + t eps = (1 - t) y with sigma = t / (1 - t)
            t = sigma / (1 + sigma)
            x = (1 - t) * y
            return x - t * f(x, 1000 * t)

        return D

    return {"Diffusion": of_diffusion, "EDM": of_edm, "RectifiedFlow": of_flow}


def ddpm(D, x, abar, noise):
    """Ho et al. 2020, algorithm 2, with alpha_t = abar_t / abar_t-1 and sigma_t^2 the posterior's variance (eq. 7)."""
    for i in range(len(abar) - 1):
        a, alpha = abar[i], abar[i] / abar[i + 1]
        x0 = D(x / np.sqrt(a), np.sqrt((1 - a) / a))
        eps = (x - np.sqrt(a) * x0) / np.sqrt(1 - a)
        x = (x - (1 - alpha) / np.sqrt(1 - a) * eps) / np.sqrt(alpha)
        x = x + np.sqrt((1 - abar[i + 1]) / (1 - a) * (1 - alpha)) * noise(i)
    return x


def ddim(D, x, abar, noise, eta=0.0):
    """Song et al. 2021, eq. 12 and 16."""
    for i in range(len(abar) - 1):
        a, then = abar[i], abar[i + 1]
        x0 = D(x / np.sqrt(a), np.sqrt((1 - a) / a))
        eps = (x - np.sqrt(a) * x0) / np.sqrt(1 - a)
        sigma = eta * np.sqrt((1 - then) / (1 - a)) * np.sqrt(1 - a / then)
        x = np.sqrt(then) * x0 + np.sqrt(1 - then - sigma**2) * eps + sigma * noise(i)
    return x


def heun(D, y, sigmas, second_order=True):
    """Karras et al. 2022, algorithm 1, in y; Euler's method without its lines 6 to 8."""
    for now, then in itertools.pairwise(sigmas):
        d = (y - D(y, now)) / now
        trial = y + (then - now) * d
        if then > 0 and second_order:
            d_then = (trial - D(trial, then)) / then
            trial = y + (then - now) * (d + d_then) / 2
        y = trial
    return y


def dpm_solver_2m(D, y, sigmas):
    """Lu et al. 2022 (DPM-Solver++), algorithm 2, in y: there alpha is 1 and lambda = -log sigma."""
    before, h_before = None, None
    for now, then in itertools.pairwise(sigmas):
        x0 = D(y, now)
        if then == 0:
            return x0
        h = np.log(now) - np.log(then)
        mean = x0
        if before is not None:
            r = h_before / h
            mean = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * before
        y = then / now * y - np.expm1(-h) * mean
        before, h_before = x0, h
    return y


def pndm(D, x, abar, halfway):
    """Liu et al. 2022, eq. 11 (phi), 13 (pseudo Runge-Kutta) and 12 (pseudo linear multistep)."""

    def phi(x, eps, a, then):
        slope = (then - a) / (np.sqrt(a) * (np.sqrt((1 - then) * a) + np.sqrt((1 - a) * then)))
        return np.sqrt(then) / np.sqrt(a) * x - slope * eps

    def e(x, a):
        return (x - np.sqrt(a) * D(x / np.sqrt(a), np.sqrt((1 - a) / a))) / np.sqrt(1 - a)

    old = []
    for i in range(len(abar) - 1):
        a, middle, then = abar[i], halfway[i], abar[i + 1]
        old.append(e(x, a))
        if len(old) < 4:
            e1 = old[-1]
            e2 = e(phi(x, e1, a, middle), middle)
            e3 = e(phi(x, e2, a, middle), middle)
            e4 = e(phi(x, e3, a, then), then)
            mean = (e1 + 2 * e2 + 2 * e3 + e4) / 6
        else:
            mean = (55 * old[-1] - 59 * old[-2] + 37 * old[-3] - 9 * old[-4]) / 24
        x = phi(x, mean, a, then)
    return x
