"""Data augmentation: does a classifier of few labelled digits do better with a GAN's digits among them?

    python examples/augmentation.py                  # trains, then writes runs/augmentation/samples.png
    python examples/augmentation.py --per-class 20   # fewer labelled images
    python examples/augmentation.py --device cuda    # on a GPU

A few images of each class are drawn, five times. From each draw, and nothing else, a GAN learns that is told the class
(Mirza & Osindero 2014; Miyato & Koyama 2018):

    D descends on  -log D(x, y) - log(1 - D(G(z, y), y)),    G on  -log D(G(z, y), y) + mode seeking

So few images D would know by heart, so it sees all of them, real and generated, moved at random (Zhao et al. 2020); and
G would soon make one image of each class, so it pays for making alike images of different noise (Mao et al. 2019).

Then classifiers learn from that draw, all with as many steps: from its images alone; half from samples of G; from
images warped at random (turned, stretched, shifted, bent: what one knows about digits, put in by hand); and from both.
The differences of their accuracies on held-out images come with 95% intervals: Student's t over the draws, in pairs.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import FOR_FIGURES, Run, arguments, at_least, load_data, report, run_main, split
from tqdm import tqdm

import minigen
from minigen import F, Tensor, optim
from minigen.data import DataLoader, Dataset, to_float, to_uint8, warp
from minigen.gans import (
    ConditionalGenerator,
    ProjectionDiscriminator,
    diagnose,
    minimax_discriminator,
    mode_seeking,
    non_saturating_generator,
    standing,
    translation,
)
from minigen.metrics import Features
from minigen.metrics.classifier import Classifier, in_batches
from minigen.random import Generator, randn, replay

DRAWS = 5
LATENT, CHANNELS = 32, 32
MODE_SEEKING = 0.15
FAKES = 2000  # samples of each GAN, for the classifiers
CLASSIFIER_STEPS, CLASSIFIER_BATCH = 300, 64
DIETS = {"images": (False, False), "+ GAN": (True, False), "+ warp": (False, True), "+ warp + GAN": (True, True)}
GAINS = (("+ GAN", "images"), ("+ warp", "images"), ("+ warp + GAN", "images"), ("+ warp + GAN", "+ warp"))


class Game:
    """A draw of labelled images, and the GAN that learns from them. Labels are counted from 0."""

    def __init__(self, args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, draw: int):
        rng = np.random.default_rng([args.seed, draw])
        self.classes, shape = labels.max() + 1, images.shape[1:]
        of_class = [rng.permutation(np.flatnonzero(labels == c))[: args.per_class] for c in range(self.classes)]
        self.images, self.labels = images[np.concatenate(of_class)], labels[np.concatenate(of_class)]
        self.generator = ConditionalGenerator(shape, self.classes, LATENT, channels=CHANNELS)
        self.discriminator = ProjectionDiscriminator(shape, self.classes, channels=CHANNELS)
        for network in (self.generator, self.discriminator):
            network.to(args.device)
        self.ema = optim.EMA(self.generator, decay=0.99)
        self.g_optimizer = optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.99), ema=self.ema)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        steps = -(-args.steps // DRAWS)
        self.g_schedule, self.d_schedule = (optim.CosineLR(o, steps) for o in (self.g_optimizer, self.d_optimizer))
        size = min(args.batch, len(self.images)) // 2 * 2
        self.batches = DataLoader(self.images, self.labels, batch_size=size, seed=args.seed, device=args.device)

    def parts(self) -> dict[str, Any]:
        """All that has a state."""
        optimizers = {name: getattr(self, name) for name in ("g_optimizer", "d_optimizer", "g_schedule", "d_schedule")}
        networks = {name: getattr(self, name) for name in ("generator", "discriminator", "ema")}
        return {"batches": self.batches, **networks, **optimizers}

    def sample(self, n: int, seed: int, device: str) -> tuple[np.ndarray, np.ndarray]:
        """n images, uint8, and the labels that were asked for, each class in turn."""
        labels, z = np.arange(n) % self.classes, randn(n, LATENT, generator=Generator(seed)).numpy()
        self.generator.eval()
        with self.ema.applied(), minigen.no_grad():
            parts = [
                self.generator(Tensor(z[i : i + 250]).to(device), Tensor(labels[i : i + 250]).to(device)).numpy()
                for i in range(0, n, 250)
            ]
        return to_uint8(np.concatenate(parts)), labels


def train(args: argparse.Namespace, games: list[Game], stream: Generator) -> Run:
    parts = {f"{name} {i}": part for i, game in enumerate(games) for name, part in game.parts().items()}
    run = Run(args, stream=stream, **parts)
    for step in run.steps():
        game = games[step % len(games)]  # in turns
        G, D = game.generator, game.discriminator
        images, y = next(game.batches)
        x, z, y = Tensor(to_float(images)), randn(len(images), LATENT, device=args.device), Tensor(y)
        asked = minigen.tile(y[: len(y) // 2], 2)  # pairs of one class
        fakes = G(z, asked)

        D.requires_grad_(True)
        real, fake = D(translation(x, stream), y), D(translation(fakes.detach(), stream), asked)
        d_loss = minimax_discriminator(real, fake)
        descend(game.d_optimizer, game.d_schedule, d_loss)

        D.requires_grad_(False)
        deception = non_saturating_generator(D(translation(fakes, stream), asked))
        g_loss = deception + MODE_SEEKING * mode_seeking(fakes, z)
        descend(game.g_optimizer, game.g_schedule, g_loss)
        run.log(**standing(real, fake, D, G, d_loss, g_loss))
    return run


def descend(optimizer: optim.Optimizer, schedule: optim.CosineLR, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def classify(game: Game, fakes: tuple[np.ndarray, np.ndarray] | None, warped: bool, seed: int, device: str) -> Any:
    """A classifier that learned from the game's images, or half from those and half from fakes."""
    size = CLASSIFIER_BATCH if fakes is None else CLASSIFIER_BATCH // 2
    sources = [(game.images, game.labels), *([] if fakes is None else [fakes])]
    batches = [DataLoader(*source, batch_size=min(size, len(source[0])), seed=seed) for source in sources]
    generator = Generator(seed)
    with replay({"seed": seed, "draw": 0}):
        network = Classifier(game.images.shape[1:], {"label": np.arange(game.classes)}).to(device)
    optimizer = optim.Adam(network.parameters(), lr=2e-3)
    schedule = optim.CosineLR(optimizer, CLASSIFIER_STEPS)
    for _ in range(CLASSIFIER_STEPS):
        images, labels = (np.concatenate(arrays) for arrays in zip(*[next(b) for b in batches], strict=True))
        x = warp(images, generator) / 127.5 - 1 if warped else to_float(images)
        loss = F.cross_entropy(network(Tensor(x).to(device))["label"], Tensor(labels).to(device))
        descend(optimizer, schedule, loss)
    return network
