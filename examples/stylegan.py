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
import itertools
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from common import FOR_FIGURES, Run, arguments, descend, load_split, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, nn, ops, optim
from minigen.data import DataLoader, Dataset, to_float, to_uint8
from minigen.gans import (
    DCGANDiscriminator,
    DCGANGenerator,
    PathLengthPenalty,
    diagnose,
    diversity,
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
DISCRIMINATOR: dict[str, Any] = dict(channels=(64, 64, 32, 16))
LEARNING_RATE, EMA_DECAY = 4e-3, 0.995
R1_EVERY, R1_WEIGHT = 16, 0.3
PATH_EVERY, PATH_WEIGHT = 8, 2.0
MIXED = 0.5  # the share of images with two styles
DCGAN_CHANNELS, DCGAN_LEARNING_RATE = 32, 5e-4
DCGAN_STEPS = 2  # for each of StyleGAN's, of twice as many images: so many that it trains for longer
PSI = (1.0, 0.7, 0.5)
PROJECTION_STEPS, MIXED_PAIRS = 200, 1000
DCGAN = "DCGAN's "  # before the names of its curves
BATCH = 250  # images that are made at a time when there is nothing to learn
PICTURES = ("mixing.png", "truncation.png", "projection.png")


class Game:
    """Two networks, with what their learning takes, by turns: `parts` are saved and restored together."""

    adam: ClassVar[dict[str, Any]]

    def __init__(
        self, args: argparse.Namespace, images: np.ndarray, g: nn.Module, d: nn.Module, steps: int, batch: int
    ):
        self.g, self.d = g.to(args.device), d.to(args.device)
        self.ema = optim.EMA(g, EMA_DECAY)
        self.optimizers = {"g": optim.Adam(g.parameters(), **self.adam, ema=self.ema)}
        self.optimizers["d"] = optim.Adam(d.parameters(), **self.adam)
        self.schedules = {name: optim.CosineLR(one, steps) for name, one in self.optimizers.items()}
        self.batches = DataLoader(images, batch_size=min(batch, len(images)), seed=args.seed, device=args.device)
        self.parts: dict[str, Any] = {"g": self.g, "d": self.d, "ema": self.ema, "batches": self.batches}
        for name, optimizer in self.optimizers.items():
            self.parts |= {f"{name}_optimizer": optimizer, f"{name}_schedule": self.schedules[name]}

    def descend(self, name: str, loss: Tensor) -> None:
        descend(self.optimizers[name], loss)
        self.schedules[name].step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


class StyleGAN(Game):
    adam: ClassVar = dict(lr=LEARNING_RATE, betas=(0.0, 0.99))

    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random, self.kind = random, args.augment
        g, d = StyleGenerator(images.shape[1:], **GENERATOR), StyleDiscriminator(images.shape[1:], **DISCRIMINATOR)
        super().__init__(args, images, g, d, args.steps, args.batch)
        self.path_length, self.adaptive = PathLengthPenalty(), AdaptiveProbability()
        self.parts |= {"path_length": self.path_length, "adaptive": self.adaptive}

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
            log["penalty: R1"] = r1.item()
        self.descend("d", d_total)

        self.d.requires_grad_(False)
        g_loss = g_total = non_saturating_generator(self.d(seen))
        if step % PATH_EVERY == 0:
            penalty, lengths = self.path_penalty(max(1, len(real) // 2))
            g_total = g_loss + PATH_EVERY * PATH_WEIGHT * penalty
            log["path length: mean"] = lengths.mean().item()
        self.descend("g", g_total)
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
    """DCGAN, with batch norm in both networks (Radford et al. 2016)."""

    adam: ClassVar = dict(lr=DCGAN_LEARNING_RATE, betas=(0.5, 0.99))

    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random, shape = random, images.shape[1:]
        levels = 3 if shape[0] % 8 == shape[1] % 8 == 0 else 2
        g = DCGANGenerator(shape, channels=DCGAN_CHANNELS, levels=levels)
        d = DCGANDiscriminator(shape, channels=DCGAN_CHANNELS, levels=levels)
        super().__init__(args, images, g, d, DCGAN_STEPS * args.steps, 2 * args.batch)

    def train_step(self) -> dict[str, float]:
        real = Tensor(to_float(next(self.batches)))
        fake = self.g(self.g.noise(len(real), self.random))
        real_logits, fake_logits = self.d(real), self.d(fake.detach())
        d_loss = minimax_discriminator(real_logits, fake_logits)
        self.descend("d", d_loss)
        self.d.requires_grad_(False)
        g_loss = non_saturating_generator(self.d(fake))
        self.descend("g", g_loss)
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
        run.log(**{DCGAN + name: value for name, value in log.items()})
    return run, ours, theirs, clock


# ---- what came of it ----------------------------------------------------------------------------------


def sample(stylegan: StyleGAN, dcgan: PlainGAN, n: int, random: Generator) -> tuple[np.ndarray, np.ndarray]:
    """n images of each averaged generator, uint8."""
    dcgan.g.eval()
    ours, theirs = [], []
    with stylegan.ema.applied(), dcgan.ema.applied(), minigen.no_grad():
        for first in tqdm(range(0, n, BATCH), unit="batch", desc="sampling"):
            m = min(BATCH, n - first)
            ours.append(to_uint8(stylegan.g(stylegan.g.draw_z(m, random), random).numpy()))
            theirs.append(to_uint8(dcgan.g(dcgan.g.noise(m, random)).numpy()))
    dcgan.g.train()
    return np.concatenate(ours), np.concatenate(theirs)


def paint(g: StyleGenerator, w: Tensor, noise: list[Tensor]) -> np.ndarray:
    """The images of w (N, layers, w_dim), all with the same noise, uint8."""
    return np.concatenate([to_uint8(g.synthesis(w[i : i + BATCH], noise).numpy()) for i in range(0, len(w), BATCH)])


def truncated(g: StyleGenerator, n: int, random: Generator) -> dict[float, np.ndarray]:
    """n images of the same z and noise for each of PSI."""
    average, z, noise = g.average_w(random), g.draw_z(n, random), g.synthesis.draw_noise(1, random)
    return {psi: paint(g, g.styles(z, average, psi), noise) for psi in tqdm(PSI, unit="psi", desc="truncating")}


def crossed(g: StyleGenerator, pairs: int, random: Generator) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Images a and b, and for each crossover those of a's w in the layers before it and b's from there on."""
    a, b = (g.styles(g.draw_z(pairs, random)) for _ in range(2))
    noise, layers = g.synthesis.draw_noise(1, random), g.synthesis.layers
    crossovers = tqdm(range(1, layers), unit="crossover", desc="mixing")
    return paint(g, a, noise), paint(g, b, noise), {c: paint(g, mix(a, b, c), noise) for c in crossovers}


def attributes(features: Features, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the classifier reads: all attributes, or the label if there are none, or nothing."""
    read = features.attributes(images)
    return read or ({"label": features.read(images)} if "label" in features.accuracy else {})


def followed(a: dict, b: dict, mixed: dict, half: slice) -> dict[str, np.ndarray]:
    """attribute -> the shares of mixed images with a's value and with b's, over those pairs where the two differ."""
    differ = {name: a[name][half] != b[name][half] for name in a}
    return {
        name: np.array([(mixed[name][half] == x[name][half])[chosen].mean() for x in (a, b)])
        for name, chosen in differ.items()
        if chosen.any()
    }


def measure_mixing(features: Features, a: np.ndarray, b: np.ndarray, mixed: dict[int, np.ndarray]) -> dict[str, Any]:
    """Do attributes go where their layers go? Half of the pairs say which layers those are, the others are the test.

    At a crossover, an attribute belongs to the coarse layers (a's) if it follows a more often than b, and to the fine
    ones (b's) otherwise; the crossover is that where attributes follow best, of those where each side has some.
    `transferred` is the share of mixed images with the value of the side that the attribute belongs to, where a's and
    b's differ: the mean over the attributes.
    """
    read_a, read_b = attributes(features, a), attributes(features, b)
    read = {c: attributes(features, images) for c, images in tqdm(mixed.items(), unit="crossover", desc="reading")}
    half = len(a) // 2
    seen = {c: followed(read_a, read_b, read[c], slice(half)) for c in mixed}
    both = [c for c, shares in seen.items() if len({share.argmax() for share in shares.values()}) == 2]
    crossover = max(both or mixed, key=lambda c: sum(share.max() for share in seen[c].values()))
    side = {name: int(share.argmax()) for name, share in seen[crossover].items()}
    tested = followed(read_a, read_b, read[crossover], slice(half, None))
    transferred = {name: float(share[side[name]]) for name, share in tested.items() if name in side}
    return {
        "crossover": crossover,
        "belongs_to": {name: ("coarse", "fine")[i] for name, i in side.items()},
        "transferred_by_attribute": transferred,
        "transferred": float(np.mean(list(transferred.values()))) if transferred else math.nan,
    }


def mixing_table(g: StyleGenerator, crossover: int, random: Generator) -> dict[str, np.ndarray]:
    """Rows as in Karras et al. 2019, figure 3: at the left the images of the coarse layers, on top of the fine ones."""
    a, b, noise = g.styles(g.draw_z(5, random)), g.styles(g.draw_z(9, random)), g.synthesis.draw_noise(1, random)
    left, top = paint(g, a, noise), paint(g, b, noise)
    rows = {"fine layers of": np.concatenate([np.full_like(top[:1], 255), top])}
    for i in range(len(a)):
        across = mix(ops.broadcast_to(a[i : i + 1], b.shape), b, crossover)
        rows[f"{i + 1}: coarse layers of" if i else "coarse layers of"] = np.concatenate(
            [left[i : i + 1], paint(g, across, noise)]
        )
    return rows


def pictures_to_project(path: Path | None, test: Dataset) -> np.ndarray:
    """That of --project, scaled to the size of the others, or else the first eight held-out images."""
    if path is None:
        return test.images[:8]
    from PIL import Image

    height, width, channels = test.images.shape[1:]
    try:
        with Image.open(path) as picture:
            resized = picture.convert("RGB" if channels == 3 else "L").resize((width, height))
    except OSError as error:
        sys.exit(f"--project: {error}")
    return np.asarray(resized).reshape(1, height, width, channels)


def main() -> None:
    parser = arguments("stylegan", __doc__.split("\n")[0], steps=3000, batch=32, samples=2000, data="shapes")
    parser.add_argument("--augment", choices=["none", "diffaugment", "ada"], default="none", help="what D sees")
    parser.add_argument("--project", type=Path, help="a picture to find the w of; else eight held-out images")
    args = parser.parse_args()
    picture = vars(args).pop("project")  # no setting of the run
    training, test = load_split(args, multiple_of=4)
    pictures = pictures_to_project(picture, test)
    run, stylegan, dcgan, clock = train(args, training.images)

    random = Generator(args.seed + FOR_FIGURES)
    ours, theirs = sample(stylegan, dcgan, args.samples, random)
    with stylegan.ema.applied():
        with minigen.no_grad():
            by_psi = truncated(stylegan.g, args.samples, random)
            a, b, mixed = crossed(stylegan.g, MIXED_PAIRS, random)
        features = Features(training)
        mixing = measure_mixing(features, a, b, mixed)
        with minigen.no_grad():
            table = mixing_table(stylegan.g, mixing["crossover"], random)
        bar = partial(tqdm, unit="step", desc="projecting")
        target = Tensor(to_float(pictures)).to(args.device)
        w, noise = project(stylegan.g, target, random, PROJECTION_STEPS, progress=bar)
        with minigen.no_grad():
            found = to_uint8(stylegan.g.synthesis(w, noise).numpy())

    n = min(args.samples, len(test))
    real, floor = features(training.images), features(test.images[:n])
    scores = {name: compare(real, features(x[:n]), floor) for name, x in (("StyleGAN", ours), ("DCGAN", theirs))}
    for name, score in scores.items():
        print(f"{name}, trained for {clock.seconds[name]:.0f} s\n{comparison_table(score)}")
    truncation = {psi: precision_recall(real, features(x)) for psi, x in by_psi.items()} if args.samples > 3 else {}
    sentences = {name: judge(run, name, real, features(x)) for name, x in (("StyleGAN", ours), ("DCGAN", theirs))}

    columns = min(12, n)
    rows = {"real": test.images, "StyleGAN 2": ours, "DCGAN": theirs}
    run.write_samples(ours, {name: x[: 3 * columns] for name, x in rows.items()})
    save_rows(table, run.folder / "mixing.png", columns=10)
    save_rows({f"psi = {psi:g}": x[:columns] for psi, x in by_psi.items()}, run.folder / "truncation.png", columns=12)
    save_rows({"picture": pictures, "found": found}, run.folder / "projection.png", columns=8)
    run.write_metrics(
        {
            "seconds": clock.seconds,
            **scores,
            "truncation": {f"psi {psi:g}": {"precision": p, "recall": r} for psi, (p, r) in truncation.items()},
            "mixing": mixing,
            "projection_psnr": psnr(found, pictures),
            "projection_psnr_each": [psnr(x[None], y[None]) for x, y in zip(found, pictures, strict=True)],
            "diagnosis": sentences,
        }
    )
    report(figures(clock, scores, truncation, mixing), args.check)


def judge(run: Run, name: str, real: np.ndarray, fake: np.ndarray) -> list[str]:
    """What the curves of one of the two games say, and the variety of its images' features."""
    of_dcgan = {key: points for key, points in run.curves.items() if key.startswith(DCGAN)}
    of_stylegan = {key: points for key, points in run.curves.items() if key not in of_dcgan}
    curves = of_stylegan if name == "StyleGAN" else {key.removeprefix(DCGAN): v for key, v in of_dcgan.items()}
    varied = diversity(real, fake) if len(fake) > 1 else None
    found = diagnose(curves, diversity=varied) or ["the game is in balance: no sign of collapse or divergence"]
    print(*[f"{name}: {sentence}" for sentence in found], sep="\n")
    return found


def figures(clock: Clock, scores: dict, truncation: dict, mixing: dict) -> list[tuple[str, float, str, float, str]]:
    """The lines of `report`: those that so many samples can say something about."""
    seconds, ours, theirs = clock.seconds, scores["StyleGAN"], scores["DCGAN"]
    lines = [("DCGAN's seconds of training", seconds["DCGAN"], ">=", seconds["StyleGAN"], "StyleGAN's")]
    if math.isfinite(ours["frechet"]):
        beside = f"DCGAN's; real images: {ours['floor_frechet']:.3g}"
        lines.append(("Frechet distance", ours["frechet"], "<=", theirs["frechet"], beside))
    for above, below in itertools.pairwise(truncation):
        (p, r), (tighter_p, tighter_r) = truncation[above], truncation[below]
        lines.append((f"precision at psi = {below:g}", tighter_p, ">=", p, f"at psi = {above:g}"))
        lines.append((f"recall at psi = {below:g}", tighter_r, "<=", r, f"at psi = {above:g}"))
    if math.isfinite(mixing["transferred"]):
        each = ", ".join(
            f"{k} ({mixing['belongs_to'][k]}) {v:.2f}" for k, v in mixing["transferred_by_attribute"].items()
        )
        lines.append(("attributes that go with their layers", mixing["transferred"], ">=", 0.8, each))
    return lines


if __name__ == "__main__":
    run_main(main)
