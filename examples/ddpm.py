"""A diffusion model (DDPM, Ho et al. 2020) of handwritten digits, from data to samples.

    python examples/ddpm.py                            # trains, then writes new digits to runs/ddpm/samples.png
    python examples/ddpm.py --resume --samples 2000    # more of them
    python examples/ddpm.py --device cuda              # on a GPU

The whole algorithm: take an image, a random timestep t and noise; mix them; let the network say what the clean image
was; descend on its squared error. Then start from pure noise and move, step by step, towards what the network says.
(One thing more, for speed alone: many images could have become the same mixture, and what the network is told is not
the one that did, but the mean of all, which is what it would end at anyway. See minigen/diffusion/posterior.py.)

forward.png shows the first half: digits that turn into noise. reverse.png shows the second: noise that turns into
digits, and below each stage what the network takes the digit for. timesteps.png has the squared error of that guess at
ten timesteps, for digits that were not trained on, beside that of the best linear guess there is (Wiener's).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, draw_in_batches, has_classes, load_data, split_for_distances
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, Dataset, to_float
from minigen.diffusion import Denoiser, Diffusion, PosteriorMean, UNet, Watched, Wiener, sample
from minigen.metrics import Features, Reader, compare, comparison_table
from minigen.random import Generator
from minigen.viz import save_curves, save_rows

NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
STEPS, IMAGES = 4000, 32  # of the training, and images in a step
TIMESTEPS: Any = dict(timesteps=1000, logit_normal=(0.9, 1.4))  # more noisy ones than if they were evenly spread
MOST_REFERENCES = 10_000  # with more images, the mean of all of them would cost more than the network
METHOD, SAMPLING_STEPS = "dpm++2m", 25
SAMPLING_BATCH = 100
PROBES, PROBED_IMAGES = 10, 500  # timesteps and images for the error of the network's guess
STAGES = 10  # in the pictures


def arguments_with_network(name: str, description: str, samples: int) -> Any:
    """The command line of an example that begins with the network trained here, as an argparse parser."""
    parser = arguments(name, description, STEPS, IMAGES, samples)
    parser.add_argument("--trained", type=Path, default=Path("runs/ddpm"), help="a run of ddpm.py to take over")
    return parser


def train(
    args: argparse.Namespace, images: np.ndarray, pictures: tuple[str, ...] = (), trained: Path | None = None
) -> tuple[Run, UNet, Diffusion, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    diffusion = Diffusion(schedule="cosine", prediction="x0", **TIMESTEPS)
    network = UNet(images.shape[-1], **NETWORK, size=images.shape[1:3])
    network.to(args.device)
    ema = optim.EMA(network, decay=0.998)
    optimizer = optim.Adam(network.parameters(), lr=4e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    posterior = None
    if len(images) <= MOST_REFERENCES:
        posterior = PosteriorMean(Tensor(to_float(images)).to(args.device))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: Any = {"network": network, "ema": ema, "optimizer": optimizer, "schedule": schedule, "batches": batches}
    run = Run(args, pictures, trained, generator=generator, **parts)
    for _ in run.steps():
        x0 = Tensor(to_float(next(batches)))
        loss = diffusion.loss(network, x0, generator, posterior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(loss=loss.item())
    return run, network, diffusion, ema


def draw(args: argparse.Namespace, network: UNet, diffusion: Diffusion, shape: tuple[int, ...], n: int) -> np.ndarray:
    """n images, uint8, in batches."""

    def some(first: int, count: int) -> Tensor:
        size = (count, *shape)
        return diffusion.sample(network, size, args.seed, SAMPLING_STEPS, METHOD, first_sample=first)

    return draw_in_batches(some, n, SAMPLING_BATCH)


def errors(diffusion: Diffusion, denoisers: dict[str, Denoiser], x0: Tensor, seed: int) -> dict[str, list[float]]:
    """The mean squared error of each denoiser's guess at x0 (N, H, W, C), at PROBES timesteps, with the same noise."""
    found: dict[str, list[float]] = {name: [] for name in denoisers}
    generator = Generator(FOR_FIGURES + seed)
    with minigen.no_grad():
        for t in probed(diffusion):
            x_t, _ = diffusion.add_noise(x0, np.full(len(x0), t), generator)
            for name, denoiser in denoisers.items():
                guess = denoiser(x_t, diffusion.alpha_bar(t))
                found[name].append(((guess - x0) ** 2).mean().item())
    return found


def probed(diffusion: Diffusion) -> list[int]:
    return [int((i + 0.5) / PROBES * diffusion.timesteps) for i in range(PROBES)]


def draw_forward(diffusion: Diffusion, x0: Tensor, path: Path) -> None:
    """Digits that turn into noise: one in each row."""
    times = np.linspace(0, diffusion.timesteps - 1, STAGES).astype(int)
    stages = [x0, *(diffusion.add_noise(x0, np.full(len(x0), t), Generator(FOR_FIGURES))[0] for t in times)]
    names = [f"{i + 1}" for i in range(len(x0))]
    save_rows({name: np.stack([x.numpy()[i] for x in stages]) for i, name in enumerate(names)}, path, STAGES + 1)


def draw_reverse(denoiser: Denoiser, diffusion: Diffusion, shape: tuple[int, ...], seed: int, path: Path) -> None:
    """Noise that turns into digits, and the network's guesses on the way."""
    watched = Watched(denoiser)
    sample(watched, shape, diffusion.timetable(STAGES), "ddim", seed)
    rows = {}
    for i in range(shape[0]):
        rows[f"x {i + 1}"] = np.stack([x[i] for x in watched.seen])
        rows[f"guess {i + 1}"] = np.stack([x[i] for x in watched.said])
    save_rows(rows, path, STAGES)


def measure(data: Dataset, training: Dataset, test: Dataset, made: np.ndarray) -> tuple[dict[str, Any], list]:
    """Metrics of the samples, and the figures to report."""
    features, n = Features(data), min(len(made), len(test))
    quality = compare(features(training.images), features(made[:n]), features(test.images[:n]))
    print(comparison_table(quality))
    metrics: dict[str, Any] = {"quality": quality}
    floor = quality["floor_frechet"]
    figures = [("Frechet distance", quality["frechet"], "<=", 1.8 * floor, f"real images: {floor:.3g}")]
    if has_classes(data.labels):
        reader = Reader(data.images, data.labels)
        histogram, read = reader.histogram(made), reader.share_read(made)
        metrics.update(read=read, read_real=reader.real, class_histogram=histogram)
        figures += [
            ("share read as a class with over 80% confidence", read, ">=", 0.8, f"real images: {reader.real:.3g}"),
            ("classes present", sum(n > 0 for n in histogram), ">=", len(reader.classes), f"of {len(reader.classes)}"),
        ]
    return metrics, figures


def main() -> None:
    args = arguments("ddpm", __doc__.split("\n")[0], STEPS, IMAGES, samples=1000).parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    run, network, diffusion, ema = train(args, training.images, ("forward.png", "reverse.png", "timesteps.png"))
    shape, held_out = data.images.shape[1:], Tensor(to_float(test.images[:PROBED_IMAGES])).to(args.device)
    started = time.monotonic()
    with ema.applied():
        made = draw(args, network, diffusion, shape, args.samples)
        seconds = time.monotonic() - started
        denoiser = diffusion.denoiser(network)
        error = errors(
            diffusion, {"network": denoiser, "Wiener": Wiener(to_float(training.images))}, held_out, args.seed
        )
        draw_reverse(denoiser, diffusion, (3, *shape), args.seed, run.folder / "reverse.png")
    draw_forward(diffusion, held_out[:4], run.folder / "forward.png")
    times = probed(diffusion)
    save_curves({name: (times, e) for name, e in error.items()}, run.folder / "timesteps.png", xlabel="timestep t")
    run.write_samples(made)
    metrics, figures = measure(data, training, test, made)
    ratios = [ours / theirs for ours, theirs in zip(error["network"], error["Wiener"], strict=True)]
    worst = f"{PROBES} probed; the next worst: {sorted(ratios)[-2]:.3g}"
    figures.append(("error of the guess over Wiener's, at the worst timestep", max(ratios), "<=", 1.0, worst))
    run.write_metrics({"samples": len(made), "sampling_seconds": round(seconds, 1), "error": error, **metrics})
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
