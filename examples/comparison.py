"""Autoencoder, GAN or diffusion model? The same data, parameters and training time for each, and what comes of it.

    python examples/comparison.py    # trains three of each, then writes runs/comparison/COMPARISON.md

Everybody knows the answer: autoencoders are fast and blurred, GANs are fast and sharp but unstable and forget part of
the data, diffusion models are slow, stable and best. Here it is measured. A conditional VAE (Sohn et al. 2015), a
conditional GAN (DCGAN with a projection discriminator, Miyato & Koyama 2018) and a conditional diffusion model (DDPM
with classifier-free guidance, Ho & Salimans 2022) have as many parameters each, all their networks together (those
for digits; larger images make the sizes differ), and learn the same images for the same time: in a step of this run
each takes as many steps (TURNS) as take about as long. Each is trained from several seeds. Then all draw images of
asked classes:

    stability   runs that failed (a loss that is no number, or images that are read as what was asked for half as often
                as real ones), and how much the Frechet distance varies over the seeds of the others
    quality     Frechet distance, KID and precision, in the features of a classifier
    speed       images/s
    diversity   recall and the Vendi score
    control     the share of images that are read as the class that was asked for

Beside them stands a model that costs nothing: a normal distribution of the principal components of each class; and
other real images. Below the table the usual claims are held against it. bars.png shows each as a share of the best.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from common import arguments, draw_in_batches, fit_pca, load_data, need_classes, split_for_distances
from contenders import FAMILIES, Model
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen.data import Dataset, to_float, to_uint8
from minigen.metrics import Features, compare
from minigen.viz import save_bars

SEEDS = 3
TURNS = {"VAE": 6, "GAN": 4, "diffusion": 3}  # steps of each in a step of the run: they take about as long
BATCH = 100  # of images drawn at a time
COMPONENTS = 50  # of the normal distributions
SHOWN = 20
BELOW = (
    f"Means over {SEEDS} seeds, and from the least to the largest; of a run that diverged there is nothing to measure. "
    "The variation is the standard deviation over the mean. From so few seeds it is known to a factor of two or so."
)

# what is measured: its title, whether more is better, and how it is printed
MEASURES: dict[str, tuple[str, bool, str]] = {
    "variation": ("variation of the Frechet distance over seeds", False, ".1%"),
    "frechet": ("Frechet distance", False, ".3g"),
    "kid": ("KID", False, ".4f"),
    "precision": ("precision", True, ".3g"),
    "per_seconds": ("images/s", True, ".4g"),
    "recall": ("recall", True, ".3g"),
    "vendi": ("Vendi score", True, ".3g"),
    "control": ("read as asked", True, ".1%"),
}
# who is said to do better than whom in what
CLAIMS = (
    ("the GAN draws better than the VAE", "GAN", "VAE", "frechet"),
    ("the diffusion model draws better than the GAN", "diffusion", "GAN", "frechet"),
    ("the VAE draws faster than the diffusion model", "VAE", "diffusion", "per_seconds"),
    ("the GAN draws faster than the diffusion model", "GAN", "diffusion", "per_seconds"),
    ("the VAE is more stable than the GAN", "VAE", "GAN", "variation"),
    ("the diffusion model is more stable than the GAN", "diffusion", "GAN", "variation"),
    ("the diffusion model is more diverse than the GAN", "diffusion", "GAN", "recall"),
    ("the VAE is more diverse than the GAN", "VAE", "GAN", "recall"),
    ("the diffusion model is better controlled than the GAN", "diffusion", "GAN", "control"),
    ("the diffusion model is better controlled than the VAE", "diffusion", "VAE", "control"),
)


def train(
    args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[Run, dict[str, list[Model]]]:
    """One seed after the other, the families by turns."""
    each = args.steps // SEEDS  # steps of the run for each seed
    models = {
        name: [family(args, images, labels, classes, SEEDS * args.seed + i, TURNS[name] * each) for i in range(SEEDS)]
        for name, family in FAMILIES.items()
    }
    parts: dict[str, Any] = {}
    for name, some in models.items():
        for i, model in enumerate(some):
            parts |= model.parts(f"{name} {i}")
    run = Run(args, ("bars.png", "COMPARISON.md"), **parts)
    for step in run.steps():
        for name, some in models.items():
            for _ in range(TURNS[name]):
                loss = some[step // each].step()
                if loss is not None:
                    run.log(**{f"{name}: seeds one after the other": loss})
    return run, models


def draw(model: Model, labels: np.ndarray) -> np.ndarray:
    """An image of each of the classes, uint8, by the moving average of the weights."""
    with ExitStack() as stack, minigen.no_grad():
        for learner in model.learners.values():
            stack.enter_context(learner.ema.applied())
        return draw_in_batches(
            lambda first, count: model.draw(labels[first : first + count], first), len(labels), BATCH, show=False
        )


def gaussians(images: np.ndarray, labels: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    """Images of the asked classes, uint8, from a normal distribution of the principal components of each class."""
    x = to_float(images)
    pca, rng = fit_pca(x, COMPONENTS), np.random.default_rng(seed)
    codes = pca.transform(x.reshape(len(x), -1))
    drawn = np.empty((len(asked), codes.shape[1]))
    for label in np.unique(asked):
        some = codes[labels == label]
        covariance = np.cov(some, rowvar=False) if len(some) > 1 else np.zeros((codes.shape[1],) * 2)
        drawn[asked == label] = rng.multivariate_normal(some.mean(0), covariance, (asked == label).sum())
    return to_uint8(pca.inverse_transform(drawn).reshape(len(asked), *images.shape[1:]).clip(-1, 1))


class Judge:
    """All measures of images of the classes `asked`, which are those of the held-out images beside them."""

    def __init__(self, data: Dataset, training: np.ndarray, test: np.ndarray, asked: np.ndarray):
        self.features, self.asked = Features(data), asked
        self.real, self.floor = self.features(training), self.features(test)

    def __call__(self, images: np.ndarray) -> dict[str, float]:
        found = compare(self.real, self.features(images), self.floor)
        control = float((self.features.read(images) == self.asked).mean())
        return {**{key: found[key] for key in ("frechet", "kid", "precision", "recall", "vendi")}, "control": control}


def judge_all(
    models: dict[str, list[Model]], judge: Judge, asked: np.ndarray
) -> tuple[dict[str, list[dict[str, float]]], dict[str, np.ndarray]]:
    """What is measured of each model that did not diverge, and the images of the first seed that did not."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    images: dict[str, np.ndarray] = {}
    everything = [(name, some[i]) for i in range(SEEDS) for name, some in models.items() if not some[i].failed]
    for name, model in tqdm(everything, desc="drawing", unit="model", disable=None):
        draw(model, asked[:BATCH])  # compiles kernels
        started = time.monotonic()
        made = draw(model, asked)
        seconds = time.monotonic() - started
        found[name].append({**judge(made), "per_seconds": len(made) / seconds})
        images.setdefault(name, made)
    return found, images


def summarise(found: dict[str, list[dict[str, float]]], real_control: float) -> dict[str, dict[str, float]]:
    """Of each family how many runs failed, the means over those that did not diverge, and the variation, which is the
    standard deviation over the mean of those that did not fail."""
    summary = {}
    for name, runs in found.items():
        keys = [key for key in MEASURES if key != "variation"]
        good = [r["frechet"] for r in runs if r["control"] >= real_control / 2]
        summary[name] = {key: float(np.mean([r[key] for r in runs])) if runs else math.nan for key in keys}
        summary[name]["variation"] = float(np.std(good, ddof=1) / np.mean(good)) if len(good) > 1 else math.nan
        summary[name]["failed"] = SEEDS - len(good)
    return summary


def better(key: str, a: dict[str, float], b: dict[str, float]) -> bool:
    """Whether a measures better than b."""
    return a[key] > b[key] if MEASURES[key][1] else a[key] < b[key]


def held_against(found: dict[str, list[dict[str, float]]], summary: dict[str, dict[str, float]]) -> list[str]:
    """A sentence for each of CLAIMS."""
    said = []
    for claim, first, second, key in CLAIMS:
        a, b = summary[first], summary[second]
        title, _, form = MEASURES[key]
        holds, numbers = better(key, a, b), f"{title} {format(a[key], form)} against {format(b[key], form)}"
        by_failures, told = key == "variation" and a["failed"] != b["failed"], math.isfinite(a[key] + b[key])
        if by_failures:
            holds, numbers = a["failed"] < b["failed"], f"failed runs {a['failed']} against {b['failed']}"
        verdict = ("holds" if holds else "**does not hold**") if by_failures or told else "cannot be told"
        if told and key != "variation":
            agree = {better(key, x, y) == holds for x, y in itertools.product(found[first], found[second])}
            verdict += (
                ", whichever seeds are compared" if agree == {True} else " on average, not for all pairs of seeds"
            )
        said.append(f"{claim[0].upper()}{claim[1:]}: {verdict} ({numbers}).")
    return said


def markdown(
    models: dict[str, list[Model]], found: dict[str, list[dict[str, float]]], columns: dict[str, dict[str, float]]
) -> str:
    """The table: a column for each family, and those of what they are compared with."""
    head = ["", *columns]
    own: dict[str, list[str]] = {
        "parameters, of all its networks": [f"{some[0].parameters():,}" for some in models.values()],
        "training, seconds for each seed": [f"{training_seconds(some):.3g}" for some in models.values()],
        f"failed runs, of {SEEDS}": [str(columns[name]["failed"]) for name in models],
    }
    lines = [head, ["---"] * len(head)]
    lines += [[title, *cells, *[""] * (len(columns) - len(cells))] for title, cells in own.items()]
    for key, (title, _, form) in MEASURES.items():
        cells = []
        for name, values in columns.items():
            cell = format(values[key], form) if math.isfinite(values.get(key, math.nan)) else ""
            runs = [r[key] for r in found.get(name, ()) if key in r]
            several = len(runs) > 1 and key != "per_seconds"
            cells.append(f"{cell} ({format(min(runs), form)} to {format(max(runs), form)})" if several else cell)
        lines.append([title, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_seconds(some: list[Model]) -> float:
    """The mean over the seeds that did not diverge; all, if all did."""
    whole = [model.seconds for model in some if not model.failed]
    return float(np.mean(whole or [model.seconds for model in some]))


def scores(summary: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Each measure as a share of the best family's: 1 is the best. Of a best one that is not above 0, as an estimate of
    KID may be, there are no shares."""
    shares: dict[str, dict[str, float]] = {name: {} for name in summary}
    for key, (title, more, _) in MEASURES.items():
        values = {name: measured[key] for name, measured in summary.items()}
        best = (max if more else min)((v for v in values.values() if math.isfinite(v)), default=math.nan)
        for name, value in values.items():
            share = math.nan if not best > 0 else value / best if more else best / value
            shares[name][title.replace(" of the Frechet distance", "")] = share
    return shares


def figures(
    models: dict[str, list[Model]], columns: dict[str, dict[str, float]], seconds: dict[str, float]
) -> list[tuple[str, float, str, float, str]]:
    """That the comparison is fair, and that somebody beats the model that costs nothing."""
    sizes, free = [some[0].parameters() for some in models.values()], columns["normal distributions"]
    times = list(seconds.values())
    best = min(columns[name]["frechet"] for name in models)
    control = max(columns[name]["control"] for name in models)
    beside = "normal distributions: {:.3g}, real: {:.3g}"
    real = columns["real, held out"]
    return [
        ("parameters, most over fewest", max(sizes) / min(sizes), "<=", 1.1, ", ".join(f"{n:,}" for n in sizes)),
        ("training time, longest over shortest", max(times) / min(times), "<=", 1.25, f"{times[-1]:.0f} s for a seed"),
        ("least Frechet distance", best, "<=", free["frechet"], beside.format(free["frechet"], real["frechet"])),
        ("largest share read as asked", control, ">=", 0.9, beside.format(free["control"], real["control"])),
    ]


def main() -> None:
    parser = arguments("comparison", __doc__.split("\n")[0], steps=645, batch=32, samples=1000)
    args = parser.parse_args()
    if args.steps % SEEDS:
        parser.error(f"--steps are shared by {SEEDS} seeds: give a multiple of that, not {args.steps}")
    data = load_data(args, multiple_of=4)
    names = np.unique(need_classes(args, data.labels))
    training, test = split_for_distances(args, data)
    known = np.asarray(training.labels)
    if len(missing := np.setdiff1d(names, known)):
        raise SystemExit(f"--data: there is no image of class {missing[0]} to learn from: all of them are held out")
    labels = np.searchsorted(names, known)
    run, models = train(args, training.images, labels, len(names))

    test = test.subset(slice(max(2, args.samples)))
    asked = np.searchsorted(names, np.asarray(test.labels))
    judge = Judge(data, training.images, test.images, names[asked])
    found, images = judge_all(models, judge, asked)
    free = gaussians(training.images, labels, asked, args.seed)
    real = judge(test.images)
    summary = summarise(found, real["control"])
    columns = {**summary, "normal distributions": judge(free), "real, held out": real}
    said = held_against(found, summary)
    text = f"{markdown(models, found, columns)}\n\n{BELOW}\n\n## The usual claims\n\n" + "\n".join(
        f"- {s}" for s in said
    )
    (run.folder / "COMPARISON.md").write_text(f"# Autoencoder, GAN or diffusion model\n\n{text}\n")
    print(text)
    save_bars(scores(summary), run.folder / "bars.png", ylabel="share of the best")
    rows = {**images, "normal distributions": free, "real, held out": test.images}
    run.write_samples(np.concatenate(list(rows.values())), {name: x[:SHOWN] for name, x in rows.items()})
    seconds = {name: training_seconds(some) for name, some in models.items()}
    runs = {name: {str(i): r for i, r in enumerate(some)} for name, some in found.items()}
    clocks = {f"{name}_training_seconds": t for name, t in seconds.items()}
    run.write_metrics({"runs": runs, "summary": columns, **clocks})
    report(figures(models, columns, seconds), args.check)


if __name__ == "__main__":
    run_main(main)
