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
from common import Run, arguments, descend, frechet, load_data, report, run_main, split_for_distances
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.diffusion import ClassifierFree, Diffusion, Thresholded, UNet, sample
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
    network = UNet(images.shape[-1], **NETWORK, num_classes=classes)
    network.to(args.device)
    ema = optim.EMA(network, decay=0.998)
    optimizer = optim.Adam(network.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    batches = DataLoader(images, labels, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: Any = {"network": network, "ema": ema, "optimizer": optimizer, "schedule": schedule, "batches": batches}
    run = Run(args, ("guidance.png",), generator=generator, **parts)
    for _ in run.steps():
        x, y = next(batches)
        kept = minigen.rand(len(y), generator=generator, device=args.device).data >= WITHOUT_CLASS
        told = np.where(kept, y, network.null_class)
        loss = diffusion.loss(partial(network, labels=told), Tensor(to_float(x)), generator)
        run.log(loss=descend(optimizer, loss))
        schedule.step()
    return run, network, diffusion, ema


def draw(
    diffusion: Diffusion, network: UNet, labels: np.ndarray, shape: tuple[int, ...], scale: float, seed: int, bar: Any
) -> np.ndarray:
    """An image of each of the classes `labels` (N,), uint8 (N, H, W, C)."""
    images, timetable = [], diffusion.timetable(SAMPLING_STEPS, "karras")
    for first in range(0, len(labels), BATCH):
        asked = labels[first : first + BATCH]
        none = np.full_like(asked, network.null_class)
        cond, uncond = (diffusion.denoiser(partial(network, labels=y), clip=None) for y in (asked, none))
        guided = Thresholded(ClassifierFree(cond, uncond, scale))
        device = str(next(network.parameters()).device)
        x = sample(guided, (len(asked), *shape), timetable, METHOD, seed, first_sample=first, device=device)
        images.append(to_uint8(x.numpy()))
        bar.update(len(asked))
    return np.concatenate(images)


def main() -> None:
    args = arguments("conditional", __doc__.split("\n")[0], steps=4500, batch=32, samples=500).parse_args()
    data = load_data(args, multiple_of=4)
    if data.labels is None or len(np.unique(data.labels)) < 2:
        raise SystemExit(f"--data: needs images of two classes or more, labelled; {args.data} has none")
    training, test = split_for_distances(args, data)
    names = np.unique(data.labels)
    labels = np.searchsorted(names, np.asarray(training.labels))
    run, network, diffusion, ema = train(args, training.images, labels, len(names))

    asked = np.arange(args.samples) % len(names)
    features, reader, made = Features(data), Reader(data.images, data.labels), {}
    with ema.applied(), tqdm(total=len(SCALES) * len(asked), unit="image", desc="sampling") as bar:
        for scale in SCALES:
            made[scale] = draw(diffusion, network, asked, data.images.shape[1:], scale, args.seed, bar)
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
