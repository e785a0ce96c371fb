"""A deep autoencoder (Hinton & Salakhutdinov 2006) that squeezes a digit into 30 numbers, and PCA beside it.

    python examples/autoencoder.py                  # trains, then writes runs/autoencoder/samples.png
    python examples/autoencoder.py --code-size 10   # a narrower bottleneck
    python examples/autoencoder.py --data my_images # a folder of images whose sides are multiples of 4

The whole algorithm: an encoder turns an image x of 784 pixels into a code z of 30 numbers, a decoder turns z into an
image again, and both descend on |decode(encode(x)) - x|^2. Principal component analysis is the same with two linear
maps, and the best of those; here the maps are deep convolutional networks. Half of the images are warped at random, so
that the networks learn digits and not these 4,000 images; only half, because warping blurs strokes a little.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import arguments, at_least, in_batches, load_split, through_pca
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import Autoencoder, squared_error
from minigen.data import DataLoader, to_float, to_uint8, warp


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, Autoencoder, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    network = Autoencoder(images.shape[1:], args.code_size, channels=32, multipliers=(1, 2), patch=2)
    network.to(args.device)
    ema = optim.EMA(network, decay=0.998)
    optimizer = optim.Adam(network.parameters(), lr=2e-3, betas=(0.9, 0.99), max_norm=1.0, ema=ema)
    schedule = optim.CosineLR(optimizer, args.steps, warmup_steps=min(50, args.steps // 10))
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args, network=network, ema=ema, optimizer=optimizer, schedule=schedule, batches=batches, generator=generator
    )
    for _ in run.steps():
        images = next(batches)
        warped, sharp = Tensor(warp(images[::2], generator) / 255), Tensor(to_float(images[1::2], 0, 1))
        x = minigen.concatenate([warped, sharp])
        loss = squared_error(network(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.log(squared_error=loss.item())
    return run, network, ema


def error_per_image(reconstructions: np.ndarray, x: np.ndarray) -> float:
    """The squared error, summed over the pixels of an image, in the mean over images."""
    return float(squared_error(Tensor(reconstructions), Tensor(x)).numpy().mean())


def main() -> None:
    parser = arguments("autoencoder", __doc__.split("\n")[0], steps=1800, batch=64, samples=20)
    parser.add_argument("--code-size", type=at_least(1), default=30, help="numbers that an image is squeezed into")
    args = parser.parse_args()
    training, test = load_split(args, multiple_of=4)
    run, network, ema = train(args, training.images)

    x = to_float(test.images, 0, 1)
    with ema.applied():
        ours = in_batches(network, x, args.device)
    pca = through_pca(to_float(training.images, 0, 1), x, args.code_size)
    error, pca_error = error_per_image(ours, x), error_per_image(pca, x)
    rows = {"original": x, f"autoencoder, {args.code_size} numbers": ours, f"PCA, {args.code_size} numbers": pca}
    shown = {name: to_uint8(images[: args.samples], 0, 1) for name, images in rows.items()}
    also = {} if test.labels is None else {"labels": test.labels[: args.samples]}
    run.write_samples(shown[f"autoencoder, {args.code_size} numbers"], shown, **also)
    run.write_metrics({"held_out_images": len(x), "error": error, "error_pca": pca_error})
    baseline = f"PCA with {args.code_size} numbers: {pca_error:.3g}, {pca_error / error:.3g} times as much"
    report([("squared error per held-out image", error, "<=", pca_error / 1.3, baseline)], args.check)


if __name__ == "__main__":
    run_main(main)
