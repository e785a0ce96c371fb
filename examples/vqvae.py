"""A VQ-VAE (van den Oord et al. 2017) of handwritten digits: images as 7 x 7 whole numbers, and a model that writes them.

    python examples/vqvae.py                    # trains, then draws digits of each class to runs/vqvae/samples.png
    python examples/vqvae.py --steps 6000       # better ones
    python examples/vqvae.py --data my_images   # any images whose sides are multiples of 4, with classes or without

The whole algorithm, in two phases. An encoder gives a vector for each 4 x 4 pixels; the nearest code of a codebook takes
its place; a decoder makes the image of the codes. Then a transformer learns which codes follow which: it is shown the
class and the codes so far, and says how probable each next one is. New images: draw codes from it, and decode them.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import Run, arguments, held_out, in_batches, load_data, run_main

import minigen
from minigen import F, Tensor, optim
from minigen.autoencoders import (
    CodePrior,
    Decoder,
    Encoder,
    VectorQuantizer,
    code_counts,
    dead_codes_notice,
    perplexity,
)
from minigen.data import DataLoader, Dataset, to_float, warp
from minigen.metrics import psnr
from minigen.nn import Module

CODES, CODE_SIZE = 128, 16
PATCH = 4  # one code for so many pixels, squared
COMMITMENT = 0.25  # beta
AUTOENCODER_SHARE = 0.6  # of all steps; the rest trains the prior
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, patch=2)
PRIOR: dict[str, Any] = dict(channels=128, heads=4, blocks=3)


class VQVAE(Module):
    def __init__(self, channels: int):
        super().__init__()
        self.encoder = Encoder(channels, CODE_SIZE, **NETWORK)
        self.quantizer = VectorQuantizer(CODES, CODE_SIZE)
        self.decoder = Decoder(CODE_SIZE, channels, **NETWORK)

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z_q) as a squared error, and |z - sg(z_q)|^2 (eq. 3 without its second term: the codebook's)."""
        z = self.encoder(x)
        quantized, _ = self.quantizer(z)
        return F.mse_loss(self.decoder(quantized), x), F.mse_loss(z, quantized.detach())

    def encode(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, L)."""
        return self.quantizer.nearest(self.encoder(x)).reshape(len(x), -1)

    def decode(self, codes: Tensor, height: int, width: int) -> Tensor:
        return self.decoder(self.quantizer.embed(codes.reshape(-1, height // PATCH, width // PATCH)))


def train(args: argparse.Namespace, training: Dataset, classes: int) -> tuple[Run, VQVAE, CodePrior, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    height, width, channels = training.images.shape[1:]
    network = VQVAE(channels).to(args.device)
    prior = CodePrior(CODES, height // PATCH * (width // PATCH), classes, **PRIOR).to(args.device)
    first = -int(-AUTOENCODER_SHARE * args.steps // 1)  # step of the prior
    ema = optim.EMA(prior, decay=0.99)
    optimizers = [
        optim.Adam(network.parameters(), lr=2e-3),
        optim.AdamW(prior.parameters(), lr=1e-3, max_norm=1.0, ema=ema),
    ]
    phases = [first, max(1, args.steps - first)]
    schedules = [optim.CosineLR(o, n, min(100, n // 10)) for o, n in zip(optimizers, phases, strict=True)]
    batches = DataLoader(training.images, training.labels, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        pictures=("reconstructions.png", "codebook.png"),
        network=network,
        prior=prior,
        ema=ema,
        optimizer=optimizers[0],
        prior_optimizer=optimizers[1],
        schedule=schedules[0],
        prior_schedule=schedules[1],
        batches=batches,
        generator=generator,
    )
    for step in run.steps():
        phase = int(step >= first)
        images, labels = next(batches)
        x = Tensor(warp(to_float(images, 0, 1), generator))
        if phase == 0:
            reconstruction, commitment = network.loss(x)
            run.log(reconstruction=reconstruction.item(), commitment=commitment.item())
            loss = reconstruction + COMMITMENT * commitment
        else:
            network.eval()  # the codebook stays as it is
            with minigen.no_grad():
                codes = network.encode(x)
            loss = prior.loss(codes, labels)
            run.log(prior=loss.item())
        optimizers[phase].zero_grad()
        loss.backward()
        optimizers[phase].step()
        schedules[phase].step()
    network.eval()
    return run, network, prior, ema


def main() -> None:
    args = arguments("vqvae", __doc__.split("\n")[0], steps=2000, batch=64, samples=300).parse_args()
    data = load_data(args)
    run, network, prior, ema = train(args, *held_out(data)[:1], 10)
    _, test = held_out(data)
    x = to_float(test.images, 0, 1)
    codes = in_batches(network.encode, x)
    images = in_batches(lambda c: network.decode(c, 28, 28), codes)
    print(
        "psnr",
        psnr(images, x, 1),
        "ppl",
        perplexity(code_counts(codes, CODES)),
        dead_codes_notice(code_counts(codes, CODES)),
    )
    import time

    from sklearn.cluster import MiniBatchKMeans

    t = time.time()

    def patches(im):
        n, h, w, c = im.shape
        return im.reshape(n, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16 * c)

    km = MiniBatchKMeans(CODES, random_state=0, n_init=1).fit(patches(to_float(held_out(data)[0].images, 0, 1)))
    p = patches(x)
    k = km.predict(p)
    print(
        "kmeans",
        10 * np.log10(1 / np.mean((km.cluster_centers_[k] - p) ** 2)),
        perplexity(code_counts(k, CODES)),
        time.time() - t,
    )
    with ema.applied():
        nats = np.concatenate(
            [in_batches(lambda i: prior.loss(Tensor(codes)[i], test.labels[i.numpy()], "none"), np.arange(len(codes)))]
        )
    print("prior", nats.mean(), "unigram", np.log(perplexity(code_counts(codes, CODES))))


if __name__ == "__main__":
    run_main(main)
