"""Denoising autoencoders (Vincent et al. 2008), of handwritten digits and of photographs.

    python examples/denoising.py                     # both, side by side: runs/denoising/samples.png and photos.png
    python examples/denoising.py --data photos       # photographs alone
    python examples/denoising.py --data my_images    # other images, with the noise of the digits

The whole algorithm: add noise to an image, give it to the network, descend on the squared error between what comes out
and the image as it was. The network that does it best gives the mean of all images that the noisy one can have been.

Digits lose so much to their noise (half of the pixels, or a sigma of 0.5) that the network has to know what digits look
like: it is an autoencoder, whose code of a quarter of the sides makes it look far around. A photograph loses little
(sigma 25/255): its network looks around each pixel and says what to add to it (Zhang et al. 2017), and is used on
whole photographs that it has not seen.

All PSNRs are means over the test images of 10 log10(1 / mean squared error), in dB, of images clipped to [0, 1].
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, in_batches, load_split
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import F, Tensor, nn, optim
from minigen.autoencoders import Decoder, Encoder, ResidualDenoiser, gaussian_noise, masked, salt_and_pepper
from minigen.data import DataLoader, Dataset, photograph, photos, symmetries, to_float, to_uint8
from minigen.data.photos import HELD_OUT, TRAINING
from minigen.metrics import FILTERS, mean_psnr
from minigen.random import Generator
from minigen.viz import save_rows

AUTOENCODER: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, patch=2)
RESIDUAL_DENOISER: dict[str, Any] = dict(channels=32, blocks=4, patch=2)
PATCH = 40  # pixels, the side of the pieces of photographs that its network learns from
TUNING_IMAGES, TEST_IMAGES = 20, 200  # that filters are tuned on, and that everything is measured on
TILE = 96  # pixels, the side of the part of each photograph that filters are tuned on
RIGHT_FILTERS = {  # for each kind of noise those that are made for it
    "Gaussian": ("total variation", "non-local means, 5 x 5", "non-local means, 7 x 7"),
    "salt and pepper": ("median", "total variation"),
    "masked": ("median", "total variation"),
}


class DenoisingAutoencoder(nn.Module):
    """Noisy (N, H, W, C) -> clean (N, H, W, C) in [0, 1], by way of a code (N, H/4, W/4, 32)."""

    def __init__(self, channels: int):
        super().__init__()
        self.encoder = Encoder(channels, 32, **AUTOENCODER)
        self.decoder = Decoder(32, channels, **AUTOENCODER)

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(self.decoder(F.silu(self.encoder(x))))


@dataclass
class Task:
    """Images, what is done to them, and a network that is to undo it."""

    name: str
    images: np.ndarray  # to train on, uint8 (N, H, W, C)
    augment: Callable  # (images, generator) -> images
    noises: dict[str, Callable]  # kind -> (x, generator=) -> noisy x
    network: nn.Module
    tuning: list[np.ndarray]  # training images that filters are tuned on: (H, W, C) each, in [0, 1]
    test: list[np.ndarray]  # (H, W, C) each, in [0, 1], unseen
    asked: float  # dB above the best filter, where the noise is Gaussian

    def prepare(self, args: argparse.Namespace, steps: int) -> dict[str, Any]:
        """What trains the network: gives all parts that have a state."""
        self.network.to(args.device)
        self.ema = optim.EMA(self.network, decay=0.995)
        self.optimizer = optim.Adam(self.network.parameters(), 2e-3, betas=(0.9, 0.99), max_norm=1.0, ema=self.ema)
        self.schedule = optim.CosineLR(self.optimizer, steps, warmup_steps=min(50, steps // 10))
        self.batches = DataLoader(self.images, batch_size=args.batch, seed=args.seed, device=args.device)
        return {name: getattr(self, name) for name in ("network", "ema", "optimizer", "schedule", "batches")}


def heavy_noise(training: Dataset, test: Dataset) -> Task:
    """Half of the pixels lost, or a sigma of half the range: one network for all three kinds.

    The images are not augmented: turned or bent ones are smoother than real ones, and teach a network to be too smooth.
    """
    return Task(
        name=training.name,
        images=training.images,
        augment=lambda images, generator: images,
        noises={"Gaussian": gaussian_noise, "salt and pepper": salt_and_pepper, "masked": masked},
        network=DenoisingAutoencoder(training.images.shape[-1]),
        tuning=list(to_float(training.images[:TUNING_IMAGES], 0, 1)),
        test=list(to_float(test.images[:TEST_IMAGES], 0, 1)),
        asked=3.0,
    )


def light_noise() -> Task:
    """Photographs, of which pieces are trained on at their own size and halved, which have finer detail."""
    large = photos(2 * PATCH, PATCH // 2).images
    halved = large.reshape(len(large), PATCH, 2, PATCH, 2, 3).mean((2, 4)).round().astype(np.uint8)
    seen, unseen = ([to_float(photograph(name), 0, 1) for name in names] for names in (TRAINING, HELD_OUT))
    return Task(
        name="photos",
        images=np.concatenate([photos(PATCH, PATCH // 4).images, halved]),
        augment=symmetries,
        noises={"Gaussian": lambda x, generator: gaussian_noise(x, 25 / 255, generator)},
        network=ResidualDenoiser(3, **RESIDUAL_DENOISER),
        tuning=[x[TILE : 2 * TILE, TILE : 2 * TILE] for x in seen],
        test=[x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2] for x in unseen],  # even sides
        asked=0.5,
    )


def corrupt(x: Tensor, noises: dict[str, Callable], generator: Generator) -> Tensor:
    """Each kind of noise on its part of the batch."""
    cuts = [len(x) * i // len(noises) for i in range(1, len(noises))]
    parts = zip(noises.values(), minigen.split(x, cuts, 0), strict=True)
    return minigen.concatenate([noise(part, generator=generator) for noise, part in parts])


def train(args: argparse.Namespace, tasks: list[Task], generator: Generator) -> Run:
    parts: dict[str, Any] = {"generator": generator}
    for task in tasks:
        own = task.prepare(args, steps=-(-args.steps // len(tasks)))
        parts.update({f"{task.name} {name}": part for name, part in own.items()})
    run = Run(args, ("photos.png",), **parts)
    for step in run.steps():
        task = tasks[step % len(tasks)]  # in turns
        x = Tensor(to_float(task.augment(next(task.batches), generator), 0, 1))
        loss = F.mse_loss(task.network(corrupt(x, task.noises, generator)), x)
        task.optimizer.zero_grad()
        loss.backward()
        task.optimizer.step()
        task.schedule.step()
        run.log(**{task.name: loss.item()})
    return run


def load_tasks(args: argparse.Namespace) -> list[Task]:
    names = ("digits", "photos") if args.data == "both" else (args.data,)
    tasks, digests = [], []
    for name in names:
        own = argparse.Namespace(**{**vars(args), "data": name})
        training, test = load_split(own, multiple_of=4)
        tasks.append(light_noise() if name == "photos" else heavy_noise(training, test))
        digests.append(own.digest)
    args.digest = " ".join(digests)
    return tasks


def best_filter(name: str, noisy: list[np.ndarray], clean: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The filter with whichever settings do best on these images, knowing the standard deviation of their noise."""
    function, candidates = FILTERS[name]
    sigma = np.std(np.stack(noisy) - np.stack(clean))

    def quality(settings: dict[str, Any]) -> float:
        return mean_psnr([function(y, sigma, **settings) for y in noisy], clean)

    best = max(tqdm(candidates, desc=f"tuning {name}"), key=quality)
    return lambda y: function(y, sigma, **best)


def evaluate(task: Task, kind: str, device: str) -> dict[str, list[np.ndarray]]:
    """The test images with noise, and what the right filters and the network make of them."""
    noise, generator = task.noises[kind], Generator(FOR_FIGURES)  # the same noise in every run

    def corrupted(images: Any) -> list[np.ndarray]:
        return [noise(Tensor(x[None]), generator=generator).numpy()[0] for x in images]

    noisy = corrupted(task.test)
    outputs = {"noisy": noisy}
    noisy_tuning = corrupted(task.tuning)
    for name in RIGHT_FILTERS[kind]:
        denoise = best_filter(name, noisy_tuning, task.tuning)
        outputs[name] = [denoise(y) for y in tqdm(noisy, desc=name, unit="image")]
    network = [in_batches(task.network, y[None], device)[0] for y in tqdm(noisy, desc="network", unit="image")]
    return {**outputs, "network": network}


def squares(images: list[np.ndarray], count: int, side: int = 80) -> np.ndarray:
    """Pictures to look at, uint8 (count, side, side, C): small images whole, large ones cut up; some from all over."""
    side = min(side, *(min(image.shape[:2]) for image in images))
    cut = []
    for x in images:
        for i in range(0, x.shape[0] - side + 1, side):
            cut += [x[i : i + side, j : j + side] for j in range(0, x.shape[1] - side + 1, side)]
    return to_uint8(np.stack(cut[:: max(1, len(cut) // count)][:count]), 0, 1)


def main() -> None:
    args = arguments("denoising", __doc__.split("\n")[0], steps=4000, batch=32, samples=10, data="both").parse_args()
    generator = minigen.manual_seed(args.seed)
    tasks = load_tasks(args)
    run = train(args, tasks, generator)
    figures, psnr, rows = [], {}, {}
    for task in tasks:
        rows[task.name] = {"clean": squares(task.test, args.samples)}
        for kind in task.noises:
            with task.ema.applied():
                outputs = evaluate(task, kind, args.device)
            found = {name: mean_psnr(images, task.test) for name, images in outputs.items()}
            best = max(RIGHT_FILTERS[kind], key=lambda name: found[name])
            psnr[f"{task.name}, {kind}"] = found
            for name in ("noisy", best, "network"):
                rows[task.name][f"{kind}: {name}"] = squares(outputs[name], args.samples)
            if kind == "Gaussian":
                gain = found["network"] - found[best]
                baseline = f"{best}: {found[best]:.4g} dB, network: {found['network']:.4g} dB"
                figures.append((f"gain over the best filter on {task.name}, dB", gain, ">=", task.asked, baseline))
    first, *others = rows.values()
    arrays = {f"{task}, {name}": images for task, named in rows.items() for name, images in named.items()}
    run.write_samples(first["Gaussian: network"], first, **arrays)
    for named in others:
        save_rows(named, run.folder / "photos.png")
    run.write_metrics({"psnr": psnr})
    for name, found in psnr.items():
        print(f"{name}: " + ", ".join(f"{method} {value:.2f} dB" for method, value in found.items()))
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
