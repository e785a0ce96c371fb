"""Pix2Pix (Isola et al. 2017): line drawings turned into pictures of coloured shapes.

    python examples/pix2pix.py                    # trains, then writes runs/pix2pix/samples.png
    python examples/pix2pix.py --data FOLDER      # learns to paint pictures like yours; their outlines are drawn for it

The whole algorithm: the generator paints a drawing x; the discriminator sees a drawing and a picture, the true one or
the painted one, and says of each patch whether the two belong together:

    D:  minimise  -log D(x, y) - log(1 - D(x, G(x)))
    G:  minimise  -log D(x, G(x)) + 100 |y - G(x)|

Many pictures have the same drawing. Left alone with the absolute error, G paints what lies in the middle of all of
them, muddy shapes on grey; D knows that there are no such pictures, and G has to choose. So a second generator is
trained beside it, on the same drawings, with the absolute error alone.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import Run, arguments, descend, in_batches, load_split, run_main

import minigen
from minigen import Tensor, ops, optim
from minigen.data import DataLoader, outlines, to_float, to_uint8
from minigen.gans import (
    PatchDiscriminator,
    UNetGenerator,
    minimax_discriminator,
    non_saturating_generator,
    standing,
)

# METRICS
from minigen.nn import functional as F

L1_WEIGHT = 100.0
CHANNELS = 32
DRAWN = ("shape", "size", "position")  # the attributes of `shapes` that a drawing shows
BALANCED = "the game is in balance: no sign of collapse or divergence"


def halvings(images: np.ndarray) -> int:
    """How often the generator halves images: as often as their sides can be, but at most four times."""
    return next(n for n in (4, 3, 2) if not any(side % 2**n for side in images.shape[1:3]))


def make_generator(args: argparse.Namespace, images: np.ndarray) -> tuple[UNetGenerator, optim.Adam, optim.CosineLR]:
    generator = UNetGenerator(images.shape[-1], images.shape[-1], CHANNELS, halvings(images)).to(args.device)
    optimizer = optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    return generator, optimizer, optim.CosineLR(optimizer, args.steps)


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, UNetGenerator, UNetGenerator]:
    random = minigen.manual_seed(args.seed)
    G, optimizer, schedule = make_generator(args, images)
    plain, plain_optimizer, plain_schedule = make_generator(args, images)  # learns from the absolute error alone
    D = PatchDiscriminator(2 * images.shape[-1], CHANNELS, halvings=1).to(args.device)
    critic = optim.Adam(D.parameters(), lr=4e-4, betas=(0.5, 0.999))
    batches = DataLoader(outlines(images), images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        G=G,
        optimizer=optimizer,
        schedule=schedule,
        D=D,
        critic=critic,
        plain=plain,
        plain_optimizer=plain_optimizer,
        plain_schedule=plain_schedule,
        batches=batches,
        random=random,
    )
    for _ in run.steps():
        x, y = (Tensor(to_float(batch)) for batch in next(batches))
        painted = G(x)

        D.requires_grad_(True)
        real, fake = D(ops.concatenate([x, y], -1)), D(ops.concatenate([x, painted.detach()], -1))
        d_loss = minimax_discriminator(real, fake)
        descend(critic, d_loss)

        D.requires_grad_(False)
        error = F.l1_loss(painted, y)
        g_loss = non_saturating_generator(D(ops.concatenate([x, painted], -1)))
        descend(optimizer, g_loss + L1_WEIGHT * error)

        plain_error = F.l1_loss(plain(x), y)
        descend(plain_optimizer, L1_WEIGHT * plain_error)
        schedule.step()
        plain_schedule.step()
        run.log(**standing(real, fake, D, G, d_loss, g_loss))
        run.log(**{"absolute error: Pix2Pix": error.item(), "absolute error: L1 alone": plain_error.item()})
    return run, G, plain


def main() -> None:
    args = arguments("pix2pix", __doc__.split("\n")[0], steps=3000, batch=16, samples=200, data="shapes").parse_args()
    training, test = load_split(args, multiple_of=4)
    if min(test.images.shape[1:3]) < 8:
        raise SystemExit(f"--data: D needs images of at least 8 x 8 pixels, got {test.images.shape[1:3]}")
    run, G, plain = train(args, training.images)
    drawings = outlines(test.images)
    painted, muddy = (to_uint8(in_batches(g, to_float(drawings), args.device)) for g in (G, plain))
    rows = {"drawing": drawings, "L1 alone": muddy, "Pix2Pix": painted}
    rows["true picture"] = test.images
    also = {} if test.labels is None else {"labels": test.labels[: args.samples]}
    run.write_samples(painted[: args.samples], {name: images[:20] for name, images in rows.items()}, **also)


if __name__ == "__main__":
    run_main(main)
