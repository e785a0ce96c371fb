"""Data augmentation: does a classifier of few labelled digits do better with a GAN's digits among them?

    python examples/augmentation.py                  # trains, then writes runs/augmentation/gains.png
    python examples/augmentation.py --per-class 50   # more labelled images
    python examples/augmentation.py --device cuda    # on a GPU

Five times, with a seed each, a few images of each class are drawn. From them, and nothing else, a GAN learns that is
told the class (Mirza & Osindero 2014; Miyato & Koyama 2018):

    D descends on  -log D(x, y) - log(1 - D(G(z, y), y)),    G on  -log D(G(z, y), y) + mode seeking

So few images D would know by heart, so it sees some of them, real and generated, moved at random (Zhao et al. 2020);
and G would soon make one image of each class, so it pays for making alike images of different noise (Mao et al. 2019).

Then four classifiers learn to read digits, from the images alone; half from samples of G; from images warped at random
(turned, stretched, shifted, bent: what one knows about digits, put in by hand); and from both. All four of a draw begin
with the same weights and take as many steps. What matters are the differences of their accuracies on held-out images,
with 95% intervals: Student's t over the draws, which differ in everything that chance decides.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, at_least, descend, has_classes, in_batches, load_data, need_classes, split
from run import Run, report, run_main
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
from minigen.gans.augment import augment, translation
from minigen.metrics import Features, mean_interval
from minigen.metrics.classifier import Classifier
from minigen.random import Generator, randn, replay
from minigen.viz import image_grid

Images = tuple[np.ndarray, np.ndarray]  # uint8 (N, H, W, C), and labels (N,)

DRAWS = 5
LATENT, CHANNELS = 32, 32
MODE_SEEKING = 0.1
MOVED = 0.5  # the share of images that D sees moved: were it all of them, G could as well make moved ones itself
FAKES = 2000  # samples of each GAN, for the classifiers
CLASSIFIER_STEPS, CLASSIFIER_BATCH = 300, 64
DIETS = {"nothing": (False, False), "GAN": (True, False), "warps": (False, True), "GAN and warps": (True, True)}
GAINS = (("GAN", "nothing"), ("warps", "nothing"), ("GAN and warps", "nothing"), ("GAN and warps", "warps"))


class Draw:
    """A few labelled images, and a GAN that learns from them. Labels are counted from 0.

    Which images, the order of the batches, the noise of the samples and the classifiers' weights follow from `seed`.
    """

    def __init__(self, args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, number: int):
        rng = np.random.default_rng([args.seed, number])
        self.seed, self.classes = int(rng.integers(2**62)), int(labels.max()) + 1
        of_class = [rng.permutation(np.flatnonzero(labels == c))[: args.per_class] for c in range(self.classes)]
        self.images, self.labels = images[np.concatenate(of_class)], labels[np.concatenate(of_class)]
        shape = self.images.shape[1:]
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
        self.batches = DataLoader(self.images, self.labels, batch_size=size, seed=self.seed, device=args.device)

    def parts(self, name: str) -> dict[str, Any]:
        """All that has a state, under names that begin with that."""
        return {f"{name} {key}": part for key, part in vars(self).items() if hasattr(part, "state_dict")}

    def sample(self, n: int, device: str) -> Images:
        """n images, uint8, and the labels that were asked for, each class in turn."""
        labels, z = np.arange(n) % self.classes, randn(n, LATENT, generator=Generator(self.seed)).numpy()
        self.generator.eval()
        with self.ema.applied(), minigen.no_grad():
            parts = [
                self.generator(Tensor(z[i : i + 250]).to(device), labels[i : i + 250]).numpy() for i in range(0, n, 250)
            ]
        return to_uint8(np.concatenate(parts)), labels


def moved(x: Tensor, stream: Generator) -> Tensor:
    """Images (N, H, W, C), some of them moved (Karras et al. 2020, arXiv:2006.06676, section 2.2)."""
    return augment(x, stream, MOVED, changes=(translation,))


def train(args: argparse.Namespace, draws: list[Draw], stream: Generator) -> Run:
    parts = {name: part for i, draw in enumerate(draws) for name, part in draw.parts(f"draw {i}").items()}
    run = Run(args, ("gains.png",), stream=stream, **parts)
    for step in run.steps():
        draw = draws[step % len(draws)]  # in turns
        G, D = draw.generator, draw.discriminator
        images, labels = next(draw.batches)
        x, z, y = Tensor(to_float(images)), randn(len(images), LATENT, device=args.device), Tensor(labels)
        asked = minigen.tile(y[: len(y) // 2], 2)  # pairs of one class
        fakes = G(z, asked)

        D.requires_grad_(True)
        real, fake = D(moved(x, stream), y), D(moved(fakes.detach(), stream), asked)
        d_loss = minimax_discriminator(real, fake)
        descend(draw.d_optimizer, d_loss)
        draw.d_schedule.step()

        D.requires_grad_(False)
        deception = non_saturating_generator(D(moved(fakes, stream), asked))
        g_loss = deception + MODE_SEEKING * mode_seeking(fakes, z)
        descend(draw.g_optimizer, g_loss)
        draw.g_schedule.step()
        run.log(**standing(real, fake, D, G, d_loss, g_loss))
    return run


def classify(draw: Draw, fakes: Images, gan: bool, warped: bool, device: str) -> Classifier:
    """A classifier that learned from the draw's images, or half from those and half from fakes."""
    sources = [(draw.images, draw.labels), fakes] if gan else [(draw.images, draw.labels)]
    sizes = [min(CLASSIFIER_BATCH // len(sources), len(images)) for images, _ in sources]
    batches = [DataLoader(*s, batch_size=n, seed=draw.seed) for s, n in zip(sources, sizes, strict=True)]
    chance = Generator(draw.seed)
    with replay(chance.state_dict()):
        network = Classifier(draw.images.shape[1:], {"label": np.arange(draw.classes)})
    network.to(device)
    optimizer = optim.Adam(network.parameters(), lr=2e-3)
    schedule = optim.CosineLR(optimizer, CLASSIFIER_STEPS)
    for _ in range(CLASSIFIER_STEPS):
        images, labels = (np.concatenate(arrays) for arrays in zip(*[next(b) for b in batches], strict=True))
        x = warp(images, chance) / 127.5 - 1 if warped else to_float(images)
        descend(optimizer, F.cross_entropy(network(Tensor(x).to(device))["label"], Tensor(labels).to(device)))
        schedule.step()
    return network


def right(network: Classifier, images: np.ndarray, labels: np.ndarray, device: str) -> float:
    """The share of the images that it reads right."""
    logits = in_batches(lambda x: network(x)["label"], to_float(images), device)
    return float((logits.argmax(1) == labels).mean())


def accuracies(
    draws: list[Draw], fakes: list[Images], test: Images, device: str
) -> tuple[dict[str, np.ndarray], float]:
    """The shares of test images that each draw's classifiers read right: diet -> (draws,).

    And the smallest share that any of them reads right of the labelled images it learned from.
    """
    found: dict[str, list[float]] = {diet: [] for diet in DIETS}
    learned = []
    with tqdm(total=len(draws) * len(DIETS), unit="classifier", desc="learning classifiers") as bar:
        for draw, samples in zip(draws, fakes, strict=True):
            for diet, (gan, warped) in DIETS.items():
                network = classify(draw, samples, gan, warped, device)
                found[diet].append(right(network, *test, device))
                learned.append(right(network, draw.images, draw.labels, device))
                bar.update()
    return {diet: np.array(shares) for diet, shares in found.items()}, min(learned)


def save_gains(draw: Draw, fakes: Images, gains: dict[str, tuple], names: np.ndarray, path: Path) -> None:
    """Draws five images and ten samples of each of the first ten classes, and what is gained in points."""
    from matplotlib.figure import Figure

    shown, (samples, asked) = range(min(10, draw.classes)), fakes
    strips = []
    for images, labels, count in ((draw.images, draw.labels, 5), (samples, asked, 10)):
        rows = [np.resize(images[labels == c], (count, *images.shape[1:])) for c in shown]
        strips.append(image_grid(np.concatenate(rows), count))
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    *pictures, chart = figure.subplots(1, 3, width_ratios=[1, 2, 2.2])
    for axes, strip, title in zip(pictures, strips, ("5 of its images", "samples of the GAN"), strict=True):
        axes.imshow(strip.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set(title=title, xticks=[], yticks=[])
        axes.axis("off")
    for row, c in enumerate(shown):
        y = (row + 0.5) / len(shown) * len(strips[0])
        pictures[0].text(-4, y, str(names[c]), ha="right", va="center")
    for row, (mean, low, high) in enumerate(gains.values()):
        chart.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="o", capsize=4, color=f"C{row}")
        chart.text(mean, row - 0.12, f"{mean:+.1f}", ha="center")
    chart.axvline(0, color="black", linewidth=1)
    chart.set_yticks(range(len(gains)), gains)
    chart.set(
        title=f"gained in {DRAWS} draws", xlabel="points of accuracy, 95% interval", ylim=(len(gains) - 0.5, -0.5)
    )
    chart.grid(alpha=0.3, axis="x")
    figure.savefig(path, dpi=80)


def labelled_images(args: argparse.Namespace) -> tuple[Dataset, Images, Images, np.ndarray]:
    """All images; those to train on, and to test with; and what their labels, counted from 0, stand for.

    What will not do ends the program with one sentence.
    """
    data = load_data(args, multiple_of=4)
    training, test = split(args, data)
    names, labels = np.unique(need_classes(args, training.labels), return_inverse=True)
    test_labels = np.asarray(test.labels)
    known = np.isin(test_labels, names)
    if not has_classes(test_labels[known]):
        sys.exit(f"--data: needs held-out images of two classes or more; of {args.data}, {len(test)} are held out")
    if args.batch < 2:
        sys.exit("--batch: needs at least 2, since G is shown pairs")
    unseen = test.images[known], np.searchsorted(names, test_labels[known])
    return data, (training.images, labels), unseen, names


def main() -> None:
    parser = arguments("augmentation", __doc__.split("\n")[0], steps=4000, batch=64, samples=100)
    parser.add_argument("--per-class", type=at_least(1), default=20, help="labelled images of each class in a draw")
    args = parser.parse_args()
    data, training, test, names = labelled_images(args)
    stream = minigen.manual_seed(args.seed)
    draws = [Draw(args, *training, number) for number in range(DRAWS)]
    run = train(args, draws, stream)

    fakes = [draw.sample(FAKES, args.device) for draw in draws]
    accuracy, learned = accuracies(draws, fakes, test, args.device)
    for diet, shares in accuracy.items():
        print(f"{diet:14} {shares.mean():.1%} of held-out images read right, {shares.min():.1%} to {shares.max():.1%}")
    gains = {f"{a} over {b}": mean_interval(100 * (accuracy[a] - accuracy[b])) for a, b in GAINS}
    for name, (mean, low, high) in gains.items():
        print(f"{name:27} {mean:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}")

    features = Features(data)
    asked = float(np.mean([(features.read(images) == names[y]).mean() for images, y in fakes]))
    varied = float(np.mean([diversity(features(test[0]), features(images)) for images, _ in fakes]))
    said = diagnose(run.curves, diversity=varied) or ["the games are in balance: no sign of collapse or divergence"]
    print("\n".join(said))

    images, y = fakes[0]
    rows = {}
    for c, name in enumerate(names[:20]):
        for kind, (x, of) in (("real", (draws[0].images, draws[0].labels)), ("GAN", fakes[0])):
            rows[f"{name}, {kind}"] = np.resize(x[of == c], (10, *x.shape[1:]))
    run.write_samples(images[: args.samples], rows, labels=names[y[: args.samples]])
    save_gains(draws[0], fakes[0], gains, names, run.folder / "gains.png")
    own: dict[str, Any] = {"accuracy": {diet: shares.tolist() for diet, shares in accuracy.items()}}
    own["gain_in_points"] = {
        name: dict(zip(("mean", "low", "high"), gain, strict=True)) for name, gain in gains.items()
    }
    own |= {"read_as_asked": asked, "read_real": features.accuracy["label"], "diversity": varied, "diagnosis": said}
    run.write_metrics({"labelled_images": len(draws[0].images), "learned": learned, **own})
    (gan, low, high), (warps, least, most) = gains["GAN over nothing"], gains["warps over nothing"]
    beside = f"the gain is {gan:+.2f}, {low:+.2f} to {high:+.2f}; by warps {warps:+.2f}, {least:+.2f} to {most:+.2f}"
    report(
        [
            ("labelled images that each classifier has learned", learned, ">=", 0.99, "all took as many steps"),
            ("samples read as the class asked for", asked, ">=", 0.75, f"real ones: {features.accuracy['label']:.3g}"),
            ("the gain by warps, known to help, is seen: low end, points", least, ">=", 0, f"mean {warps:+.2f}"),
            ("half of the 95% interval of the GAN's gain, points", (high - low) / 2, "<=", 3, beside),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
