"""Features: simple classifiers read digits off the 30-number codes of an autoencoder, which has never seen a label.

    python examples/features.py                    # trains, then writes runs/features/features.png
    python examples/features.py --code-size 10     # fewer numbers
    python examples/features.py --device cuda      # on a GPU

The whole algorithm: the encoder sees an image that is warped at random (turned, stretched, shifted, bent), and the
decoder must give the image as it was. This is a denoising autoencoder (Vincent et al. 2008) whose noise is what may
happen to a digit without changing which one it is, so that is what the code drops: knowledge which PCA, beside it, has
no place for. Then the network is frozen, and two simple classifiers learn to read its codes, from few labels or many:
logistic regression (are classes apart?) and nearest neighbours (is alike close?); and so they do with PCA's codes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, at_least, fit_pca, in_batches, load_split
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import Autoencoder, squared_error
from minigen.data import DataLoader, to_float, to_uint8, warp
from minigen.metrics import linear_probe, nearest_neighbours
from minigen.random import Generator

LABELS = (100, 300, 1000, 4000)  # labelled images that a classifier learns from
DRAWS = 5  # of those images; accuracies are the mean over them
MARGIN = 0.01  # by which an accuracy must be above PCA's, to be more than luck
PROBES = {"linear probe": linear_probe, "k-NN": nearest_neighbours}


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, Autoencoder, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    network = Autoencoder(images.shape[1:], args.code_size, channels=32, multipliers=(1, 2), patch=2)
    network.to(args.device)
    ema = optim.EMA(network, decay=0.998)
    optimizer = optim.Adam(network.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(50, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: Any = {"network": network, "ema": ema, "optimizer": optimizer, "schedule": schedule, "batches": batches}
    run = Run(args, pictures=("features.png",), generator=generator, **parts)
    for _ in run.steps():
        x = next(batches)
        seen, whole = Tensor(warp(x, generator) / 255), Tensor(to_float(x, 0, 1))
        loss = squared_error(network(seen), whole).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(squared_error=loss.item())
    return run, network, ema


def pca_codes(training: np.ndarray, test: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) -> (N, size): their coordinates along the main directions of the training images."""
    pca = fit_pca(training, size)
    return pca.transform(training.reshape(len(training), -1)), pca.transform(test.reshape(len(test), -1))


def drawn(labels: np.ndarray, draw: int, count: int) -> np.ndarray:
    """The numbers of `count` images at random, the same for every seed."""
    return np.random.default_rng(draw).permutation(len(labels))[:count]


def enough(labels: np.ndarray, count: int) -> bool:
    """Whether `count` of the images, fewer than all, have three of each class in each draw, as the probes need."""
    classes = np.unique(labels)
    return count < len(labels) and all(
        (labels[drawn(labels, draw, count)] == c).sum() >= 3 for draw in range(DRAWS) for c in classes
    )


def accuracies(codes: dict[str, tuple], labels: np.ndarray, test_labels: np.ndarray) -> tuple[list[int], dict]:
    """[numbers of labels], {probe: {kind of code: [accuracy on the test images for each number]}}: means over draws."""
    counts = [count for count in LABELS if enough(labels, count)] + [len(labels)]  # the last: all, of which one draw
    found = {name: {kind: [0.0] * len(counts) for kind in codes} for name in PROBES}
    draws = [(i, draw, DRAWS) for i in range(len(counts) - 1) for draw in range(DRAWS)] + [(len(counts) - 1, 0, 1)]
    for i, draw, of in tqdm(draws, unit="draw", desc="probing"):
        chosen = drawn(labels, draw, counts[i])
        for kind, (training_codes, test_codes) in codes.items():
            for name, probe in PROBES.items():
                fitted = probe().fit(training_codes[chosen], labels[chosen])
                found[name][kind][i] += fitted.score(test_codes, test_labels) / of
    return counts, found


def draw_features(path: Path, codes: dict[str, tuple], labels: np.ndarray, counts: list[int], found: dict) -> None:
    """Draws a map of each kind of code, of the test images by t-SNE (van der Maaten & Hinton 2008), and accuracies."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(15, 5), layout="constrained")
    FigureCanvasAgg(figure)
    *maps, chart = figure.subplots(1, len(codes) + 1)
    for axes, (kind, (_, test_codes)) in zip(maps, codes.items(), strict=True):
        t_sne = TSNE(perplexity=min(30, (len(labels) - 1) / 3), init="random", random_state=0)
        points = t_sne.fit_transform(test_codes)
        axes.scatter(*points.T, c=labels % 10, cmap="tab10", vmin=0, vmax=9, s=8)
        for label in np.unique(labels):
            name = axes.text(*np.median(points[labels == label], axis=0), str(label), size=16, weight="bold")
            name.set(ha="center", va="center", bbox={"boxstyle": "circle", "fc": "white", "alpha": 0.8, "lw": 0})
        axes.set(title=f"{kind}: a map of {len(labels)} unseen images", xticks=[], yticks=[])
    for (name, kinds), line in zip(found.items(), ("o-", "s--"), strict=True):
        for colour, (kind, values) in zip(("C0", "C1"), kinds.items(), strict=True):
            chart.plot(counts, values, line, color=colour, label=f"{kind}, {name}")
    chart.set(title="accuracy on unseen images", xlabel="labelled images", xscale="log")
    chart.set_xticks(counts, map(str, counts))
    chart.set_xticks([], minor=True)
    chart.grid(alpha=0.3)
    chart.legend()
    figure.savefig(path, dpi=80)


def labelled_images(args: argparse.Namespace) -> list[np.ndarray]:
    """Training images, their labels, test images, their labels; what will not do ends the program with one sentence."""
    training, test = load_split(args, multiple_of=4)
    if training.labels is None or test.labels is None:
        sys.exit(f"--data: {args.data} has no labels for the classifiers to learn")
    _, images_of_class = np.unique(training.labels, return_counts=True)
    if len(images_of_class) < 2 or min(images_of_class) < 3 or len(test) < 2:
        sys.exit("--data: needs two classes or more, each with at least four images")
    return [training.images, training.labels, test.images, test.labels]


def main() -> None:
    parser = arguments("features", __doc__.split("\n")[0], steps=1200, batch=64, samples=10)
    parser.add_argument("--code-size", type=at_least(1), default=30, help="numbers that an image is described by")
    args = parser.parse_args()
    images, labels, test_images, test_labels = labelled_images(args)
    run, network, ema = train(args, images)

    x, unseen = to_float(images, 0, 1), to_float(test_images, 0, 1)
    warped = warp(unseen[: args.samples], Generator(args.seed + FOR_FIGURES))
    with ema.applied():
        ours = in_batches(network.encode, x, args.device), in_batches(network.encode, unseen, args.device)
        restored = to_uint8(in_batches(network, warped, args.device), 0, 1)
    codes = {"autoencoder": ours, "PCA": pca_codes(x, unseen, args.code_size)}
    counts, found = accuracies(codes, labels, test_labels)
    draw_features(run.folder / "features.png", codes, test_labels, counts, found)

    rows = {"original": test_images[: args.samples], "warped": to_uint8(warped, 0, 1), "restored": restored}
    run.write_samples(restored, rows, labels=test_labels[: args.samples])
    run.write_metrics({"labels": counts, "accuracy": found})
    figures = []
    for name, kinds in found.items():
        for count, accuracy, pca in zip(counts, kinds["autoencoder"], kinds["PCA"], strict=True):
            figures.append((f"{name}, {count} labels", accuracy, ">=", pca + MARGIN, f"PCA: {pca:.3g}"))
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
