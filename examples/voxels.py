"""Solids from a diffusion model of 3-D convolutions: DDPM on grids of 16 x 16 x 16 voxels.

    python examples/voxels.py                           # trains, then writes runs/voxels/samples.png: views of solids
    python examples/voxels.py --resume --samples 1000   # more of them
    python examples/voxels.py --device cuda             # on a GPU

The algorithm is that of `ddpm.py`: a grid of occupancies is an image with one axis more, and the U-Net convolves over
all three. The real solids are drawn by the computer: balls, boxes, cylinders, tubes, cones, tori, octahedra and crosses
of any size, place and turn. So one can ask of new ones: does a classifier that has learned from other solids read them
as one of these classes, and are all there? And are they told from real ones by their nearest neighbour, in how much of
each voxel is filled? Half of such guesses are right if the two sets do not differ, all of them if they lie apart.

samples.png shows real and new solids, denoising.png what the network takes some for, on their way from noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Learner, arguments, draw_in_batches, use_device
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import SOLIDS, DataLoader, solids, to_float
from minigen.diffusion import Diffusion, UNet, Watched, sample
from minigen.metrics import Features, nearest_neighbour_accuracy, share_read
from minigen.render import render
from minigen.viz import save_rows

TRAINING, READ, HELD_OUT = 10_000, 10_000, 1000  # solids for the network, for the classifier, and for figures
NETWORK: dict[str, Any] = dict(channels=16, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
LEARNING_RATE = 2e-3
METHOD, SAMPLING_STEPS, SAMPLING_BATCH = "dpm++2m", 25, 50
PICTURED, STAGES = 40, 10  # solids in a picture, and stages of their way


def train(args: argparse.Namespace, grids: np.ndarray) -> tuple[Run, UNet, Diffusion, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
    network = UNet(grids.shape[-1], dims=3, **NETWORK, size=grids.shape[1:-1])
    learner = Learner(args, network, args.steps, LEARNING_RATE, decay=0.995)
    batches = DataLoader(grids, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(args, ("denoising.png",), generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        x0 = Tensor(to_float(next(batches)))
        run.log(loss=learner.descend(diffusion.loss(network, x0, generator)))
    return run, network, diffusion, learner.ema


def draw(args: argparse.Namespace, network: UNet, diffusion: Diffusion, shape: tuple[int, ...]) -> np.ndarray:
    """`args.samples` grids, uint8, in batches."""

    def some(first: int, count: int) -> Tensor:
        return diffusion.sample(network, (count, *shape), args.seed, SAMPLING_STEPS, METHOD, first_sample=first)

    return draw_in_batches(some, args.samples, SAMPLING_BATCH, "solid")


def draw_denoising(network: UNet, diffusion: Diffusion, shape: tuple[int, ...], seed: int, path: Path) -> None:
    """What the network takes five solids for, stage by stage."""
    watched = Watched(diffusion.denoiser(network))
    sample(watched, (5, *shape), diffusion.timetable(STAGES), METHOD, seed)
    save_rows({f"{i + 1}": render(np.stack([x[i] for x in watched.said])) for i in range(5)}, path, STAGES)


def flat(grids: np.ndarray) -> np.ndarray:
    """How much of each voxel is filled: (N, voxels)."""
    return grids.reshape(len(grids), -1) / 255


def main() -> None:
    args = arguments(
        "voxels", __doc__.split("\n")[0], 2800, 32, samples=500, data="solids", choices=("solids",)
    ).parse_args()
    use_device(args)
    if args.batch > TRAINING:
        sys.exit(f"--batch {args.batch} is more than the {TRAINING} solids to learn from")
    every = solids(TRAINING + 2 * HELD_OUT).images
    training, real, other = np.split(every, [TRAINING, TRAINING + HELD_OUT])
    features = Features(solids(READ, seed=1))
    run, network, diffusion, ema = train(args, training)

    started = time.monotonic()
    with ema.applied():
        made = draw(args, network, diffusion, training.shape[1:])
        seconds = time.monotonic() - started
        draw_denoising(network, diffusion, training.shape[1:], args.seed, run.folder / "denoising.png")
    shown = min(PICTURED, len(made), len(real))
    rows = {"real": render(real[:shown]), "new": render(made[:shown])}
    probabilities = features.probabilities(made)
    kinds = probabilities.argmax(1)
    run.write_samples(render(made), rows, grids=made, labels=kinds)

    n = min(len(made), len(real))
    read, read_real = share_read(probabilities), share_read(features.probabilities(real))
    told, floor = (nearest_neighbour_accuracy(flat(real[:n]), flat(x[:n])) for x in (made, other))
    histogram = dict(zip(SOLIDS, np.bincount(kinds, minlength=len(SOLIDS)).tolist(), strict=True))
    print("solids read as each kind:", ", ".join(f"{count} {name}" for name, count in histogram.items()))
    run.write_metrics(
        {
            "samples": len(made),
            "sampling_seconds": round(seconds, 1),
            "accuracy_of_the_classifier": features.accuracy["label"],
            "read": read,
            "read_real": read_real,
            "kinds": histogram,
            "nearest_neighbour_accuracy": told,
            "nearest_neighbour_accuracy_real": floor,
        }
    )
    present = sum(count > 0 for count in histogram.values())
    report(
        [
            ("share read as a kind with over 80% confidence", read, ">=", 0.9, f"real solids: {read_real:.3g}"),
            ("kinds present", present, ">=", len(SOLIDS), f"of {len(SOLIDS)}"),
            ("accuracy of the nearest neighbour", told, "<=", 0.65, f"real against real: {floor:.3g}"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
