"""Mode coverage: a GAN of three digits stacked as the colours of one image, which come in 10^3 kinds; then PacGAN.

    python examples/stacked_modes.py                 # trains both, then writes runs/stacked_modes/samples.png
    python examples/stacked_modes.py --seed 1

A generator need not make everything there is: G is asked for images that D takes for real, and D, who sees one image at
a time, cannot tell that two of them are alike. PacGAN (Lin et al. 2018) shows D two images at a time, of which it gives
one judgement. Now a G that repeats itself gives itself away: real pairs rarely match. Nothing else is different:

    D descends on  -log D(x1, x2) - log(1 - D(G(z1), G(z2))),    G on  -log D(G(z1), G(z2))

How many of the 1,000 kinds a G makes is counted by reading each colour with a classifier of the digits. Both games are
played on the same real images, for the same number of steps, with the same generator and the same settings.

The networks are DCGAN's (Radford et al. 2016), small, for digits of half the size; but D has no batch norm. With it, D
sees an image in the light of all others in the batch, which is a cure of its own: in so short a run neither game then
loses many modes. Without it, what D knows of variety is what is packed.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, descend, has_classes, in_batches, load_data, split
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import Dataset, to_float, to_uint8
from minigen.gans import (
    BALANCED,
    DCGANDiscriminator,
    DCGANGenerator,
    diagnose,
    minimax_discriminator,
    non_saturating_generator,
    small_weights_,
    standing,
)
from minigen.metrics import Features
from minigen.random import Generator, randint, randn

PACKS = {"DCGAN": 1, "PacGAN-2": 2}  # images that D judges together
LATENT, GENERATOR_CHANNELS, DISCRIMINATOR_CHANNELS = 32, 32, 16
LEARNING_RATE = 1e-3
MEASURED = 10_000  # stacks whose modes are counted


class Game:
    """A generator against a discriminator that judges `pack` images together."""

    def __init__(self, image_shape: tuple[int, int, int], pack: int, device: str):
        self.generator = DCGANGenerator(image_shape, LATENT, GENERATOR_CHANNELS)
        self.discriminator = DCGANDiscriminator(image_shape, DISCRIMINATOR_CHANNELS, norm=None, pack=pack)
        for network in (self.generator, self.discriminator):
            small_weights_(network)
            network.to(device)
        self.g_optimizer = optim.Adam(self.generator.parameters(), LEARNING_RATE, betas=(0.5, 0.99))
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), LEARNING_RATE, betas=(0.5, 0.99))

    def play(self, x: Tensor) -> dict[str, float]:
        """A step of D and one of G, real images x being given: how the game stands."""
        y = self.generator(self.generator.noise(len(x)))
        self.discriminator.requires_grad_(True)
        real, fake = self.discriminator(x), self.discriminator(y.detach())
        d_loss = minimax_discriminator(real, fake)
        descend(self.d_optimizer, d_loss)

        self.discriminator.requires_grad_(False)
        g_loss = non_saturating_generator(self.discriminator(y))
        descend(self.g_optimizer, g_loss)
        return standing(real, fake, self.discriminator, self.generator, d_loss, g_loss)


def train(args: argparse.Namespace, digits: np.ndarray) -> tuple[Run, dict[str, Game]]:
    stream = minigen.manual_seed(args.seed)
    games = {name: Game((*digits.shape[1:3], 3), pack, args.device) for name, pack in PACKS.items()}
    parts = {f"{name} {key}": part for name, game in games.items() for key, part in vars(game).items()}
    run = Run(args, stream=stream, **parts)
    for _ in run.steps():
        x = Tensor(to_float(stacks(digits, args.batch))).to(args.device)
        for name, game in games.items():
            run.log(**{f"{name}, {curve}": value for curve, value in game.play(x).items()})
    return run, games


def stacks(digits: np.ndarray, n: int, generator: Generator | None = None) -> np.ndarray:
    """n stacks of three of the digits (N, H, W, 1), drawn at random: (n, H, W, 3)."""
    chosen = randint(0, len(digits), (3, n), generator).numpy()
    return np.concatenate([digits[indices] for indices in chosen], axis=-1)


def halved(data: Dataset) -> Dataset:
    """The images at half their size, with black around them that makes their sides multiples of 4."""
    n, height, width, channels = data.images.shape
    small = data.images.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4)).round().astype(np.uint8)
    margins = [(-side % 4 // 2, -side % 4 - -side % 4 // 2) for side in small.shape[1:3]]
    return Dataset(np.pad(small, [(0, 0), *margins, (0, 0)]), data.labels, f"{data.name}, halved")


def modes(features: Features, images: np.ndarray) -> np.ndarray:
    """The number of each stack's mode, made of the classes that its colours are read as: (N, H, W, 3) -> (N,)."""
    classes = features.classifier.values["label"]
    read = [np.searchsorted(classes, features.read(images[..., i : i + 1])) for i in range(3)]
    return np.ravel_multi_index(read, [len(classes)] * 3)


def coverage(mode: np.ndarray, count: int) -> tuple[int, float]:
    """How many of `count` modes are among `mode` (N,), and KL(their histogram || uniform) in nats."""
    p = np.bincount(mode, minlength=count) / len(mode)
    p = p[p > 0]
    return len(p), float((p * np.log(p * count)).sum())


def main() -> None:
    args = arguments("stacked_modes", __doc__.split("\n")[0], steps=2000, batch=64, samples=100).parse_args()
    if args.batch % 2:
        raise SystemExit(f"--batch must be an even number, since PacGAN judges two images at a time, not {args.batch}")
    data = load_data(args, multiple_of=2)
    if data.images.shape[-1] != 1 or not has_classes(data.labels):
        raise SystemExit("--data: needs images of one channel, to be stacked, with labels of two kinds or more")
    data = halved(data)
    training, test = split(args, data)
    run, games = train(args, training.images)

    features = Features(data)
    count = len(features.classifier.values["label"]) ** 3
    noise = Generator(args.seed + FOR_FIGURES)
    z = randn(max(args.samples, MEASURED), LATENT, generator=noise).numpy()
    sets: dict[str, np.ndarray] = {"held out": stacks(test.images, len(z), noise)}
    for name, game in games.items():
        game.generator.eval()
        sets[name] = to_uint8(in_batches(game.generator, z, args.device))
    rows = {name: sets[name][:40] for name in (*games, "held out")}
    run.write_samples(sets["PacGAN-2"][: args.samples], rows)

    metrics: dict[str, Any] = {"modes": count, "measured": MEASURED}
    for name, images in sets.items():
        covered, kl = coverage(modes(features, images[:MEASURED]), count)
        metrics[name] = {"covered": covered, "kl": kl}
        if name in games:
            curves = {key.removeprefix(f"{name}, "): p for key, p in run.curves.items() if key.startswith(name)}
            sentences = diagnose(curves, (covered, count))
            metrics[name]["diagnosis"] = sentences or BALANCED
            print(f"{name}: {' '.join(metrics[name]['diagnosis'])}")
    run.write_metrics(metrics)
    dcgan, pac, real = (metrics[name] for name in ("DCGAN", "PacGAN-2", "held out"))
    beside = "DCGAN: {:.4g}, real stacks: {:.4g}; in the paper {} and {}"
    figures = [
        (
            f"of {count} modes covered by {MEASURED} samples of PacGAN-2",
            pac["covered"],
            ">=",
            dcgan["covered"] + 1,
            beside.format(dcgan["covered"], real["covered"], "78.9", "1000"),
        ),
        ("KL of its modes, nats", pac["kl"], "<=", dcgan["kl"], beside.format(dcgan["kl"], real["kl"], "4.50", "0.06")),
    ]
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
