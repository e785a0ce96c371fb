"""A diffusion model (DDPM, Ho et al. 2020) of handwritten digits, from data to samples.

    python examples/ddpm.py                            # trains, then writes new digits to runs/ddpm/samples.png
    python examples/ddpm.py --resume --samples 1000    # more of them
    python examples/ddpm.py --device cuda              # on a GPU

The whole algorithm: take an image, a random timestep t and noise; mix them; let the network say what the clean image
was; descend on its squared error. Then start from pure noise and move, step by step, towards what the network says.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from common import Run, arguments, load_data, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.diffusion import Diffusion, UNet
from minigen.metrics import Reader

SAMPLING_STEPS = 100
SAMPLING_BATCH = 100


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, UNet, Diffusion, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
    network = UNet(images.shape[-1], channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
    network.to(args.device)
    ema = optim.EMA(network, decay=0.998)
    optimizer = optim.Adam(network.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args, network=network, ema=ema, optimizer=optimizer, schedule=schedule, batches=batches, generator=generator
    )
    for _ in run.steps():
        x0 = Tensor(to_float(next(batches)))
        loss = diffusion.loss(network, x0, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(loss=loss.item())
    return run, network, diffusion, ema


def sample(args: argparse.Namespace, network: UNet, diffusion: Diffusion, shape: tuple[int, ...]) -> np.ndarray:
    """`args.samples` images, uint8, in batches."""
    images = []
    starts = range(0, args.samples, SAMPLING_BATCH)
    with tqdm(total=args.samples, unit="image", desc="sampling") as bar:
        for first in starts:
            n = min(SAMPLING_BATCH, args.samples - first)
            x = diffusion.sample(network, (n, *shape), args.seed, SAMPLING_STEPS, method="ddpm", first_sample=first)
            images.append(to_uint8(x.numpy()))
            bar.update(n)
    return np.concatenate(images)


def main() -> None:
    args = arguments("ddpm", __doc__.split("\n")[0], steps=2200, batch=64, samples=300).parse_args()
    data = load_data(args, multiple_of=4)
    run, network, diffusion, ema = train(args, data.images)
    started = time.monotonic()
    with ema.applied():
        images = sample(args, network, diffusion, data.images.shape[1:])
    run.write_samples(images)
    metrics: dict[str, Any] = {"samples": len(images), "sampling_seconds": round(time.monotonic() - started, 1)}
    figures = []
    if data.labels is not None and len(np.unique(data.labels)) > 1:
        reader = Reader(data.images, data.labels)
        histogram, read = reader.histogram(images), reader.share_read(images)
        metrics.update(read=read, read_real=reader.real, class_histogram=histogram)
        figures = [
            ("share read as a class with over 80% confidence", read, ">=", 0.72, f"real images: {reader.real:.3g}"),
            ("classes present", sum(n > 0 for n in histogram), ">=", len(reader.classes), f"of {len(reader.classes)}"),
        ]
    run.write_metrics(metrics)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
