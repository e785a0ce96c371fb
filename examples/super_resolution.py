"""Super-resolution by diffusion, four times as large each way (SR3, Saharia et al. 2021, arXiv:2104.07636), of shapes.

    python examples/super_resolution.py                    # trains, then writes runs/super_resolution/samples.png
    python examples/super_resolution.py --data my_images   # other images

The whole algorithm: make an image small, and large again by bicubic interpolation. What is missing, the residual, is
what a diffusion model learns: mix it with noise, let a network that sees the enlarged image beside it say what it was,
descend on the squared error. To enlarge a small image, start from noise and move, step by step, towards what the
network says; another start, another image that looks the same when it is small.

Many images look the same when they are small. A network that descends on the absolute error alone (trained here too, on
the same batches) answers with the middle of them all, which has the fewest errors, and is blurred; a diffusion model
answers with one of them. samples.png shows three answers in three rows.

Each estimate on the way is projected onto the images that are the given one when they are made small (`Consistent`).
Small images are made as in srgan.py, by bicubic interpolation, smoothed, and rounded to 8 bits; the consistency of a
set of images is the PSNR, in dB, between them made small and the images they were made from.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import Learner, arguments, draw_in_batches, in_batches, load_data, split_for_distances
from run import Run, report, run_main

import minigen
from minigen import F, Tensor, ops
from minigen.data import DataLoader, Dataset, to_float, to_uint8
from minigen.diffusion import Consistent, Diffusion, UNet, sample
from minigen.diffusion.denoiser import Network
from minigen.gans import SuperResolver, resize, shrink
from minigen.gans.super_resolution import bicubic, bicubic_weights
from minigen.metrics import Features, compare, comparison_table, fidelity, psnr

FACTOR = 4
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
L1_NETWORK: dict[str, Any] = dict(channels=48, blocks=4)  # that of srgan.py
LEARNING_RATE = 2e-3
METHOD, SAMPLING_STEPS = "ddpm", 16
SAMPLING_BATCH = 100
ANSWERS, ANSWERED = 3, 200  # to each of so many small images
NUMBERS = 10**6  # of samples that one answer may use
SHOWN = 20  # of those images


def enlarge(small: Tensor) -> Tensor:
    """(N, h, w, C) -> (N, 4h, 4w, C), by bicubic interpolation."""
    return bicubic(small, FACTOR * small.shape[1], FACTOR * small.shape[2])


def beside(network: Network, enlarged: Tensor) -> Network:
    """The network as a function of noisy residuals alone."""
    return lambda x, t: network(ops.concatenate([x, enlarged], axis=-1), t)


def spread_of(images: np.ndarray) -> float:
    """The standard deviation of residuals."""
    return float((to_float(images) - to_float(resize(shrink(images, FACTOR), *images.shape[1:3]))).std())


def train(args: argparse.Namespace, images: np.ndarray, spread: float) -> tuple[Run, Diffusion, Learner, Learner]:
    generator, channels = minigen.manual_seed(args.seed), images.shape[-1]
    diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
    ours = Learner(args, UNet(2 * channels, channels, **NETWORK), args.steps, LEARNING_RATE)
    theirs = Learner(args, SuperResolver(channels, **L1_NETWORK, factor=FACTOR), args.steps, LEARNING_RATE)
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed)
    parts = {**ours.parts("diffusion"), **theirs.parts("L1")}
    run = Run(args, batches=batches, generator=generator, **parts)
    for _ in run.steps():
        batch = next(batches)
        small, x = (Tensor(to_float(images)).to(args.device) for images in (shrink(batch, FACTOR), batch))
        enlarged = enlarge(small)
        residual = (x - enlarged) / spread
        run.log(
            loss=ours.descend(diffusion.loss(beside(ours.network, enlarged), residual, generator)),
            L1=theirs.descend(F.l1_loss(theirs.network(small), x)),
        )
    return run, diffusion, ours, theirs


class Sampler:
    """Draws large images, uint8, of small ones."""

    def __init__(self, args: argparse.Namespace, diffusion: Diffusion, network: Network, spread: float):
        self.args, self.diffusion, self.network, self.spread = args, diffusion, network, spread

    def __call__(self, small: np.ndarray, answer: int = 0, consistent: bool = True) -> np.ndarray:
        """(N, h, w, C) -> (N, 4h, 4w, C); each number `answer` gives another one."""

        def some(first: int, count: int) -> Tensor:
            batch = Tensor(to_float(small[first : first + count])).to(self.args.device)
            return self._draw(batch, answer * NUMBERS + first, consistent)

        return draw_in_batches(some, len(small), SAMPLING_BATCH)

    def _draw(self, small: Tensor, first_sample: int, consistent: bool) -> Tensor:
        enlarged = enlarge(small)
        denoiser: Any = self.diffusion.denoiser(beside(self.network, enlarged), clip=None)
        if consistent:
            height, width = small.shape[1:3]
            given = (small - bicubic(enlarged, height, width)) / self.spread
            rows, columns = (bicubic_weights(FACTOR * size, size) for size in (height, width))
            denoiser = Consistent(denoiser, given, rows, columns)
        timetable = self.diffusion.timetable(SAMPLING_STEPS)
        settings: dict[str, Any] = dict(seed=self.args.seed, first_sample=first_sample, device=self.args.device)
        residual = sample(denoiser, enlarged.shape, timetable, METHOD, **settings)
        return enlarged + self.spread * residual


def measure(data: Dataset, training: np.ndarray, originals: np.ndarray, sets: dict[str, np.ndarray]) -> dict[str, Any]:
    """The metrics of each set of large images."""
    small, features = shrink(originals, FACTOR), Features(data)
    real, floor = features(training), features(originals)
    found: dict[str, Any] = {}
    for name, images in sets.items():
        consistency = psnr(shrink(images, FACTOR), small)  # over all images: of some it is infinite
        quality = compare(real, features(images), floor)
        found[name] = {**fidelity(images, originals), "consistency": consistency, **quality}
        print("{}: {psnr:.2f} dB, SSIM {ssim:.4f}, consistency {consistency:.2f} dB".format(name, **found[name]))
        print(comparison_table(quality))
    return found


def main() -> None:
    args = arguments("super_resolution", __doc__.split("\n")[0], 3600, 16, samples=1000, data="shapes").parse_args()
    data = load_data(args, multiple_of=FACTOR)
    training, test = split_for_distances(args, data)
    spread = spread_of(training.images)
    run, diffusion, ours, theirs = train(args, training.images, spread)
    originals = test.images[: args.samples]
    small = shrink(originals, FACTOR)
    sampler = Sampler(args, diffusion, ours.network, spread)
    few = small[:ANSWERED]
    with ours.ema.applied(), theirs.ema.applied():
        l1 = to_uint8(in_batches(theirs.network, to_float(small), args.device))
        made = sampler(small)
        answers = [made[:ANSWERED], *(sampler(few, answer) for answer in range(1, ANSWERS))]
        unprojected = psnr(shrink(sampler(few, consistent=False), FACTOR), few)
    bases = {"bicubic": resize(small, *originals.shape[1:3]), "L1": l1}
    found = measure(data, training.images, originals, {**bases, "diffusion": made})
    mean = np.mean(answers, axis=0).round().astype(np.uint8)
    blocks = small.repeat(FACTOR, 1).repeat(FACTOR, 2)
    numbered = {f"answer {i + 1}": images for i, images in enumerate(answers)}
    rows = {"small": blocks, **bases, **numbered, "original": originals}
    run.write_samples(made, {name: images[:SHOWN] for name, images in rows.items()})
    own: dict[str, Any] = {
        "consistency_without_projection": unprojected,
        "mean_of_answers": fidelity(mean, originals[:ANSWERED]),
        "std_of_answers": float(np.std(answers, axis=0).mean()),  # levels of 255
    }
    print("answers to one image differ by {std_of_answers:.2f} of 255 (standard deviation)".format(**own))
    print("their mean: {psnr:.2f} dB, SSIM {ssim:.4f}".format(**own["mean_of_answers"]))
    run.write_metrics({"found": found, **own})
    without = f"without projection: {unprojected:.4g}"
    others = ", ".join(f"{name}: {found[name]['consistency']:.4g}" for name in bases)
    kid = {name: values["kid"] for name, values in found.items()}
    beside_kid = f"L1: {kid['L1']:.3g}, bicubic: {kid['bicubic']:.3g}, real: {found['L1']['floor_kid']:.2g}"
    figures = [
        ("low-resolution consistency, dB", found["diffusion"]["consistency"], ">=", 35.0, f"{without}, {others}"),
        ("KID", kid["diffusion"], "<=", kid["L1"], beside_kid),
    ]
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
