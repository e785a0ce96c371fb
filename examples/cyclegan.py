"""CycleGAN (Zhu et al. 2017): flat pictures turned into textured ones and back, learned without a single pair.

    python examples/cyclegan.py                                 # trains, then writes runs/cyclegan/samples.png
    python examples/cyclegan.py --data FOLDER --target OTHER    # between two kinds of pictures of your own

The whole algorithm: one generator F makes pictures of kind B of those of kind A, another, G, makes A of B. A
discriminator for each kind learns to tell its pictures from made ones, also from some that were made earlier; and both
generators descend on

    (D_B(F(a)) - 1)^2 / 2 + (D_A(G(b)) - 1)^2 / 2       made pictures pass for real (least squares)
    + 10 |G(F(a)) - a| + 10 |F(G(b)) - b|               there and back again is where one was
    +  5 |F(b) - b|    +  5 |G(a) - a|                  what is of the kind already stays as it is

Nothing in it says *which* picture of the other kind is asked for: a generator that exchanges red and blue, with
another that exchanges them back, would do as well but for the last line. So it is measured with the true counterparts
of held-out pictures, which no network sees. Here a background gets checks, and a shape stripes: `minigen.data.textured`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import Run, arguments, descend, in_batches, load_data, run_main, split

import minigen
from minigen import F, Tensor, nn, ops, optim
from minigen.data import DataLoader, Dataset, textured, to_float, to_uint8
from minigen.gans import (
    ImagePool,
    PatchDiscriminator,
    ResNetGenerator,
    diagnose,
    least_squares_discriminator,
    least_squares_generator,
    standing,
)
from minigen.metrics import psnr

CYCLE, IDENTITY = 10.0, 5.0  # the weights
CHANNELS, BLOCKS = 32, 3
HALVINGS = 2  # of the discriminators: each patch is 34 x 34 pixels
LEARNING_RATE, CRITIC_RATE = 1e-3, 4e-4
CONTENT = ("shape", "colour", "size", "position")
ENOUGH = 0.9


def train(args: argparse.Namespace, a_images: np.ndarray, b_images: np.ndarray) -> tuple[Run, nn.ModuleList]:
    random = minigen.manual_seed(args.seed)
    channels = a_images.shape[-1]
    to_b, to_a = generators = nn.ModuleList([ResNetGenerator(channels, channels, CHANNELS, BLOCKS) for _ in "ba"])
    judge_b, judge_a = judges = nn.ModuleList([PatchDiscriminator(channels, CHANNELS, HALVINGS) for _ in "ba"])
    pool_b, pool_a = ImagePool(50), ImagePool(50)
    generators.to(args.device)
    judges.to(args.device)
    optimizer = optim.Adam(generators.parameters(), LEARNING_RATE, betas=(0.5, 0.999))
    critic = optim.Adam(judges.parameters(), CRITIC_RATE, betas=(0.5, 0.999))
    schedules = [optim.CosineLR(each, args.steps) for each in (optimizer, critic)]
    a_batches = DataLoader(a_images, batch_size=args.batch, seed=args.seed, device=args.device)
    b_batches = DataLoader(b_images, batch_size=args.batch, seed=args.seed + 1, device=args.device)
    run = Run(
        args,
        generators=generators,
        judges=judges,
        pool_b=pool_b,
        pool_a=pool_a,
        optimizer=optimizer,
        critic=critic,
        optimizer_schedule=schedules[0],
        critic_schedule=schedules[1],
        a_batches=a_batches,
        b_batches=b_batches,
        random=random,
    )
    for _ in run.steps():
        a, b = Tensor(to_float(next(a_batches))), Tensor(to_float(next(b_batches)))
        made_b, same_b = halves(to_b(ops.concatenate([a, b])))
        made_a, same_a = halves(to_a(ops.concatenate([b, a])))
        cycle = F.l1_loss(to_a(made_b), a) + F.l1_loss(to_b(made_a), b)
        identity = F.l1_loss(same_a, a) + F.l1_loss(same_b, b)

        judges.requires_grad_(False)
        deception = least_squares_generator(judge_b(made_b)) + least_squares_generator(judge_a(made_a))
        descend(optimizer, deception + CYCLE * cycle + IDENTITY * identity)

        judges.requires_grad_(True)
        real = judge_b(b), judge_a(a)
        fake = judge_b(pool_b(made_b)), judge_a(pool_a(made_a))
        judgement_b, judgement_a = map(least_squares_discriminator, real, fake)
        judgement = judgement_b + judgement_a
        descend(critic, judgement)
        for schedule in schedules:
            schedule.step()
        logits = (ops.concatenate(both) for both in (real, fake))
        run.log(**standing(*logits, judges, generators, judgement, deception, boundary=0.5))
        run.log(**{"absolute error: cycle": cycle.item() / 2, "absolute error: identity": identity.item() / 2})
    return run, generators


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    n = len(x) // 2
    return x[:n], x[n:]


def two_kinds(args: argparse.Namespace) -> tuple[Dataset, np.ndarray, Dataset, np.ndarray | None]:
    """Pictures of kind A and of kind B to train on, test pictures of kind A, and their true counterparts, if known."""
    data = load_data(args, multiple_of=4)
    if min(data.images.shape[1:3]) < 3 * 2**HALVINGS:
        sys.exit(f"--data: D needs images of at least {3 * 2**HALVINGS} pixels a side, got {data.images.shape[1:3]}")
    training, test = split(args, data)
    if args.target is not None:
        raise NotImplementedError
    if data.name == "shapes" and data.attributes is not None:
        training, test = (d.subset(d.attributes["background"] == 0) for d in (training, test))  # plain ones
    half = len(training) // 2
    return training.subset(slice(half)), textured(training.images[half:]), test, textured(test.images)


def main() -> None:
    parser = arguments("cyclegan", __doc__.split("\n")[0], steps=2000, batch=8, samples=200, data="shapes")
    parser.add_argument("--target", help="pictures of the other kind, as for --data (none: textured ones are made)")
    args = parser.parse_args()
    training, b_images, test, counterparts = two_kinds(args)
    run, (to_b, to_a) = train(args, training.images, b_images)

    def translate(generator: Any, images: np.ndarray) -> np.ndarray:
        return to_uint8(in_batches(generator, to_float(images), args.device))

    flat = test.images
    made_b, made_a = translate(to_b, flat), translate(to_a, counterparts)
    rows = {
        "flat": flat,
        "flat, textured": made_b,
        "and back": translate(to_a, made_b),
        "textured": counterparts,
        "textured, flattened": made_a,
        "and back ": translate(to_b, made_a),
    }
    run.write_samples(made_b[: args.samples], {name: images[:20] for name, images in rows.items()})
    print("identity", psnr(flat, counterparts), "A to B", psnr(made_b, counterparts), "B to A", psnr(made_a, flat))
    print(diagnose(run.curves))


if __name__ == "__main__":
    run_main(main)
