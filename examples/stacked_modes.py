"""Mode coverage: a GAN of three digits stacked as the colours of one image, which come in 10^3 kinds; then PacGAN.

    python examples/stacked_modes.py                 # trains both, then writes runs/stacked_modes/samples.png
    python examples/stacked_modes.py --seed 1

A generator need not make everything there is: G is asked for images that D takes for real, and D, who sees one image at
a time, cannot tell that two of them are alike. PacGAN (Lin et al. 2018) shows D two images at a time, of which it gives
one judgement. Now a G that repeats itself gives itself away: real pairs rarely match. Nothing else is different:

    D descends on  -log D(x1, x2) - log(1 - D(G(z1), G(z2))),    G on  -log D(G(z1), G(z2))

How many of the 1,000 kinds a G makes is counted by reading each colour with a classifier of the digits. Both games are
played on the same real images, for the same number of steps, with the same generator and the same settings.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import FOR_FIGURES, Run, arguments, in_batches, load_data, report, run_main, split

import minigen
from minigen import Tensor, nn, optim
from minigen.data import Dataset, to_float, to_uint8
from minigen.gans import (
    DCGANDiscriminator,
    DCGANGenerator,
    diagnose,
    minimax_discriminator,
    non_saturating_generator,
    standing,
)
from minigen.metrics import Features
from minigen.random import Generator, randint, randn

LATENT, GENERATOR_CHANNELS, DISCRIMINATOR_CHANNELS = 64, 16, 4
MEASURED = 10_000  # stacks whose modes are counted
PACKS = {"DCGAN": 1, "PacGAN-2": 2}  # images that D judges together


class Game:
    """A generator against a discriminator that judges `pack` images together."""

    def __init__(self, image_shape: tuple[int, int, int], pack: int, device: str):
        self.generator = DCGANGenerator(image_shape, LATENT, GENERATOR_CHANNELS)
        self.discriminator = DCGANDiscriminator(image_shape, DISCRIMINATOR_CHANNELS, pack=pack)
        self.generator.to(device)
        self.discriminator.to(device)
        self.g_optimizer = optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.99))
        self.parts: dict[str, Any] = {name: part for name, part in vars(self).items()}

    def play(self, x: Tensor) -> dict[str, float]:
        """A step of D and one of G on real images x; how the game stands."""
        y = self.generator(self.generator.noise(len(x)))
        self.discriminator.requires_grad_(True)
        real, fake = self.discriminator(x), self.discriminator(y.detach())
        d_loss = minimax_discriminator(real, fake)
        descend(self.d_optimizer, d_loss)
        self.discriminator.requires_grad_(False)
        g_loss = non_saturating_generator(self.discriminator(y))
        descend(self.g_optimizer, g_loss)
        return standing(real, fake, self.discriminator, self.generator, d_loss, g_loss)

    def draw(self, z: np.ndarray, device: str) -> np.ndarray:
        self.generator.eval()
        return to_uint8(in_batches(self.generator, z, device))


def descend(optimizer: optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, dict[str, Game]]:
    stream = minigen.manual_seed(args.seed)
    games = {name: Game((*images.shape[1:3], 3), pack, args.device) for name, pack in PACKS.items()}
    parts = {f"{name} {key}": part for name, game in games.items() for key, part in game.parts.items()}
    run = Run(args, stream=stream, **parts)
    for _ in run.steps():
        x = Tensor(to_float(stacks(images, args.batch))).to(args.device)
        for name, game in games.items():
            for curve, value in game.play(x).items():
                panel, line = curve.split(": ")
                run.log(**{f"{panel}: {line}, {name}": value})
    return run, games


def stacks(digits: np.ndarray, n: int, generator: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """n stacks of three random digits (N, H, W, 1) each: (n, H, W, 3); and which digits they are: (n, 3)."""
    chosen = randint(0, len(digits), (n, 3), generator).numpy()
    return np.concatenate([digits[chosen[:, i]] for i in range(3)], -1), chosen


def halved(data: Dataset) -> Dataset:
    """The images at half their size, black around them so that the sides are multiples of 4."""
    n, height, width, _ = data.images.shape
    small = data.images.reshape(n, height // 2, 2, width // 2, 2, 1).mean((2, 4)).round().astype(np.uint8)
    margins = [(-side % 4 // 2, -side % 4 - -side % 4 // 2) for side in small.shape[1:3]]
    return Dataset(np.pad(small, [(0, 0), *margins, (0, 0)]), data.labels, f"{data.name}, halved")


def modes(features: Features, images: np.ndarray) -> np.ndarray:
    """The number of each stack's mode, as the classifier reads its three digits: (N, H, W, 3) -> (N,)."""
    classes = features.classifier.values["label"]
    read = [np.searchsorted(classes, features.read(images[..., i : i + 1])) for i in range(3)]
    return np.ravel_multi_index(read, (len(classes),) * 3)


def coverage(mode: np.ndarray, count: int) -> tuple[int, float]:
    """Of `count` modes, how many there are among `mode` (N,); and KL(their histogram || uniform), in nats."""
    p = np.bincount(mode, minlength=count) / len(mode)
    p = p[p > 0]
    return len(p), float((p * np.log(p * count)).sum())


def main() -> None:
    args = arguments("stacked_modes", __doc__.split("\n")[0], steps=2000, batch=64, samples=100).parse_args()
    args.batch -= args.batch % 2
    data = load_data(args, multiple_of=2)
    if data.images.shape[-1] != 1 or data.labels is None or len(np.unique(data.labels)) < 2:
        raise SystemExit("--data: needs images of one channel with labels of two kinds or more, to be stacked and read")
    data = halved(data)
    training, test = split(args, data)
    run, games = train(args, training.images)

    features = Features(data)
    count = len(features.classifier.values["label"]) ** 3
    noise = Generator(args.seed + FOR_FIGURES)
    z = randn(max(args.samples, MEASURED), LATENT, generator=noise).numpy()
    sets = {name: game.draw(z, args.device) for name, game in games.items()}
    sets["held out"], _ = stacks(test.images, MEASURED, noise)
    run.write_samples(sets["PacGAN-2"][: args.samples], {name: images[:40] for name, images in sets.items()})

    covered, kl, diagnosis = {}, {}, {}
    for name, images in sets.items():
        covered[name], kl[name] = coverage(modes(features, images[:MEASURED]), count)
    for name in games:
        curves = {key.removeprefix(f"{name}, "): p for key, p in run.curves.items() if key.startswith(name)}
        sentences = diagnose(curves, (covered[name], count))
        diagnosis[name] = sentences or ["the game is in balance: no sign of collapse or divergence"]
        print(f"{name}: {' '.join(diagnosis[name])}")
    run.write_metrics({"modes": count, "measured": MEASURED, "covered": covered, "kl": kl, "diagnosis": diagnosis})
    paper = "in the paper 78.9 and 1000 of 1000"
    report([], args.check)


if __name__ == "__main__":
    run_main(main)
