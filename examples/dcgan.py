"""A deep convolutional GAN (DCGAN, Radford et al. 2016) of handwritten digits, from data to samples.

    python examples/dcgan.py                    # trains, then writes new digits to runs/dcgan/samples.png
    python examples/dcgan.py --spectral-norm    # D with spectral norm (Miyato et al. 2018) instead of batch norm
    python examples/dcgan.py --device cuda      # on a GPU

The whole algorithm: a generator G makes images of noise z, a discriminator D gives the logit of "this one is real", and
in each step both learn once:

    D descends on  -log D(x) - log(1 - D(G(z))),    G on  -log D(G(z)),    D(.) being the sigmoid of the logit

The samples come from the moving average of G's weights. D would soon know 4,000 digits by heart: both networks learn
from slightly warped ones. So does, on the same batches, a small VAE that the GAN is compared with: it covers all of the
data, but its samples are blurred where it is unsure, since it answers for every pixel.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, in_batches, load_data, split_for_distances
from run import Run, report, run_main

import minigen
from minigen import F, Tensor, nn, optim
from minigen.autoencoders import CodeDecoder, CodeEncoder, DiagonalGaussian, bernoulli_nll
from minigen.data import DataLoader, to_uint8, warp
from minigen.gans import (
    BALANCED,
    DCGANDiscriminator,
    DCGANGenerator,
    diagnose,
    diversity,
    minimax_discriminator,
    non_saturating_generator,
    small_weights_,
    standing,
)
from minigen.metrics import Features, class_histogram_kl, compare, comparison_table, share_read
from minigen.random import Generator, randn

LATENT, CHANNELS = 16, 32
LEARNING_RATE = 4e-3  # twenty times the paper's, for the few steps that there are to learn in
VAE_CODE = 24
VAE_NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1,), blocks=2, patch=4)


class VAE(nn.Module):
    """What the GAN is compared with: see examples/vae.py. Images in [0, 1]."""

    def __init__(self, image_shape: tuple[int, int, int]):
        super().__init__()
        self.encoder = CodeEncoder(image_shape, 2 * VAE_CODE, **VAE_NETWORK)
        self.decoder = CodeDecoder(image_shape, VAE_CODE, **VAE_NETWORK)

    def loss(self, x: Tensor) -> Tensor:
        """-ELBO, in nats."""
        q = DiagonalGaussian.from_parameters(self.encoder(x))
        return (bernoulli_nll(self.decoder(q.sample()), x) + q.kl()).mean()


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, DCGANGenerator, optim.EMA, VAE, optim.EMA]:
    stream = minigen.manual_seed(args.seed)
    generator = DCGANGenerator(images.shape[1:], LATENT, CHANNELS)
    norm = None if args.spectral_norm else "batch"
    discriminator = DCGANDiscriminator(images.shape[1:], CHANNELS, norm=norm, spectral_norm=args.spectral_norm)
    small_weights_(generator)
    small_weights_(discriminator)
    vae = VAE(images.shape[1:])
    for network in (generator, discriminator, vae):
        network.to(args.device)
    ema, vae_ema = optim.EMA(generator, decay=0.998), optim.EMA(vae, decay=0.998)
    optimizers = {
        "generator": optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.99), ema=ema),
        "discriminator": optim.Adam(discriminator.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.99)),
        "vae": optim.Adam(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=10.0, ema=vae_ema),
    }
    schedules = {name: optim.CosineLR(optimizer, args.steps, final=0.2) for name, optimizer in optimizers.items()}
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: dict[str, Any] = {f"{name}_optimizer": optimizer for name, optimizer in optimizers.items()}
    parts |= {f"{name}_schedule": schedule for name, schedule in schedules.items()}
    parts |= {"generator": generator, "discriminator": discriminator, "ema": ema, "vae": vae, "vae_ema": vae_ema}
    run = Run(args, batches=batches, stream=stream, **parts)

    def descend(name: str, loss: Tensor) -> None:
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
        schedules[name].step()

    for _ in run.steps():
        warped = warp(next(batches), stream, rotation=5, scale=0.05, shear=0.05, shift=0.3, elastic=0.4) / 127.5 - 1
        x = Tensor(np.clip(1.4 * warped, -1, 1))  # a warp blurs: that is undone
        y = generator(generator.noise(len(x)))

        discriminator.requires_grad_(True)
        real, fake = discriminator(x), discriminator(y.detach())
        d_loss = minimax_discriminator(real, fake)
        descend("discriminator", d_loss)

        discriminator.requires_grad_(False)
        g_loss = non_saturating_generator(discriminator(y))
        descend("generator", g_loss)

        vae_loss = vae.loss((x + 1) / 2)
        descend("vae", vae_loss)
        run.log(**standing(real, fake, discriminator, generator, d_loss, g_loss), **{"-ELBO: VAE": vae_loss.item()})
    return run, generator, ema, vae, vae_ema


def main() -> None:
    parser = arguments("dcgan", __doc__.split("\n")[0], steps=2400, batch=64, samples=100)
    parser.add_argument("--spectral-norm", action="store_true", help="in the discriminator, instead of batch norm")
    args = parser.parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    run, generator, ema, vae, vae_ema = train(args, training.images)

    measured = len(test)  # images of each kind
    noise = Generator(args.seed + FOR_FIGURES)
    z, code = (randn(max(args.samples, measured), size, generator=noise).numpy() for size in (LATENT, VAE_CODE))
    generator.eval()
    with ema.applied(), vae_ema.applied():
        samples = to_uint8(in_batches(generator, z, args.device))
        vae_samples = to_uint8(in_batches(lambda z: F.sigmoid(vae.decoder(z)), code, args.device), 0, 1)
    rows = {"DCGAN": samples, "VAE": vae_samples, "held out": test.images}
    run.write_samples(samples[: args.samples], {name: images[:40] for name, images in rows.items()})
    evaluate(args, run, Features(data), training.images, {name: images[:measured] for name, images in rows.items()})


def evaluate(args: argparse.Namespace, run: Run, features: Features, real: np.ndarray, sets: dict) -> None:
    """Prints and writes every figure of the sets of images, name -> uint8 (N, H, W, C), beside real ones."""
    seen, floor = features(real), features(sets["held out"])
    metrics: dict[str, Any] = {"measured": len(floor)}
    for name in ("DCGAN", "VAE"):
        metrics[name] = compare(seen, features(sets[name]), floor)
        print(f"{name}\n{comparison_table(metrics[name])}")
    own, other = metrics["DCGAN"], metrics["VAE"]
    figures = []
    modes = None
    if "label" in features.accuracy:
        reference = features.read(real)
        read = {name: features.read(images) for name, images in sets.items()}
        classes = features.classifier.values["label"]
        kl = {name: class_histogram_kl(labels, reference, classes) for name, labels in read.items()}
        sure = {name: share_read(features.probabilities(images)) for name, images in sets.items()}
        metrics.update(class_histogram_kl=kl, confidently_read=sure)
        modes = len(np.unique(read["DCGAN"])), len(np.unique(reference))
        beside = "VAE: {VAE:.3g}, real images: {held out:.3g}"
        figures += [
            ("KL of the histogram of classes, nats", kl["DCGAN"], "<=", 0.1, beside.format(**kl)),
            ("share read as a class with over 80% confidence", sure["DCGAN"], ">=", 0.7, beside.format(**sure)),
        ]
    figures.append(("KID", own["kid"], "<=", other["kid"], f"VAE: {other['kid']:.3g}, real: {own['floor_kid']:.3g}"))
    metrics["diversity"] = diversity(floor, features(sets["DCGAN"]))
    sentences = diagnose(run.curves, modes, metrics["diversity"])
    metrics["diagnosis"] = sentences or BALANCED
    print("\n".join(metrics["diagnosis"]))
    run.write_metrics(metrics)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
