"""Rectified flow of digits, and one round of reflow (Liu et al. 2023), beside DDIM.

    python examples/flow_matching.py                            # trains, then writes runs/flow_matching/samples.png

The whole algorithm: mix an image with noise at a random place t of the straight line between the two; let the network
say in which direction the line goes, noise minus image; descend on its squared error. Sampling follows these directions
from noise to an image, here with Euler's method, which is exact on straight ways, however few its steps are.

The ways are not straight yet: where lines cross, the network says the mean of their directions. Reflow trains it on
with pairs of noise and the image that it makes of that noise itself, in many steps. Those ways do not cross, so they
come out straighter: straightness.png has how far they are from it. Then four steps are enough for what took many.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import FOR_FIGURES, Learner, arguments, frechet, has_classes, load_data, split_for_distances
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor
from minigen.data import DataLoader, to_float, to_uint8
from minigen.diffusion import Denoiser, RectifiedFlow, UNet, Watched, convert, denoise
from minigen.metrics import Features, Reader
from minigen.random import Generator
from minigen.viz import save_curves

NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
FLOW_SHARE = 0.75  # of the steps; the rest is reflow
PAIRS, PAIR_STEPS = 4000, 16  # of noise and image for reflow, and the steps of DPM-Solver++ that make one
FEW, MANY = 4, 32  # steps that are compared
BATCH = 100


def noise_of(args: argparse.Namespace, shape: tuple[int, ...], draw: int) -> Tensor:
    """The noise that draw 0 or draw 1 gives: for samples, and for pairs."""
    stream = Generator(FOR_FIGURES + args.seed)
    stream.draw = draw
    return minigen.randn(*shape, generator=stream).to(args.device)


def carry(denoiser: Denoiser, noise: Tensor, steps: int, method: str = "euler", spacing: str = "uniform") -> np.ndarray:
    """What the flow makes of noise (N, H, W, C) in so many steps: floats in [-1, 1]."""
    timetable, made = RectifiedFlow().timetable(steps, spacing), []
    for first in range(0, len(noise), BATCH):
        made.append(denoise(denoiser, noise[first : first + BATCH], timetable, method).numpy())
    return np.concatenate(made)


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, Learner, Learner]:
    generator, process = minigen.manual_seed(args.seed), RectifiedFlow()
    begin = max(1, round(FLOW_SHARE * args.steps))
    size = images.shape[1:3]
    first = Learner(args, UNet(images.shape[-1], **NETWORK, size=size), begin)
    second = Learner(args, UNet(images.shape[-1], **NETWORK, size=size), args.steps - begin, lr=1e-3)
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    pairs = DataLoader(np.arange(PAIRS), batch_size=args.batch, seed=args.seed)
    parts = {**first.parts("flow"), **second.parts("reflow"), "batches": batches, "pairs": pairs}
    run = Run(args, ("straightness.png",), generator=generator, **parts)
    noise = made = None
    for step in run.steps():
        if step < begin:
            loss = process.loss(first.network, Tensor(to_float(next(batches))), generator)
            run.log(**{"squared error: flow": first.descend(loss)})
            continue
        if noise is None or made is None:  # again after a resumption: the same ones
            noise = noise_of(args, (PAIRS, *images.shape[1:]), 1)
            with first.ema.applied():
                print(f"making {PAIRS} pairs of noise and image")
                made = carry(process.denoiser(first.network), noise, PAIR_STEPS, "dpm++2m", "karras")
                if step == begin:
                    second.network.load_state_dict(first.network.state_dict())
        chosen = next(pairs)
        x0 = Tensor(made[chosen]).to(args.device)
        loss = process.reflow_loss(second.network, x0, noise[chosen], generator)
        run.log(**{"squared error: reflow": second.descend(loss)})
    return run, first, second


def bends(denoiser: Denoiser, noise: Tensor) -> list[float]:
    """How far the direction at each of MANY steps is from that of the whole way: a mean square, over the latter's.

    0 for straight ways. The mean over t is the straightness of Liu et al. 2023, eq. 5.
    """
    watched, timetable = Watched(denoiser), RectifiedFlow().timetable(MANY)
    made = denoise(watched, noise, timetable, "euler").numpy()
    whole, found = noise.numpy() - made, []
    for (level, _), x, x0 in zip(timetable, watched.seen, watched.said, strict=True):
        way = convert(x0, x, level, "x0", "flow").numpy()
        found.append(float(((way - whole) ** 2).mean() / (whole**2).mean()))
    return found


def main() -> None:
    args = arguments("flow_matching", __doc__.split("\n")[0], steps=3600, batch=32, samples=500).parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    run, first, second = train(args, training.images)

    n, shape = min(args.samples, len(test)), data.images.shape[1:]
    noise, process, made, bent = noise_of(args, (n, *shape), 0), RectifiedFlow(), {}, {}
    for name, flow in (("flow", first), ("reflow", second)):
        with flow.ema.applied():
            denoiser = process.denoiser(flow.network)
            for steps in tqdm((1, FEW, MANY), desc=f"sampling, {name}", unit="setting"):
                made[f"{name}, {steps}"] = to_uint8(carry(denoiser, noise, steps))
            bent[name] = bends(process.denoiser(flow.network, clip=None), noise[:BATCH])
    features = Features(data)
    real, floor = features(training.images), features(test.images[:n])
    distances = {name: frechet(real, features(images)) for name, images in made.items()}
    floor_distance = frechet(real, floor)
    read, read_real = {}, float("nan")
    if has_classes(data.labels):
        reader = Reader(data.images, data.labels)
        read, read_real = {name: reader.share_read(images) for name, images in made.items()}, reader.real
    for name, distance in distances.items():
        print(f"{name:>10} steps: Frechet distance {distance:.3g}, read {read.get(name, float('nan')):.1%}")
    print(f"{'real':>10} images: Frechet distance {floor_distance:.3g}, read {read_real:.1%}")

    times = 1 - np.arange(MANY) / MANY
    save_curves({name: (times, bend) for name, bend in bent.items()}, run.folder / "straightness.png", xlabel="t")
    run.write_samples(made[f"reflow, {FEW}"], {name: images[:16] for name, images in made.items()})
    straight = {name: float(np.mean(bend)) for name, bend in bent.items()}
    run.write_metrics(
        {"frechet": distances, "floor_frechet": floor_distance, "read": read, "read_real": read_real, "bend": straight}
    )
    ddim, many = distances[f"flow, {FEW}"], distances[f"flow, {MANY}"]
    beside = f"DDIM, {FEW} steps: {ddim:.3g}; {MANY} steps: {many:.3g}; real images: {floor_distance:.3g}"
    report(
        [
            (f"Frechet distance after reflow, {FEW} steps", distances[f"reflow, {FEW}"], "<=", ddim, beside),
            (
                "how bent the ways are after reflow",
                straight["reflow"],
                "<=",
                straight["flow"],
                f"before: {straight['flow']:.3g}",
            ),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
