"""The autoencoder that latent diffusion stands on (Rombach et al. 2022), of pictures of coloured shapes.

    python examples/kl_autoencoder.py                          # trains, then writes runs/kl_autoencoder/samples.png
    python examples/kl_autoencoder.py --data FOLDER            # on pictures of your own
    KLAutoencoder.load("runs/kl_autoencoder/autoencoder.safetensors")   # in Python, from then on

The whole algorithm: the encoder gives each image a normal distribution over latents, a map with 1/4 of the height and
width and 4 channels; draw one; decode it; descend on the squared and absolute error, plus a KL so small that it only
keeps the latents from growing. Errors like these leave fine detail blurred, so in the second half of the training
a discriminator learns to tell patches of images and of reconstructions apart, and the autoencoder to deceive it. (That
is for the eye: by itself it lowers the PSNR a little.)
In the end the latents' mean and standard deviation are measured, and from then on they are 0 and 1.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import arguments, descend, in_batches, load_split, through_pca
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import KLAutoencoder
from minigen.data import DataLoader, to_float, to_uint8
from minigen.gans import PatchDiscriminator, adaptive_weight, hinge_discriminator, hinge_generator
from minigen.metrics import psnr
from minigen.nn import functional as F
from minigen.random import Generator

LATENT_CHANNELS = 4
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, patch=2)
KL_WEIGHT = 2.5e-4  # of nats in a latent's average number; 1e-6 of an image's at 8 x 8 x 4
ADVERSARIAL_WEIGHT = 0.5
LEARN_FROM, HEED_FROM = 0.5, 0.55  # the shares of the training after which the discriminator learns, and counts


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, KLAutoencoder, optim.EMA, Generator]:
    generator = minigen.manual_seed(args.seed)
    autoencoder = KLAutoencoder(images.shape[-1], LATENT_CHANNELS, **NETWORK)
    discriminator = PatchDiscriminator(images.shape[-1], channels=32, halvings=1)
    autoencoder.to(args.device)
    discriminator.to(args.device)
    ema = optim.EMA(autoencoder, decay=0.998)
    optimizer = optim.Adam(autoencoder.parameters(), lr=3e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(100, args.steps // 10))
    critic = optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        ("autoencoder.safetensors",),
        autoencoder=autoencoder,
        discriminator=discriminator,
        ema=ema,
        optimizer=optimizer,
        schedule=schedule,
        critic=critic,
        batches=batches,
        generator=generator,
    )
    for step in run.steps():
        x = Tensor(to_float(next(batches)))
        posterior = autoencoder.encode(x)
        y = autoencoder.decode(posterior.sample(generator))
        reconstruction = F.mse_loss(y, x) + 0.2 * F.l1_loss(y, x)
        kl = posterior.kl().mean() / posterior.mean[0].size  # nats in each number
        loss = reconstruction + KL_WEIGHT * kl
        if step >= HEED_FROM * args.steps:
            discriminator.requires_grad_(False)
            deception = hinge_generator(discriminator(y))
            weight = adaptive_weight(reconstruction, deception, autoencoder.decoder.last.weight)
            loss = loss + ADVERSARIAL_WEIGHT * weight * deception
        descend(optimizer, loss)
        schedule.step()
        run.log(reconstruction=reconstruction.item(), kl=kl.item())
        if step >= LEARN_FROM * args.steps:
            discriminator.requires_grad_(True)
            judgement = hinge_discriminator(discriminator(x), discriminator(y.detach()))
            run.log(discriminator=descend(critic, judgement))
    return run, autoencoder, ema, generator


def bicubic(images: np.ndarray, numbers: int) -> np.ndarray:
    """The images made smaller, to as many numbers as a latent has at most, and large again."""
    from PIL import Image

    height, width, channels = images.shape[1:]
    shrink = (numbers / images[0].size) ** 0.5
    small = max(1, int(width * shrink)), max(1, int(height * shrink))

    def down_and_up(plane: np.ndarray) -> np.ndarray:
        return np.asarray(
            Image.fromarray(plane)
            .resize(small, Image.Resampling.BICUBIC)
            .resize((width, height), Image.Resampling.BICUBIC)
        )

    return np.stack([np.stack([down_and_up(i[..., c]) for c in range(channels)], -1) for i in images])


def main() -> None:
    args = arguments("kl_autoencoder", __doc__.split("\n")[0], 8000, 16, samples=100, data="shapes").parse_args()
    training, test = load_split(args, multiple_of=4)
    if min(test.images.shape[1:3]) < 8:
        raise SystemExit(
            f"--data: the discriminator needs images of at least 8 x 8 pixels, got {test.images.shape[1:3]}"
        )
    run, autoencoder, ema, generator = train(args, training.images)

    def latents(images: np.ndarray) -> np.ndarray:
        return in_batches(lambda x: autoencoder.encode(x).sample(generator), to_float(images), args.device)

    with ema.applied():
        autoencoder.standardise(latents(training.images))
        autoencoder.save(run.folder / "autoencoder.safetensors")
        z = latents(test.images)
        means = in_batches(lambda x: autoencoder.encode(x).mean, to_float(test.images), args.device)
        ours = to_uint8(in_batches(autoencoder.decode, means, args.device))
        drawn = to_uint8(in_batches(autoencoder.decode, z, args.device))
    numbers = z[0].size
    theirs = to_uint8(through_pca(to_float(training.images), to_float(test.images), numbers))
    blurred = bicubic(test.images, numbers)
    known = {"labels": test.labels, "captions": test.captions}
    also = {name: values[: args.samples] for name, values in known.items() if values is not None}
    rows = {"original": test.images, "KL autoencoder": ours, f"PCA, {numbers} numbers": theirs, "bicubic": blurred}
    run.write_samples(ours[: args.samples], {name: images[:20] for name, images in rows.items()}, **also)

    figures = {
        "psnr": psnr(ours, test.images),
        "psnr_of_drawn_latents": psnr(drawn, test.images),
        "psnr_pca": psnr(theirs, test.images),
        "psnr_bicubic": psnr(blurred, test.images),
        "latent_std": float(z.std()),
        "latent_std_per_channel": z.std((0, 1, 2)).tolist(),
        "latent_mean_per_channel": z.mean((0, 1, 2)).tolist(),
        "posterior_std": float((z - means).std()),
    }
    run.write_metrics({"latent_shape": z.shape[1:], **figures})
    baseline = f"PCA: {figures['psnr_pca']:.4g}, bicubic: {figures['psnr_bicubic']:.4g}"
    bound = max(28, figures["psnr_pca"] + 1)
    off = abs(figures["latent_std"] - 1)
    report(
        [
            (f"PSNR of held-out images, dB, from {numbers} numbers", figures["psnr"], ">=", bound, baseline),
            ("standard deviation of held-out latents, away from 1 by", off, "<=", 0.02, "before scaling it is any"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
