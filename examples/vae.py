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
from common import Run, arguments, held_out, in_batches, load_data, report, run_main
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
from minigen.viz import save_images

CODE = 50  # numbers in a code
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
    if args.device == "cuda":
        minigen.float32_matmul_precision("high")  # on tensor cores
    generator = minigen.manual_seed(args.seed)
    vae = VAE(images.shape[1:])
    vae.to(args.device)
    ema = optim.EMA(vae, decay=0.998)
    optimizer = optim.Adam(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=10.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args, PICTURES, vae=vae, ema=ema, optimizer=optimizer, schedule=schedule, batches=batches, generator=generator
    )
    for _ in run.steps():
        x = Tensor(binarise(warp(next(batches), generator) / 255, generator))
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


def evaluate(vae: VAE, images: np.ndarray, device: str, generator: Generator) -> tuple[dict[str, Any], np.ndarray]:
    """-ELBO in nats per image and its two terms, from DRAWS pixels and codes of each image; the images' mean codes."""

    def terms(x: Tensor) -> Tensor:
        q = vae.posterior(x)
        z = q.sample(generator)
        log_ratio = q.log_prob(z) - standard_normal_log_prob(z)  # of mean KL
        return minigen.stack([bernoulli_nll(vae.decoder(z), x), q.kl(), log_ratio], -1)

    draws = [
        in_batches(terms, binarise(images, generator), device) for _ in tqdm(range(DRAWS), desc="-ELBO", unit="draw")
    ]
    nll, kl, log_ratio = np.moveaxis(np.stack(draws).astype(np.float64), -1, 0)  # (DRAWS, N) each
    means = in_batches(lambda x: vae.posterior(x).mean, images, device)
    return {
        "test_nelbo": (nll + kl).mean(),
        "test_nelbo_standard_error": standard_error((nll + kl).mean(0)),  # over images; over draws it is far smaller
        "test_reconstruction": nll.mean(),
        "test_kl": kl.mean(),
        "test_kl_monte_carlo": log_ratio.mean(),
        "test_kl_difference_standard_error": standard_error(log_ratio - kl),
        "active_units": active_units(means),
    }, means


def likelihood(vae: VAE, images: np.ndarray, device: str, generator: Generator) -> dict[str, Any]:
    """What BOUND_SAMPLES codes for each of some images say of -log p(x): the importance-weighted bound in nats."""
    log_weights = []
    with minigen.no_grad():
        x = Tensor(binarise(images[:BOUND_IMAGES], generator)).to(device)
        q = vae.posterior(x)
        for _ in tqdm(range(BOUND_SAMPLES), desc="importance-weighted bound", unit="code"):
            z = q.sample(generator)
            log_weights.append(standard_normal_log_prob(z) - bernoulli_nll(vae.decoder(z), x) - q.log_prob(z))
        weights = minigen.stack(log_weights)
        bound = importance_weighted_bound(weights)
    return {
        "iw_images": len(x),
        "iw_samples": BOUND_SAMPLES,
        "iw_nll": -bound.mean().item(),
        "iw_nelbo": -weights.mean().item(),  # of the same images
        "iw_nll_standard_error": standard_error(bound.numpy()),
    }


def standard_error(x: np.ndarray) -> float:
    return float(x.std() / np.sqrt(x.size))


def independent_pixels(training: np.ndarray, test: np.ndarray) -> float:
    """-log p in nats per image if each pixel were white with its own probability: a VAE whose codes say nothing."""
    p = (training.sum(0) + 1) / (len(training) + 2)
    return float(-(test * np.log(p) + (1 - test) * np.log(1 - p)).sum((1, 2, 3)).mean())


def draw_pictures(folder: Path, decoded: Callable, images: np.ndarray, means: np.ndarray) -> None:
    """reconstructions.png: held-out images, above what is decoded from their codes.
    interpolations.png: rows from one held-out image to another, by codes turned from the one's to the other's.
    latent_grid.png: the two most active numbers of the code at quantiles of the prior, the others 0."""

    def save(rows: np.ndarray, name: str) -> None:  # (rows, columns, H, W, C)
        save_images(to_uint8(rows.reshape(-1, *images.shape[1:]), 0, 1), folder / name, columns=rows.shape[1])

    save(np.stack([images[:20], decoded(means[:20])]), "reconstructions.png")

    t = np.linspace(0, np.pi / 2, 10)[:, None]  # cos^2 + sin^2 = 1, so codes from the prior stay codes from the prior
    ends = zip(images[:10], means[:10], np.roll(images[:10], -1, 0), np.roll(means[:10], -1, 0), strict=True)
    rows = [[x, *decoded(np.cos(t) * a + np.sin(t) * b), y] for x, a, y, b in ends]
    save(np.stack(rows), "interpolations.png")

    quantiles = np.array([NormalDist().inv_cdf(p) for p in np.linspace(0.02, 0.98, 15)])
    codes = np.zeros((15, 15, CODE))
    first, second = np.argsort(-means.var(0))[:2]
    codes[..., first], codes[..., second] = np.meshgrid(quantiles, quantiles)
    save(decoded(codes.reshape(-1, CODE)).reshape(15, 15, *images.shape[1:]), "latent_grid.png")


def main() -> None:
    parser = arguments("vae", __doc__.split("\n")[0], steps=3000, batch=100, samples=100)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL; the figures are always with 1")
    args = parser.parse_args()
    data = load_data(args)
    if any(side % 4 for side in data.images.shape[1:3]):
        raise SystemExit(f"--data: the sides of the images must be multiples of 4, got {data.images.shape[1:3]}")
    training, test = held_out(data, 0.1)
    run, vae, ema, generator = train(args, training.images)

    images = to_float(test.images, 0, 1)
    with ema.applied():

        def decoded(z: np.ndarray) -> np.ndarray:
            return in_batches(lambda z: minigen.sigmoid(vae.decoder(z)), z.astype(np.float32), args.device)

        samples = decoded(randn(args.samples, CODE, generator=Generator(args.seed)).numpy())
        metrics, means = evaluate(vae, images, args.device, generator)
        metrics.update(likelihood(vae, images, args.device, generator))
        draw_pictures(run.folder, decoded, images, means)
    run.write_samples(to_uint8(samples, 0, 1))
    independent = independent_pixels(to_float(training.images, 0, 1), images)
    run.write_metrics({**metrics, "independent_pixels": independent})

    print(collapse_notice(metrics["active_units"], CODE) or "no posterior collapse")
    report([], args.check)


if __name__ == "__main__":
    run_main(main)
