"""Latent diffusion (Rombach et al. 2022, arXiv:2112.10752) of pictures of coloured shapes, against pixels.

    python examples/kl_autoencoder.py    # first: the autoencoder, else this example begins with running it
    python examples/latent.py            # trains, then writes runs/latent/samples.png

The whole algorithm: an autoencoder makes each image a map of 8 x 8 latents; a diffusion model learns these, as another
one would learn pixels (ddpm.py); what it samples is decoded. The autoencoder takes care of what every picture has in
common, how edges and textures look, and the diffusion model of what tells them apart, at 1/16 of the places.

Is it worth it? In the same run another diffusion model learns the pixels themselves, for about as long. Then both
sample at several numbers of steps. Of the model in pixels, take the setting that is fastest among those within 5% of
its least Frechet distance; of the model in latents the fastest whose distance is no more than that least one. Their
speeds in samples/s, decoding included, are what is compared.

denoising.png shows what the model in latents takes a sample for on its way from noise, decoded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Learner, arguments, draw_in_batches, frechet, in_batches, load_data, made_by, split_for_distances
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, ops
from minigen.autoencoders import DiagonalGaussian, KLAutoencoder
from minigen.data import DataLoader, to_float
from minigen.diffusion import Diffusion, UNet, Watched, sample
from minigen.metrics import Features, compare, comparison_table
from minigen.random import Generator
from minigen.viz import save_rows

PIXELS: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
LATENTS: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False))
LATENT_STEPS = 2  # for each step in pixels, which takes a little longer than these together
LEARNING_RATE = 2e-3
LARGEST_LATENT = 5.0  # in standard deviations: estimates are bounded by it
AUTOENCODER: list[str] = []  # more arguments of kl_autoencoder.py, if it is run
METHOD, SAMPLING_STEPS = "dpm++2m", (4, 6, 8, 11, 15, 20)
SAMPLING_BATCH = 100
WITHIN = 1.05  # times the least distance of the model in pixels counts as that distance
SHOWN = 40  # images of each kind in the picture
STAGES = 10  # in the picture of the denoising

Decode = Callable[[Tensor], Tensor]
Setting = dict[str, Any]  # "steps" of the sampler, its "images", their "frechet" distance, the "seconds" they took


def load_autoencoder(args: argparse.Namespace, channels: int, more: list[str] | None) -> KLAutoencoder:
    """That of kl_autoencoder.py, see `made_by`; images must have so many channels."""
    path = made_by("kl_autoencoder", "autoencoder.safetensors", args.autoencoder, args, more)
    autoencoder = KLAutoencoder.load(path)
    if autoencoder.arguments["in_channels"] != channels:
        sys.exit(f"{path} is for images of {autoencoder.arguments['in_channels']} channels, not {channels}")
    autoencoder.to(args.device)
    return autoencoder


def shape_of_latents(autoencoder: KLAutoencoder, image_shape: tuple[int, ...], device: str) -> tuple[int, ...]:
    """(H/f, W/f, latent channels) for images (H, W, C)."""
    with minigen.no_grad():
        return autoencoder.encode(Tensor(np.zeros((1, *image_shape), np.float32)).to(device)).mean.shape[1:]


class Model(Learner):
    """A diffusion model of arrays of a shape, which `decode` turns into images."""

    def __init__(
        self, args: argparse.Namespace, network: UNet, shape: tuple[int, ...], decode: Decode, clip: float, steps: int
    ):
        super().__init__(args, network, steps, LEARNING_RATE)
        self.shape, self.decode, self.clip, self.seed = shape, decode, clip, args.seed
        self.diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
        self.seconds = 0.0  # of training, in this session

    def learn(self, x0: Tensor, generator: Generator) -> float:
        started = time.monotonic()
        loss = self.descend(self.diffusion.loss(self.network, x0, generator))
        self.seconds += time.monotonic() - started
        return loss

    def draw(self, n: int, steps: int) -> np.ndarray:
        """n images, uint8, in batches, by the moving average of the weights."""

        def some(first: int, count: int) -> Tensor:
            settings: dict[str, Any] = dict(first_sample=first, clip=self.clip)
            return self.decode(
                self.diffusion.sample(self.network, (count, *self.shape), self.seed, steps, METHOD, **settings)
            )

        with self.ema.applied(), minigen.no_grad():
            return draw_in_batches(some, n, SAMPLING_BATCH, show=False)


def posteriors_of(autoencoder: KLAutoencoder, images: np.ndarray, device: str) -> np.ndarray:
    """The parameters of the distributions of all images' latents, as `DiagonalGaussian` takes them."""

    def parameters(x: Tensor) -> Tensor:
        posterior = autoencoder.encode(x)
        return ops.concatenate([posterior.mean, posterior.log_variance], axis=-1)

    return in_batches(parameters, to_float(images), device)


def train(args: argparse.Namespace, images: np.ndarray, autoencoder: KLAutoencoder) -> tuple[Run, dict[str, Model]]:
    generator = minigen.manual_seed(args.seed)
    posteriors = posteriors_of(autoencoder, images, args.device)  # once: encoding is slow
    channels, latent_shape = posteriors.shape[-1] // 2, (*posteriors.shape[1:-1], posteriors.shape[-1] // 2)
    pixels = Model(args, UNet(images.shape[-1], **PIXELS), images.shape[1:], lambda x: x, 1.0, args.steps)
    latents = Model(
        args, UNet(channels, **LATENTS), latent_shape, autoencoder.decode, LARGEST_LATENT, LATENT_STEPS * args.steps
    )
    settings: dict[str, Any] = dict(batch_size=args.batch, seed=args.seed, device=args.device)
    batches: Any = {
        "pixel batches": DataLoader(images, **settings),
        "latent batches": DataLoader(posteriors, **settings),
    }
    run = Run(
        args, ("denoising.png",), **pixels.parts("pixels"), **latents.parts("latents"), **batches, generator=generator
    )
    for _ in run.steps():
        x = Tensor(to_float(next(batches["pixel batches"])))
        run.log(pixels=pixels.learn(x, generator))
        for _ in range(LATENT_STEPS):
            posterior = DiagonalGaussian.from_parameters(Tensor(next(batches["latent batches"])))
            loss = latents.learn(posterior.sample(generator), generator)
        run.log(latents=loss)
    return run, {"pixels": pixels, "latents": latents}


def draw_denoising(model: Model, path: Path) -> None:
    """Latents that were noise, and what the network takes them for on the way, decoded."""
    watched = Watched(model.diffusion.denoiser(model.network, model.clip))
    with model.ema.applied():
        sample(watched, (3, *model.shape), model.diffusion.timetable(STAGES), "ddim", model.seed)
    rows = {}
    for i in range(3):
        for name, latents in (("x", watched.seen), ("guess", watched.said)):
            rows[f"{name} {i + 1}"] = in_batches(model.decode, np.stack([z[i] for z in latents]), watched.device)
    save_rows(rows, path, STAGES)


def try_settings(models: dict[str, Model], n: int, distance: Callable[[np.ndarray], float]) -> dict[str, list[Setting]]:
    """n samples of each model at each number of steps; the models take turns."""
    found: dict[str, list[Setting]] = {name: [] for name in models}
    for steps in tqdm(SAMPLING_STEPS, desc="sampling", unit="setting"):
        for name, model in models.items():
            started = time.monotonic()
            images = model.draw(n, steps)
            seconds = time.monotonic() - started
            found[name].append({"steps": steps, "images": images, "frechet": distance(images), "seconds": seconds})
    return found


def choose(found: dict[str, list[Setting]]) -> dict[str, Setting]:
    """Of each model the setting with the fewest steps that is good enough; if none is, the best."""
    least = min(s["frechet"] for s in found["pixels"])
    chosen = {}
    for name, bound in (("pixels", WITHIN * least), ("latents", least)):
        best = min(found[name], key=lambda s: s["frechet"])
        chosen[name] = next((s for s in found[name] if s["frechet"] <= bound), best)
    return chosen


def main() -> None:
    parser = arguments("latent", __doc__.split("\n")[0], steps=1800, batch=32, samples=1000, data="shapes")
    parser.add_argument("--autoencoder", type=Path, help="that of kl_autoencoder.py; by default in its folder by --out")
    args = parser.parse_args()
    data = load_data(args, multiple_of=8)
    training, test = split_for_distances(args, data)
    autoencoder = load_autoencoder(args, data.images.shape[-1], AUTOENCODER)
    run, models = train(args, training.images, autoencoder)
    draw_denoising(models["latents"], run.folder / "denoising.png")

    features, n = Features(data), min(args.samples, len(test))
    real, floor = features(training.images), features(test.images[:n])

    found = try_settings(models, n, lambda images: frechet(real, features(images)))
    print(table(found, n))
    chosen = choose(found)
    drawn = {name: setting["images"] for name, setting in chosen.items()}
    quality = {name: compare(real, features(images), floor) for name, images in drawn.items()}
    for name, values in quality.items():
        print(f"{name}, {chosen[name]['steps']} steps\n{comparison_table(values)}")
    shown = min(n, SHOWN)
    rows = {name: images[:shown] for name, images in {**drawn, "real": test.images}.items()}
    run.write_samples(drawn["latents"], rows)
    speeds = {name: n / setting["seconds"] for name, setting in chosen.items()}
    distances = {name: setting["frechet"] for name, setting in chosen.items()}
    taken = {f"{name}_training_seconds": round(model.seconds, 1) for name, model in models.items()}
    run.write_metrics(
        {
            "settings": {
                name: {str(s["steps"]): {key: s[key] for key in ("steps", "frechet", "seconds")} for s in settings}
                for name, settings in found.items()
            },
            "images": n,
            "chosen_steps": {name: setting["steps"] for name, setting in chosen.items()},
            **{f"{name}_per_seconds": speed for name, speed in speeds.items()},
            "quality": quality,
            **taken,
        }
    )
    print("training: {pixels_training_seconds} s in pixels, {latents_training_seconds} s in latents".format(**taken))
    least = min(s["frechet"] for s in found["pixels"])
    beside = "latents: {latents:.4g}, pixels: {pixels:.4g}".format(**speeds)
    report(
        [
            ("samples/s, latents over pixels", speeds["latents"] / speeds["pixels"], ">=", 3.0, beside),
            (
                "Frechet distance of these samples in latents",
                distances["latents"],
                "<=",
                least,
                f"in pixels: {distances['pixels']:.3g}, at best {least:.3g}; real images: "
                f"{quality['pixels']['floor_frechet']:.3g}",
            ),
        ],
        args.check,
    )


def table(found: dict[str, list[Setting]], n: int) -> str:
    """The distances and speeds that were found, in lines to be printed."""
    lines = [f"{'steps':>5}" + "".join(f"{name + ': Frechet distance, samples/s':>42}" for name in found)]
    for settings in zip(*found.values(), strict=True):
        cells = [f"{s['frechet']:.3f}, {n / s['seconds']:5.0f}" for s in settings]
        lines.append(f"{settings[0]['steps']:>5}" + "".join(f"{cell:>42}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
