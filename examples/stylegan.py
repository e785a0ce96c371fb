"""StyleGAN 2 (Karras et al. 2020) of pictures of coloured shapes, beside a DCGAN that trains for as long.

    python examples/stylegan.py                              # trains both, then writes runs/stylegan/*.png
    python examples/stylegan.py --resume --project cat.png   # finds the w that makes this picture, or nearly
    python examples/stylegan.py --augment diffaugment        # or ada, or none

The whole algorithm: a mapping network turns noise z into styles w, and in each of its layers a synthesis network is
told by w how strongly to read each channel. D learns to tell its images from real ones, G to deceive D. Now and then
D's slope at real images is punished (R1), and G for moving further in some directions of w than in others (path
length). Some images get the w of one z in their coarse layers, and that of another in their fine ones, so that G learns
to keep apart what the layers do: afterwards an image's coarse layers can be given another's fine ones.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import FOR_FIGURES, Run, arguments, load_split, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, Dataset, to_float, to_uint8
from minigen.gans import (
    DCGANDiscriminator,
    DCGANGenerator,
    PathLengthPenalty,
    diagnose,
    diversity,
    hinge_discriminator,
    hinge_generator,
    minimax_discriminator,
    non_saturating_generator,
    r1_penalty,
    standing,
)
from minigen.gans.augment import AdaptiveProbability, augment
from minigen.gans.projection import project
from minigen.gans.stylegan import StyleDiscriminator, StyleGenerator, mix
from minigen.metrics import Features, compare, comparison_table, precision_recall, psnr
from minigen.random import Generator
from minigen.viz import save_rows

GENERATOR: dict[str, Any] = dict(channels=(64, 64, 32, 16), z_dim=64, w_dim=64)  # the smallest resolution first
DISCRIMINATOR: dict[str, Any] = dict(channels=(128, 64, 32), patch=2)
LEARNING_RATE, EMA_DECAY = 2e-3, 0.995
R1_EVERY, R1_WEIGHT = 16, 0.01
PATH_EVERY, PATH_WEIGHT = 8, 2.0
MIXED = 0.5  # the share of images with two styles
DCGAN: dict[str, Any] = dict(channels=32, levels=3)
DCGAN_STEPS = 3  # for each of StyleGAN's: so many that it trains for longer
DCGAN_LEARNING_RATE = 1e-3
PSI = (1.0, 0.7, 0.5)
PROJECTION_STEPS, MIXED_PAIRS = 200, 1000
PICTURES = ("mixing.png", "truncation.png", "projection.png")


class Game:
    """Two networks and what their learning takes: `parts`, which are saved and restored together."""

    parts: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


class StyleGAN(Game):
    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random, self.kind = random, args.augment
        self.g = StyleGenerator(images.shape[1:], **GENERATOR).to(args.device)
        self.d = StyleDiscriminator(images.shape[1:], **DISCRIMINATOR).to(args.device)
        self.ema = optim.EMA(self.g, EMA_DECAY)
        self.g_optimizer = optim.Adam(self.g.parameters(), LEARNING_RATE, betas=(0.0, 0.99), ema=self.ema)
        self.d_optimizer = optim.Adam(self.d.parameters(), LEARNING_RATE, betas=(0.0, 0.99))
        self.path_length, self.adaptive = PathLengthPenalty(), AdaptiveProbability()
        self.batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
        names = ("g", "d", "ema", "g_optimizer", "d_optimizer", "path_length", "adaptive", "batches")
        self.parts = {name: getattr(self, name) for name in names}

    def train_step(self, step: int) -> dict[str, float]:
        """A step of D, then one of G on the same images: what there is to log."""
        real, log = Tensor(to_float(next(self.batches))), {}
        fake = self.g.synthesis(self.styles(len(real)), self.g.synthesis.draw_noise(len(real), self.random))
        seen = self.augmented(fake)

        real_logits, fake_logits = self.d(self.augmented(real)), self.d(seen.detach())
        d_loss = d_total = minimax_discriminator(real_logits, fake_logits)
        if step % R1_EVERY == 0:  # lazily, but that much more strongly (section 3.1)
            r1 = r1_penalty(lambda x: self.d(self.augmented(x)), real)
            d_total = d_loss + R1_EVERY * R1_WEIGHT * r1
            log["R1: |grad D|^2 / 2 at real images"] = r1.item()
        descend(self.d_optimizer, d_total)

        self.d.requires_grad_(False)
        g_loss = g_total = non_saturating_generator(self.d(seen))
        if step % PATH_EVERY == 0:
            penalty, lengths = self.path_penalty(max(1, len(real) // 2))
            g_total = g_loss + PATH_EVERY * PATH_WEIGHT * penalty
            log["path length: of a step of w"] = lengths.mean().item()
        descend(self.g_optimizer, g_total)
        self.d.requires_grad_(True)

        if self.kind == "ada":
            self.adaptive.update(real_logits)
            log["ADA: probability"], log["ADA: r"] = self.adaptive.p, self.adaptive.r
        return standing(real_logits, fake_logits, self.d, self.g, d_loss, g_loss) | log

    def styles(self, n: int) -> Tensor:
        """w for n images; a share of them has two, with the crossover anywhere."""
        w, other = (self.g.styles(self.g.draw_z(n, self.random)) for _ in range(2))
        layers = self.g.synthesis.layers
        crossover = minigen.randint(1, layers, n, generator=self.random).numpy()
        mixed = minigen.rand(n, generator=self.random).numpy() < MIXED
        return mix(w, other, np.where(mixed, crossover, layers))

    def augmented(self, x: Tensor) -> Tensor:
        probability = {"none": 0.0, "diffaugment": 1.0, "ada": self.adaptive.p}[self.kind]
        return augment(x, self.random, probability)

    def path_penalty(self, n: int) -> tuple[Tensor, Tensor]:
        w = self.styles(n)
        images = self.g.synthesis(w, self.g.synthesis.draw_noise(n, self.random))
        return self.path_length(images, w, minigen.randn(*images.shape, generator=self.random, device=images.device))


class PlainGAN(Game):
    """DCGAN with a spectrally normalised D and the hinge loss (Miyato et al. 2018)."""

    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random = random
        self.g = DCGANGenerator(images.shape[1:], **DCGAN).to(args.device)
        self.d = DCGANDiscriminator(images.shape[1:], **DCGAN, norm=None, spectral_norm=True).to(args.device)
        self.ema = optim.EMA(self.g, EMA_DECAY)
        self.g_optimizer = optim.Adam(self.g.parameters(), DCGAN_LEARNING_RATE, betas=(0.5, 0.99), ema=self.ema)
        self.d_optimizer = optim.Adam(self.d.parameters(), DCGAN_LEARNING_RATE, betas=(0.5, 0.99))
        self.batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
        names = ("g", "d", "ema", "g_optimizer", "d_optimizer", "batches")
        self.parts = {name: getattr(self, name) for name in names}

    def train_step(self) -> dict[str, float]:
        real = Tensor(to_float(next(self.batches)))
        fake = self.g(self.g.noise(len(real), self.random))
        real_logits, fake_logits = self.d(real), self.d(fake.detach())
        d_loss = hinge_discriminator(real_logits, fake_logits)
        descend(self.d_optimizer, d_loss)
        self.d.requires_grad_(False)
        g_loss = hinge_generator(self.d(fake))
        descend(self.g_optimizer, g_loss)
        self.d.requires_grad_(True)
        return standing(real_logits, fake_logits, self.d, self.g, d_loss, g_loss)


class Clock:
    """The seconds that each of several things has taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def counts(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = {name: float(value) for name, value in state.items()}


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, StyleGAN, PlainGAN, Clock]:
    """Both by turns, so that whatever else the machine does hits both alike."""
    random = minigen.manual_seed(args.seed)
    ours, theirs, clock = StyleGAN(args, images, random), PlainGAN(args, images, random), Clock()
    run = Run(args, PICTURES, stylegan=ours, dcgan=theirs, clock=clock, generator=random)
    for step in run.steps():
        with clock.counts("StyleGAN"):
            run.log(**ours.train_step(step))
        with clock.counts("DCGAN"):
            for _ in range(DCGAN_STEPS):
                log = theirs.train_step()
        run.log(**{f"DCGAN's {name}": value for name, value in log.items()})
    return run, ours, theirs, clock


def descend(optimizer: optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# ---- what came of it ----------------------------------------------------------------------------------


def sample(stylegan: StyleGAN, dcgan: PlainGAN, n: int, random: Generator) -> tuple[np.ndarray, np.ndarray]:
    """n images of each averaged generator, uint8."""
    dcgan.g.eval()
    ours, theirs = [], []
    with stylegan.ema.applied(), dcgan.ema.applied(), minigen.no_grad():
        for first in tqdm(range(0, n, 250), unit="batch", desc="sampling"):
            m = min(250, n - first)
            ours.append(to_uint8(stylegan.g(stylegan.g.draw_z(m, random), random).numpy()))
            theirs.append(to_uint8(dcgan.g(dcgan.g.noise(m, random)).numpy()))
    dcgan.g.train()
    return np.concatenate(ours), np.concatenate(theirs)


def paint(g: StyleGenerator, w: Tensor, noise: list[Tensor]) -> np.ndarray:
    """The images of w (N, layers, w_dim), all with the same noise, uint8."""
    parts = [w[i : i + 250] for i in range(0, len(w), 250)]
    return np.concatenate([to_uint8(g.synthesis(part, noise).numpy()) for part in parts])


def truncated(g: StyleGenerator, n: int, random: Generator) -> dict[float, np.ndarray]:
    """n images of the same z and noise for each of PSI."""
    average, w, noise = g.average_w(random), g.styles(g.draw_z(n, random)), g.synthesis.draw_noise(1, random)
    return {psi: paint(g, average + psi * (w - average), noise) for psi in tqdm(PSI, desc="truncating")}


def crossed(g: StyleGenerator, pairs: int, random: Generator) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Images a and b, and for each crossover those of a's w in the layers before it and b's from there on."""
    a, b = (g.styles(g.draw_z(pairs, random)) for _ in range(2))
    noise, layers = g.synthesis.draw_noise(1, random), g.synthesis.layers
    mixed = {c: paint(g, mix(a, b, np.full(pairs, c)), noise) for c in tqdm(range(1, layers), desc="mixing")}
    return paint(g, a, noise), paint(g, b, noise), mixed


def followed(read: dict[str, Any], half: slice, crossover: int) -> dict[str, tuple[float, float]]:
    """attribute -> (share of mixed images that have a's value, share that have b's), where a's and b's differ."""
    shares = {}
    for name, a in read["a"].items():
        a, b, mixed = a[half], read["b"][name][half], read[crossover][name][half]
        differ = a != b
        if differ.any():
            shares[name] = (float((mixed == a)[differ].mean()), float((mixed == b)[differ].mean()))
    return shares


def measure_mixing(features: Features, a: np.ndarray, b: np.ndarray, mixed: dict[int, np.ndarray]) -> dict[str, Any]:
    """Do attributes go where their layers go? Which layers those are, half of the pairs say; the other half is tested.

    At a crossover, an attribute belongs to the coarse layers (a's) if it follows a more often than b, to the fine ones
    (b's) otherwise. The crossover is the one where attributes follow best, each side having some. `transferred` is the
    share of images that have the value of the side which the attribute belongs to: its mean over the attributes.
    """
    read: dict[Any, Any] = {c: features.attributes(images) for c, images in mixed.items()}
    read |= {"a": features.attributes(a), "b": features.attributes(b)}
    first, second = slice(0, len(a) // 2), slice(len(a) // 2, None)
    seen = {c: followed(read, first, c) for c in mixed}
    split = [c for c, shares in seen.items() if len({x > y for x, y in shares.values()}) == 2] or list(mixed)
    crossover = max(split, key=lambda c: np.mean([max(pair) for pair in seen[c].values()]))
    owner = {name: "coarse" if x > y else "fine" for name, (x, y) in seen[crossover].items()}
    tested = followed(read, second, crossover)
    of_owner = {name: tested[name][owner[name] == "fine"] for name in owner if name in tested}
    return {
        "crossover": crossover,
        "belongs_to": owner,
        "transferred_by_attribute": of_owner,
        "transferred": float(np.mean(list(of_owner.values()))),
    }


def pictures_to_project(args: argparse.Namespace, test: Dataset) -> np.ndarray:
    """That of --project, scaled to the size of the others, or else the first eight held-out images."""
    if args.project is None:
        return test.images[:8]
    from PIL import Image

    height, width, channels = test.images.shape[1:]
    try:
        with Image.open(args.project) as picture:
            resized = picture.convert("RGB" if channels == 3 else "L").resize((width, height))
    except OSError as error:
        sys.exit(f"--project: {error}")
    return np.asarray(resized).reshape(1, height, width, channels)


def rows_of_mixing(a: np.ndarray, b: np.ndarray, mixed: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    """A table as in Karras et al. 2019, figure 3: b's on top, a's at the left."""
    blank = np.full_like(b[:1], 255)
    table = {"fine layers of": np.concatenate([blank, b])}
    for i in range(rows):
        table[f"coarse layers of {i + 1}"] = np.concatenate([a[i : i + 1], mixed[i * len(b) : (i + 1) * len(b)]])
    return table


def main() -> None:
    parser = arguments("stylegan", __doc__.split("\n")[0], steps=3000, batch=32, samples=2000, data="shapes")
    parser.add_argument("--augment", choices=["none", "diffaugment", "ada"], default="none", help="what D sees")
    parser.add_argument("--project", type=Path, help="a picture to find the w of; else some held-out images")
    args = parser.parse_args()
    training, test = load_split(args, multiple_of=4)
    to_project = pictures_to_project(args, test)
    run, stylegan, dcgan, clock = train(args, training.images)

    random = Generator(args.seed + FOR_FIGURES)
    features = Features(training)
    ours, theirs = sample(stylegan, dcgan, args.samples, random)
    real, floor = features(training.images), features(test.images[: args.samples])
    n = len(floor)
    scores = {name: compare(real, features(x[:n]), floor) for name, x in (("StyleGAN", ours), ("DCGAN", theirs))}
    for name, score in scores.items():
        print(f"{name}, trained for {clock.seconds[name]:.0f} s\n{comparison_table(score)}")
