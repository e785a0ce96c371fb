"""Anomaly detection by reconstruction: an autoencoder that has seen only one digit cannot draw the others.

    python examples/anomaly.py                    # for each digit in turn: that digit is normal, all others anomalous
    python examples/anomaly.py --data my_images   # any images with labels

The whole algorithm: for each class train an autoencoder on images of that class alone, which have been given noise to
take away (Vincent et al. 2008), so that it moves whatever it is shown towards its class. What it changes is what is
anomalous. The score of an image is the squared error of its reconstruction: blurred, since a stroke that is half a
pixel off says nothing, and relative to the image, since where there is more ink there is more to get wrong. The figure
is the AUROC: how often an anomalous image has a higher score than a normal one.

The autoencoders are small, so all of them are trained at once: every layer has a weight matrix for each.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from common import arguments, in_batches, load_data, through_pca
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import squared_error
from minigen.data import DataLoader, Dataset, held_out, to_float, to_uint8, warp
from minigen.nn import Module, Parameter, init

HIDDEN, CODE = 256, 32  # the layers: pixels, HIDDEN, CODE, HIDDEN, pixels
NOISE = 0.5  # standard deviation, of pixels in [0, 1]
BLUR = 1.3  # standard deviation, in pixels
COMPONENTS = 30  # of the baseline, PCA


class Linears(Module):
    """A linear layer for each of M models: (M, N, in) -> (M, N, out)."""

    def __init__(self, models: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = Parameter(np.empty((models, in_features, out_features), np.float32))
        self.bias = Parameter(np.zeros((models, 1, out_features), np.float32))
        bound = math.sqrt(3 / in_features)  # outputs of variance 1 for inputs of variance 1
        init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Autoencoders(Module):
    """M autoencoders side by side: (M, N, pixels) -> (M, N, pixels)."""

    def __init__(self, models: int, pixels: int):
        super().__init__()
        self.encode1, self.encode2 = Linears(models, pixels, HIDDEN), Linears(models, HIDDEN, CODE)
        self.decode1, self.decode2 = Linears(models, CODE, HIDDEN), Linears(models, HIDDEN, pixels)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encode2(minigen.silu(self.encode1(x)))
        return self.decode2(minigen.silu(self.decode1(z)))


def by_class(training: Dataset, classes: np.ndarray) -> np.ndarray:
    """(N, M, H, W, C): in each item an image of each class, over again those of the classes that have fewer than N."""
    images = [training.images[training.labels == c] for c in classes]
    longest = max(map(len, images))
    return np.stack([np.resize(x, (longest, *x.shape[1:])) for x in images], 1)


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, Autoencoders, optim.EMA]:
    """`images` as from `by_class`."""
    generator = minigen.manual_seed(args.seed)
    models, shape = images.shape[1], images.shape[2:]
    network = Autoencoders(models, math.prod(shape))
    network.to(args.device)
    ema = optim.EMA(network, decay=0.995)
    optimizer = optim.Adam(network.parameters(), lr=2e-3, ema=ema)  # each weight by itself: no model touches another
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(50, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch // models, seed=args.seed, device=args.device)
    run = Run(
        args,
        pictures=("auroc.png",),
        network=network,
        ema=ema,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
        generator=generator,
    )
    for _ in run.steps():
        x = warp(to_float(next(batches), 0, 1).reshape(-1, *shape), generator, 7.0, 0.07, 0.07, 0.7, 0.7)
        x = Tensor(x).reshape(-1, models, math.prod(shape)).transpose(1, 0, 2)  # (M, N, pixels)
        noisy = x + NOISE * minigen.randn(*x.shape, generator=generator, device=args.device)
        loss = squared_error(network(noisy), x).mean() / x.shape[1]  # of each image
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(loss=loss.item())
    return run, network, ema


def reconstruct(network: Autoencoders, images: np.ndarray, device: str) -> np.ndarray:
    """What each autoencoder makes of each image: (N, H, W, C) -> (M, N, H, W, C)."""

    def all_models(x: Tensor) -> Tensor:  # (N, pixels) -> (N, M, pixels)
        return network(x.reshape(1, *x.shape)).transpose(1, 0, 2)

    y = in_batches(all_models, images.reshape(len(images), -1), device).swapaxes(0, 1)
    return y.reshape(-1, *images.shape)


def blurred(images: np.ndarray) -> np.ndarray:
    """(..., H, W, C) -> the same."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, BLUR, axes=(-3, -2))


def relative_error(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """The score, |G (y - x)|^2 / |x|^2 with a Gaussian blur G: (N, H, W, C), (M, N, H, W, C) -> (M, N)."""
    error = (blurred(reconstructions - images) ** 2).sum((2, 3, 4))
    return error / np.maximum((images**2).sum((1, 2, 3)), 1e-6)


def pca_reconstruct(training: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The baseline's reconstruct: principal components of each class, of training images as from `by_class`."""
    bar = tqdm(to_float(training, 0, 1).swapaxes(0, 1), desc="PCA", unit="class")
    return np.stack([through_pca(normal, images, COMPONENTS, svd_solver="full") for normal in bar])


def auroc(scores: np.ndarray, normal: np.ndarray) -> list[float]:
    """Of each model: how often an anomalous image has a higher score than a normal one. (M, N), (M, N) bool -> M."""
    from sklearn.metrics import roc_auc_score

    return [float(roc_auc_score(~is_normal, s)) for is_normal, s in zip(normal, scores, strict=True)]


def extremes(x: np.ndarray, y: np.ndarray, scores: np.ndarray, normal: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of samples.png: each model's normal and anomalous images of lowest and highest score. M of them in a row."""
    from matplotlib import colormaps

    rows: dict[str, np.ndarray] = {}
    for who, candidates in (("normal", normal), ("anomalous", ~normal)):
        lowest = np.where(candidates, scores, np.inf).argmin(1)
        highest = np.where(candidates, scores, -np.inf).argmax(1)
        for name, chosen in ((f"{who}, lowest score", lowest), (f"{who}, highest score", highest)):
            image, drawn = x[chosen], y[np.arange(len(y)), chosen]
            error = colormaps["seismic"](0.5 + blurred(image - drawn).mean(-1))[..., :3]  # red where the image has more
            three = (to_uint8(part, 0, 1) for part in np.broadcast_arrays(image, drawn, error))
            rows.update(zip((name, f"as drawn ({name})", f"error ({name})"), three, strict=True))
    return rows


def draw_auroc(bars: dict[str, list[float]], classes: np.ndarray, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="normal class", ylabel="AUROC")
    width = 0.8 / len(bars)
    for i, (name, values) in enumerate(bars.items()):
        axes.bar(np.arange(len(classes)) + i * width, values, width, label=f"{name}: mean {np.mean(values):.3f}")
    axes.set_xticks(np.arange(len(classes)) + (len(bars) - 1) / 2 * width, classes)
    axes.set_ylim(max(0, min(min(values) for values in bars.values()) - 0.02), 1)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(bars))
    figure.savefig(path, dpi=120)


def main() -> None:
    args = arguments("anomaly", __doc__.split("\n")[0], steps=1800, batch=320, samples=100).parse_args()
    data = load_data(args)
    training, test = held_out(data)
    if training.labels is None or test.labels is None:
        raise SystemExit(f"--data {args.data}: needs labels, which say what is normal")
    classes = np.intersect1d(training.labels, test.labels)
    if len(classes) < 2:
        raise SystemExit(f"--data {args.data}: needs held-out images of at least two classes, got {len(classes)}")
    images = by_class(training, classes)
    if not len(classes) <= args.batch <= len(classes) * len(images):
        raise SystemExit(f"--batch: must be from {len(classes)} (one of each class) to {len(classes) * len(images)}")
    run, network, ema = train(args, images)

    x = to_float(test.images, 0, 1)
    with ema.applied():
        y = reconstruct(network, x, args.device)
    pca = pca_reconstruct(images, x)
    scores, normal = relative_error(x, y), test.labels == classes[:, None]
    ours, baseline = auroc(scores, normal), auroc(((pca - x) ** 2).sum((2, 3, 4)), normal)
    baseline_relative = auroc(relative_error(x, pca), normal)  # the same score
    bars = {"PCA": baseline, "PCA, our score": baseline_relative, "autoencoder": ours}
    draw_auroc(bars, classes, run.folder / "auroc.png")

    own = np.flatnonzero(normal.any(0))[: args.samples]
    model = normal[:, own].argmax(0)
    run.write_samples(to_uint8(y[model, own], 0, 1), extremes(x, y, scores, normal), labels=test.labels[own])
    metrics = {"auroc": ours, "auroc_pca": baseline, "auroc_pca_relative_error": baseline_relative}
    means = {f"mean_{name}": float(np.mean(values)) for name, values in metrics.items()}
    run.write_metrics({"classes": classes.tolist(), **metrics, **means})
    mean, of_pca, relative = means.values()
    report(
        [
            (f"mean AUROC of {len(classes)} classes", mean, ">=", 0.955, "Deep SVDD, 6,000 training images: 0.948"),
            (
                "the same, against PCA",
                mean,
                ">=",
                max(of_pca, relative),
                f"PCA: {of_pca:.4g}; by our score {relative:.4g}",
            ),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
