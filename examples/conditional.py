"""Digits on demand: a class-conditional diffusion model with classifier-free guidance (Ho & Salimans 2022).

    python examples/conditional.py                            # trains, then writes runs/conditional/samples.png
    python examples/conditional.py --resume --samples 2000    # more of them

The whole algorithm: train as in ddpm.py, but tell the network the class; for one image in ten, tell it "no class"
instead. In sampling ask it twice, with the class and without, and go from the second answer past the first:

    x0 = without + scale (with - without)

The larger the scale, the surer the class, and the more alike the images. guidance.png has both over the scale: the
share of samples that read as the class they were asked for, and how varied those of a class are (the Vendi score of
their features: as of so many entirely different images).
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from common import Learner, arguments, draw_in_batches, frechet, load_data, need_classes, split_for_distances
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, to_float
from minigen.diffusion import Diffusion, UNet, drop_labels, guided, sample
from minigen.metrics import Features, Reader, vendi_score
from minigen.viz import save_curves

NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
WITHOUT_CLASS = 0.1  # the share of images whose class is kept from the network
SCALES = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)
METHOD, SAMPLING_STEPS = "dpm++2m", 12
BATCH = 100


def train(
    args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[Run, UNet, Diffusion, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
    learner = Learner(args, UNet(images.shape[-1], **NETWORK, size=images.shape[1:3], num_classes=classes), args.steps)
    batches = DataLoader(images, labels, batch_size=args.batch, seed=args.seed, device=args.device)
    network: Any = learner.network
    run = Run(args, ("guidance.png",), generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        x, y = next(batches)
        told = drop_labels(y, network.null_class, WITHOUT_CLASS, generator)
        run.log(loss=learner.descend(diffusion.loss(partial(network, labels=told), Tensor(to_float(x)), generator)))
    return run, network, diffusion, learner.ema


def draw(
    diffusion: Diffusion, network: UNet, labels: np.ndarray, shape: tuple[int, ...], scale: float, seed: int
) -> np.ndarray:
    """An image of each of the classes `labels` (N,), uint8 (N, H, W, C)."""
    timetable = diffusion.timetable(SAMPLING_STEPS, "karras")

    def some(first: int, count: int) -> Tensor:
        denoiser = guided(diffusion, network, labels[first : first + count], scale)
        return sample(denoiser, (count, *shape), timetable, METHOD, seed, first_sample=first)

    return draw_in_batches(some, len(labels), BATCH)


def main() -> None:
    args = arguments("conditional", __doc__.split("\n")[0], steps=3500, batch=32, samples=500).parse_args()
    data = load_data(args, multiple_of=4)
    known = need_classes(args, data.labels)
    training, test = split_for_distances(args, data)
    names = np.unique(known)
    labels = np.searchsorted(names, np.asarray(training.labels))
    run, network, diffusion, ema = train(args, training.images, labels, len(names))

    asked = np.arange(args.samples) % len(names)
    features, reader, shape = Features(data), Reader(data.images, known), data.images.shape[1:]
    with ema.applied():
        made = {scale: draw(diffusion, network, asked, shape, scale, args.seed) for scale in SCALES}
    real = features(training.images)
    found = {}
    for scale, images in made.items():
        seen = features(images)
        found[scale] = {
            "right": float((names[asked] == reader.read(images)).mean()),
            "vendi": float(np.mean([vendi_score(seen[asked == c]) for c in range(len(names)) if (asked == c).any()])),
            "frechet": frechet(real, seen),
        }
        print(
            "scale {}: {right:.1%} right, Vendi score {vendi:.3g}, Frechet distance {frechet:.3g}".format(
                scale, **found[scale]
            )
        )
    baseline = float((reader.read(test.images) == test.labels).mean())
    best = max(SCALES, key=lambda scale: found[scale]["right"])
    curves = {
        "share read as asked: digits": (SCALES, [found[s]["right"] for s in SCALES]),
        "variety within a class: digits": (SCALES, [found[s]["vendi"] for s in SCALES]),
        "Frechet distance: digits": (SCALES, [found[s]["frechet"] for s in SCALES]),
    }
    save_curves(curves, run.folder / "guidance.png", xlabel="guidance scale")
    order = np.argsort(asked[: 10 * len(names)], kind="stable")
    run.write_samples(
        made[best], {f"scale {s:g}": images[order][::5] for s, images in made.items()}, labels=names[asked]
    )
    run.write_metrics({"best_scale": best, "scales": found, "real_right": baseline})
    at_one = found[1.0]["right"]
    report(
        [
            (
                f"share read as the class asked for, at scale {best:g}",
                found[best]["right"],
                ">=",
                0.95,
                f"real images: {baseline:.3g}, without guidance: {at_one:.3g}",
            ),
            (
                "variety at the largest scale",
                found[SCALES[-1]]["vendi"],
                "<=",
                found[1.0]["vendi"],
                "as without guidance",
            ),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
