"""A variational autoencoder (Kingma & Welling 2014) of handwritten digits, from data to samples.

    python examples/vae.py                            # trains, then writes new digits to runs/vae/samples.png
    python examples/vae.py --beta 4                   # a beta-VAE (Higgins et al. 2017): simpler codes, blurrier digits
    python examples/vae.py --resume --samples 1000    # more digits from the same network

The whole algorithm: the encoder gives each image a normal distribution q(z | x) over codes; draw a code z from it as
mean + std eps, so that the gradient passes through; the decoder gives each pixel its probability of being white.
Descend on -log p(x | z) + KL(q(z | x) || N(0, 1)), nats that bound -log p(x) from above. New images: decode codes
drawn from N(0, 1).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, in_batches, load_split
from run import Run, report, run_main
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import (
    CodeDecoder,
    CodeEncoder,
    DiagonalGaussian,
    active_units,
    bernoulli_nll,
    collapse_notice,
    importance_weighted_bound,
    standard_normal_log_prob,
)
from minigen.data import DataLoader, binarise, to_float, to_uint8, warp
from minigen.random import Generator, randn
from minigen.viz import save_images, save_rows

CODE = 24  # numbers in a code
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1,), blocks=2, patch=4)
DRAWS = 20  # of pixels and codes, for each held-out image's -ELBO
BOUND_SAMPLES, BOUND_IMAGES = 5000, 100  # codes for each image's importance-weighted bound, and images that get one
PICTURES = ("reconstructions.png", "latent_grid.png", "interpolations.png")


class VAE(minigen.nn.Module):
    def __init__(self, image_shape: tuple[int, int, int]):
        super().__init__()
        self.encoder = CodeEncoder(image_shape, 2 * CODE, **NETWORK)
        self.decoder = CodeDecoder(image_shape, CODE, **NETWORK)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """q(z | x)."""
        return DiagonalGaussian.from_parameters(self.encoder(x))


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, VAE, optim.EMA, Generator]:
    generator = minigen.manual_seed(args.seed)
    vae = VAE(images.shape[1:])
    vae.to(args.device)
    ema = optim.EMA(vae, decay=0.998)
    optimizer = optim.Adam(vae.parameters(), lr=4e-3, betas=(0.9, 0.99), max_norm=10.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args, PICTURES, vae=vae, ema=ema, optimizer=optimizer, schedule=schedule, batches=batches, generator=generator
    )
    for _ in run.steps():
        warped = warp(next(batches), generator, rotation=5, scale=0.05, shear=0.05, shift=0.3, elastic=0.4) / 255
        x = Tensor(binarise(np.clip(1.4 * warped - 0.2, 0, 1), generator))  # a warp blurs: that is undone
        q = vae.posterior(x)
        z = q.sample(generator)
        reconstruction, kl = bernoulli_nll(vae.decoder(z), x).mean(), q.kl().mean()
        loss = reconstruction + args.beta * kl  # -ELBO where beta is 1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(reconstruction=reconstruction.item(), kl=kl.item())
    return run, vae, ema, generator


def evaluate(vae: VAE, images: np.ndarray, device: str, generator: Generator) -> dict[str, float]:
    """-ELBO in nats per image and its two terms, from DRAWS pixels and codes of each image."""

    def terms(x: Tensor) -> Tensor:
        q = vae.posterior(x)
        z = q.sample(generator)
        log_ratio = q.log_prob(z) - standard_normal_log_prob(z)  # its mean over z is the KL
        return minigen.stack([bernoulli_nll(vae.decoder(z), x), q.kl(), log_ratio], -1)

    bar = tqdm(range(DRAWS), desc="-ELBO", unit="draw")
    draws = np.stack([in_batches(terms, binarise(images, generator), device) for _ in bar])  # (DRAWS, N, 3)
    nll, kl, log_ratio = np.moveaxis(draws.astype(np.float64), -1, 0)
    nelbo = (nll + kl).mean(0)  # of each image
    return {
        "test_nelbo": nelbo.mean(),
        "test_nelbo_standard_error_images": standard_error(nelbo),
        "test_nelbo_standard_error_draws": standard_error(nll + kl - nelbo),
        "test_reconstruction": nll.mean(),
        "test_kl": kl.mean(),
        "test_kl_monte_carlo": log_ratio.mean(),
        "test_kl_monte_carlo_standard_error": standard_error(log_ratio - kl),
    }


def tighter_bound(vae: VAE, images: np.ndarray, device: str, generator: Generator) -> dict[str, float]:
    """The importance-weighted bound on -log p(x) in nats per image, and -ELBO of the same images and codes."""
    with minigen.no_grad():
        x = Tensor(binarise(images[:BOUND_IMAGES], generator)).to(device)
        q = vae.posterior(x)

        def log_weight() -> Tensor:
            z = q.sample(generator)
            return standard_normal_log_prob(z) - bernoulli_nll(vae.decoder(z), x) - q.log_prob(z)

        bar = tqdm(range(BOUND_SAMPLES), desc="importance-weighted bound", unit="code")
        log_weights = minigen.stack([log_weight() for _ in bar])  # (BOUND_SAMPLES, N)
        bound = importance_weighted_bound(log_weights).numpy()
    return {
        "iw_images": len(x),
        "iw_samples": BOUND_SAMPLES,
        "iw_nll": -float(bound.mean()),
        "iw_nll_standard_error": standard_error(bound),
        "iw_nelbo": -log_weights.mean().item(),
    }


def standard_error(x: np.ndarray) -> float:
    return float(x.std() / np.sqrt(x.size))


def mixture_of_bernoullis(training: np.ndarray, test: np.ndarray, components: int = 50) -> float:
    """-log p in nats per image, exactly, if the code were the number of a cluster of the training images, and each
    cluster had a probability of its own for each pixel."""
    x, y = training.reshape(len(training), -1), test.reshape(len(test), -1)
    components = min(components, len(x))
    members = np.eye(components)[KMeans(components, n_init=1, random_state=0).fit_predict(x)]  # (N, components)
    p = (members.T @ x + 0.1) / (members.sum(0)[:, None] + 0.2)
    log_joint = np.log(members.mean(0)) + y @ np.log(p).T + (1 - y) @ np.log(1 - p).T
    return -float(logsumexp(log_joint, axis=1).mean())


def draw_pictures(folder: Path, decoded: Callable, images: np.ndarray, means: np.ndarray) -> None:
    """reconstructions.png; interpolations.png: rows from one held-out image to the next, by codes turned from the one's
    to the other's; latent_grid.png: the two most active numbers of the code at quantiles of the prior, the others 0."""
    rows = {"held out": images[:30], "decoded": decoded(means[:30])}
    save_rows({name: to_uint8(row, 0, 1) for name, row in rows.items()}, folder / "reconstructions.png", columns=15)

    t = np.linspace(0, np.pi / 2, 8)[:, None]  # cos^2 + sin^2 = 1, so between codes from the prior are codes from it
    pairs = [(i, (i + 1) % len(images)) for i in range(min(10, len(images)))]
    between = [decoded(np.cos(t) * means[a] + np.sin(t) * means[b]) for a, b in pairs]
    strips = [np.stack([images[a], *row, images[b]]) for (a, b), row in zip(pairs, between, strict=True)]
    save_images(to_uint8(np.concatenate(strips), 0, 1), folder / "interpolations.png", columns=10)

    quantiles = np.array([NormalDist().inv_cdf(p) for p in np.linspace(0.02, 0.98, 15)])
    codes = np.zeros((15, 15, CODE))
    first, second = np.argsort(-means.var(0))[:2]
    codes[..., first], codes[..., second] = np.meshgrid(quantiles, quantiles)
    save_images(to_uint8(decoded(codes.reshape(-1, CODE)), 0, 1), folder / "latent_grid.png", columns=15)


def main() -> None:
    parser = arguments("vae", __doc__.split("\n")[0], steps=4000, batch=50, samples=100)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL; the figures are always with 1")
    args = parser.parse_args()
    if not 0 <= args.beta < np.inf:
        parser.error(f"argument --beta: must be a number from 0, got {args.beta}")
    training, test = load_split(args, multiple_of=4, share=0.1)
    run, vae, ema, generator = train(args, training.images)

    images = to_float(test.images, 0, 1)
    with ema.applied():

        def decoded(z: np.ndarray) -> np.ndarray:
            return in_batches(lambda z: minigen.sigmoid(vae.decoder(z)), z.astype(np.float32), args.device)

        samples = decoded(randn(args.samples, CODE, generator=Generator(args.seed + FOR_FIGURES)).numpy())
        means = in_batches(lambda x: vae.posterior(x).mean, images, args.device)
        units = active_units(means)
        metrics = {"active_units": units, **evaluate(vae, images, args.device, generator)}
        metrics.update(tighter_bound(vae, images, args.device, generator))
        draw_pictures(run.folder, decoded, images, means)
    metrics["mixture_nll"] = mixture_of_bernoullis(to_float(training.images, 0, 1), binarise(images, generator))
    run.write_samples(to_uint8(samples, 0, 1))
    run.write_metrics(metrics)

    print(collapse_notice(units, CODE) or f"{units} of {CODE} latent units active: no posterior collapse")
    print(
        "importance-weighted bound, {iw_samples} codes for each of {iw_images} images: {iw_nll:.2f} nats "
        "(standard error {iw_nll_standard_error:.2f}; their -ELBO: {iw_nelbo:.2f})".format(**metrics)
    )
    nelbo, kl, estimate = metrics["test_nelbo"], metrics["test_kl"], metrics["test_kl_monte_carlo"]
    errors = abs(kl - estimate) / metrics["test_kl_monte_carlo_standard_error"]
    others = (
        "mixture of Bernoullis: {mixture_nll:.4g}; standard error {test_nelbo_standard_error_draws:.2f} of the draws, "
        "{test_nelbo_standard_error_images:.2f} of the images".format(**metrics)
    )
    figures = [
        ("-ELBO of a held-out image, nats", nelbo, "<=", 106.0, others),
        ("active units", units, ">=", 10.0, f"of {CODE}"),
        ("standard errors from KL to its Monte-Carlo estimate", errors, "<=", 4.0, f"{kl:.3f} and {estimate:.3f} nats"),
    ]
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
