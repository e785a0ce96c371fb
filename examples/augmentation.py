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
from common import FOR_FIGURES, Run, arguments, at_least, descend, in_batches, load_data, report, run_main, split
from tqdm import tqdm

import minigen
from minigen import F, Tensor, optim
from minigen.data import DataLoader, Dataset, to_float, to_uint8, warp
from minigen.gans import (
    ConditionalGenerator,
    ProjectionDiscriminator,
    diagnose,
    diversity,
    minimax_discriminator,
    mode_seeking,
    non_saturating_generator,
    standing,
)
from minigen.gans.augment import translation
from minigen.metrics import Features, compare, comparison_table
from minigen.metrics.classifier import Classifier
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
        descend(game.d_optimizer, d_loss)
        game.d_schedule.step()

        D.requires_grad_(False)
        deception = non_saturating_generator(D(translation(fakes, stream), asked))
        g_loss = deception + MODE_SEEKING * mode_seeking(fakes, z)
        descend(game.g_optimizer, g_loss)
        game.g_schedule.step()
        run.log(**standing(real, fake, D, G, d_loss, g_loss))
    return run


def classify(
    args: argparse.Namespace, game: Game, fakes: tuple[np.ndarray, np.ndarray], gan: bool, warped: bool
) -> Any:
    """A classifier that learned from the game's images, or half from those and half from fakes."""
    sources = [(game.images, game.labels), fakes] if gan else [(game.images, game.labels)]
    sizes = [min(CLASSIFIER_BATCH // len(sources), len(images)) for images, _ in sources]
    batches = [
        DataLoader(*source, batch_size=size, seed=args.seed) for source, size in zip(sources, sizes, strict=True)
    ]
    generator = Generator(args.seed + FOR_FIGURES)
    with replay(generator.state_dict()):
        network = Classifier(game.images.shape[1:], {"label": np.arange(game.classes)}).to(args.device)
    optimizer = optim.Adam(network.parameters(), lr=2e-3)
    schedule = optim.CosineLR(optimizer, CLASSIFIER_STEPS)
    for _ in range(CLASSIFIER_STEPS):
        images, labels = (np.concatenate(arrays) for arrays in zip(*[next(b) for b in batches], strict=True))
        x = warp(images, generator) / 127.5 - 1 if warped else to_float(images)
        logits = network(Tensor(x).to(args.device))["label"]
        descend(optimizer, F.cross_entropy(logits, Tensor(labels).to(args.device)))
        schedule.step()
    return network


def accuracies(args: argparse.Namespace, games: list[Game], fakes: list, test: Dataset) -> dict[str, np.ndarray]:
    """The share of test images that classifiers of each diet read right: diet -> (draws,)."""
    found: dict[str, list[float]] = {diet: [] for diet in DIETS}
    x = to_float(test.images)
    with tqdm(total=len(games) * len(DIETS), unit="classifier", desc="learning classifiers") as bar:
        for game, samples in zip(games, fakes, strict=True):
            for diet, (gan, warped) in DIETS.items():
                network = classify(args, game, samples, gan, warped)
                read = in_batches(lambda x, network=network: network(x)["label"], x, args.device).argmax(1)
                found[diet].append(float((read == test.labels).mean()))
                bar.update()
    return {diet: np.array(values) for diet, values in found.items()}


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The mean of paired differences, and how far its 95% interval reaches to both sides, by Student's t."""
    from scipy.stats import t

    n = len(differences)
    return float(differences.mean()), float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / n**0.5)


def labelled_images(args: argparse.Namespace) -> tuple[Dataset, Dataset, Dataset, np.ndarray]:
    """All images, training and test images with labels counted from 0, and what those stand for."""
    data = load_data(args, multiple_of=4)
    training, test = split(args, data)
    if training.labels is None or test.labels is None or len(np.unique(training.labels)) < 2:
        sys.exit(f"--data: needs images with labels of two classes or more, and {args.data} has none")
    if args.batch < 2:
        sys.exit("--batch: needs at least 2, since G is shown pairs")
    classes = np.unique(training.labels)
    known = test.subset(np.isin(test.labels, classes))
    numbered = [Dataset(d.images, np.searchsorted(classes, d.labels), d.name) for d in (training, known)]
    return data, *numbered, classes


def main() -> None:
    parser = arguments("augmentation", __doc__.split("\n")[0], steps=4000, batch=64, samples=100)
    parser.add_argument("--per-class", type=at_least(1), default=50, help="labelled images of each class in a draw")
    args = parser.parse_args()
    data, training, test, classes = labelled_images(args)
    stream = minigen.manual_seed(args.seed)
    games = [Game(args, training.images, training.labels, draw) for draw in range(DRAWS)]
    run = train(args, games, stream)

    fakes = [game.sample(FAKES, args.seed + FOR_FIGURES, args.device) for game in games]
    accuracy = accuracies(args, games, fakes, test)
    for diet, values in accuracy.items():
        print(f"{diet:14} {values.mean():.1%} of held-out images read right, {values.min():.1%} to {values.max():.1%}")
    gains = {f"{diet} over {other}": interval(100 * (accuracy[diet] - accuracy[other])) for diet, other in GAINS}
    for name, (mean, reach) in gains.items():
        print(f"{name:24} {mean:+.2f} \u00b1 {reach:.2f} points")

    features = Features(data)
    n = len(data) - len(training)
    pooled = np.concatenate([images[: -(-n // DRAWS)] for images, _ in fakes])
    held_out = features(test.images)
    ours = features(pooled[: len(held_out)])
    measures = compare(features(training.images[:2000]), ours, held_out) if len(ours) == len(held_out) else {}
    asked = float(np.mean([(features.read(images) == classes[labels]).mean() for images, labels in fakes]))
    said = diagnose(run.curves, diversity=diversity(held_out, ours))
    said = said or ["the game is in balance: no sign of collapse or divergence"]
    print("\n".join([comparison_table(measures), *said]))

    images, labels = fakes[0]
    rows = {f"asked: {c}": images[labels == i][: min(12, FAKES // len(classes))] for i, c in enumerate(classes[:20])}
    run.write_samples(images[: args.samples], rows, labels=classes[labels[: args.samples]])
    figures = {name: {"mean": mean, "low": mean - reach, "high": mean + reach} for name, (mean, reach) in gains.items()}
    shares = {diet: values.tolist() for diet, values in accuracy.items()}
    own = {
        "accuracy": shares,
        "gain_in_points": figures,
        "read_as_asked": asked,
        "read_real": features.accuracy["label"],
    }
    run.write_metrics({"labelled_images": len(games[0].images), **own, **measures, "diagnosis": said})
    (gan, reach), (warping, other) = gains["+ GAN over images"], gains["+ warp over images"]
    beside = f"the gain is {gan:+.2f}; by warping {warping:+.2f} \u00b1 {other:.2f}"
    real = f"real images: {features.accuracy['label']:.3g}"
    report(
        [
            ("samples read as the class asked for", asked, ">=", 0.75, real),
            ("reach of the 95% interval of the GAN's gain, points, to both sides", reach, "<=", 3, beside),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
