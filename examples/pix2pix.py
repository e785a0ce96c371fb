"""Pix2Pix (Isola et al. 2017): line drawings turned into pictures of coloured shapes.

    python examples/pix2pix.py                    # trains, then writes runs/pix2pix/samples.png
    python examples/pix2pix.py --data FOLDER      # learns to paint pictures like yours; their outlines are drawn for it

The whole algorithm: the generator paints a drawing x; the discriminator sees a drawing and a picture, the true one or
the painted one, and says of each patch whether the two belong together:

    D:  minimise  -log D(x, y) - log(1 - D(x, G(x)))
    G:  minimise  -log D(x, G(x)) + 100 |y - G(x)|

The lines have the colours of the picture: they show the shape, its colour, size and place, and the background's colour,
but not whether a background without lines is plain, shaded or mottled. Many pictures have the same drawing, and the
absolute error alone asks for what lies in the middle of them all, which is flat; D knows that there are others. So a
second generator learns beside the first, from the same drawings, with the absolute error alone.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import arguments, descend, in_batches, load_data, split
from run import Run, report, run_main

import minigen
from minigen import Tensor, ops, optim
from minigen.data import DataLoader, outlines, to_float, to_uint8
from minigen.gans import (
    BALANCED,
    PatchDiscriminator,
    UNetGenerator,
    diagnose,
    diversity,
    minimax_discriminator,
    non_saturating_generator,
    standing,
)
from minigen.metrics import Features, compare, comparison_table, shares_kept
from minigen.nn import functional as F

L1_WEIGHT = 100.0
INK = 4.0
CHANNELS = 32
HALVINGS = 2  # of the discriminator: each patch is 34 x 34 pixels
LEARNING_RATE, CRITIC_RATE = 6e-3, 1e-3
DRAWN = ("shape", "colour", "size", "position")  # the attributes of `shapes` that a drawing shows


def halvings(images: np.ndarray) -> int:
    """How often the generator halves images: three times, or twice if their sides are no larger multiples of 8."""
    return 3 if all(side % 8 == 0 and side > 8 for side in images.shape[1:3]) else 2


def ink(drawings: Any) -> Any:
    """uint8 drawings as floats from 0, white paper, to INK: so the zeros around an image are paper, too."""
    return to_float(255 - drawings, 0, INK)


def together(x: Tensor, y: Tensor) -> Tensor:
    """What D sees: a drawing and a picture, one's channels beside the other's."""
    return ops.concatenate([x / INK, y], -1)


def make_generator(args: argparse.Namespace, images: np.ndarray) -> tuple[UNetGenerator, optim.Adam, optim.CosineLR]:
    generator = UNetGenerator(images.shape[-1], images.shape[-1], CHANNELS, halvings(images))
    generator.to(args.device)
    optimizer = optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999))
    return generator, optimizer, optim.CosineLR(optimizer, args.steps)


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, UNetGenerator, UNetGenerator]:
    random = minigen.manual_seed(args.seed)
    G, optimizer, schedule = make_generator(args, images)
    plain, plain_optimizer, plain_schedule = make_generator(args, images)  # learns from the absolute error alone
    D = PatchDiscriminator(2 * images.shape[-1], CHANNELS, HALVINGS, norm=True)
    D.to(args.device)
    critic = optim.Adam(D.parameters(), lr=CRITIC_RATE, betas=(0.5, 0.999))
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
        drawings, pictures = next(batches)
        x, y = Tensor(ink(drawings)), Tensor(to_float(pictures))
        painted = G(x)

        D.requires_grad_(True)
        real, fake = D(together(x, y)), D(together(x, painted.detach()))
        d_loss = minimax_discriminator(real, fake)
        descend(critic, d_loss)

        D.requires_grad_(False)
        error = F.l1_loss(painted, y)
        g_loss = non_saturating_generator(D(together(x, painted)))
        descend(optimizer, g_loss + L1_WEIGHT * error)

        plain_error = F.l1_loss(plain(x), y)
        descend(plain_optimizer, L1_WEIGHT * plain_error)
        schedule.step()
        plain_schedule.step()
        run.log(**standing(real, fake, D, G, d_loss, g_loss))
        run.log(**{"absolute error: Pix2Pix": error.item(), "absolute error: L1 alone": plain_error.item()})
    return run, G, plain


def main() -> None:
    args = arguments("pix2pix", __doc__.split("\n")[0], steps=4000, batch=16, samples=200, data="shapes").parse_args()
    data = load_data(args, multiple_of=4)
    if min(data.images.shape[1:3]) < 3 * 2**HALVINGS:
        sys.exit(f"--data: D needs images of at least {3 * 2**HALVINGS} pixels a side, got {data.images.shape[1:3]}")
    training, test = split(args, data)
    run, G, plain = train(args, training.images)

    drawings = outlines(test.images)
    painted, flat = (to_uint8(in_batches(g, ink(drawings), args.device)) for g in (G, plain))
    rows = {"drawing": drawings, "L1 alone": flat, "Pix2Pix": painted, "true picture": test.images}
    also = {} if test.labels is None else {"labels": test.labels[: args.samples]}
    run.write_samples(painted[: args.samples], {name: images[:20] for name, images in rows.items()}, **also)

    features = Features(data)
    real, floor = features(training.images), features(test.images)
    quality = {name: compare(real, features(x), floor) for name, x in (("Pix2Pix", painted), ("L1 alone", flat))}
    for name, figures in quality.items():
        print(f"{name}\n{comparison_table(figures)}")
    varied = diversity(test.images.reshape(len(test), -1), painted.reshape(len(test), -1)) if len(test) > 1 else None
    said = diagnose(run.curves, diversity=varied) or BALANCED
    print("\n".join(said))
    metrics: dict[str, Any] = {"quality": quality, "diversity": varied, "diagnosis": said}

    ours, theirs = quality["Pix2Pix"]["kid"], quality["L1 alone"]["kid"]
    shown = [
        ("KID of Pix2Pix", ours, "<=", theirs, f"L1 alone: {theirs:.3g}, real: {quality['Pix2Pix']['floor_kid']:.2g}")
    ]
    if data.name == "shapes" and test.attributes is not None:
        sets = {"Pix2Pix": painted, "L1 alone": flat, "true picture": test.images}
        read = {name: features.attributes(x) for name, x in sets.items()}
        metrics["kept"] = found = {name: shares_kept(x, test.attributes, DRAWN) for name, x in read.items()}
        for name, share in found["Pix2Pix"].items():
            beside = ", ".join(f"{which}: {found[which][name]:.4g}" for which in ("L1 alone", "true picture"))
            shown.append((f"kept of what was drawn, {name}", share, ">=", 0.95, beside))
    run.write_metrics(metrics)
    report(shown, args.check)


if __name__ == "__main__":
    run_main(main)
