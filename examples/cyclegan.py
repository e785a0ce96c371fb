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
of held-out pictures, which no network sees. Pictures are made with averages of the generators' weights over the last
steps, since the weights themselves go to and fro. Here backgrounds get checks, and shapes stripes:
`minigen.data.textured`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import arguments, descend, in_batches, load_data, split
from run import Run, report, run_main

import minigen
from minigen import F, Tensor, nn, ops, optim
from minigen.data import DataLoader, Dataset, load, textured, to_float, to_uint8
from minigen.data.shapes import BACKGROUNDS, COLOURS
from minigen.gans import (
    BALANCED,
    ImagePool,
    PatchDiscriminator,
    ResNetGenerator,
    diagnose,
    least_squares_discriminator,
    least_squares_generator,
    standing,
)
from minigen.metrics import Features, exchanged, psnr, shares_kept

CYCLE, IDENTITY = 10.0, 5.0  # the weights
CHANNELS, BLOCKS = 32, 3
HALVINGS = 2  # of the discriminators: each patch is 34 x 34 pixels
LEARNING_RATE, CRITIC_RATE = 2e-3, 4e-4
PLAIN = BACKGROUNDS.index("plain")
CONTENT = ("shape", "colour", "size", "position")


def train(args: argparse.Namespace, a_images: np.ndarray, b_images: np.ndarray) -> tuple[Run, nn.ModuleList, optim.EMA]:
    random = minigen.manual_seed(args.seed)
    channels = a_images.shape[-1]
    to_b, to_a = generators = nn.ModuleList([ResNetGenerator(channels, channels, CHANNELS, BLOCKS) for _ in "ba"])
    judge_b, judge_a = judges = nn.ModuleList(
        [PatchDiscriminator(channels, CHANNELS, HALVINGS, norm=True) for _ in "ba"]
    )
    pool_b, pool_a = ImagePool(50), ImagePool(50)
    generators.to(args.device)
    judges.to(args.device)
    ema = optim.EMA(generators, decay=0.999)
    optimizer = optim.Adam(generators.parameters(), LEARNING_RATE, betas=(0.5, 0.999), ema=ema)
    critic = optim.Adam(judges.parameters(), CRITIC_RATE, betas=(0.5, 0.999))
    schedules = [optim.CosineLR(each, args.steps, final=0.5) for each in (optimizer, critic)]
    a_batches = DataLoader(a_images, batch_size=args.batch, seed=args.seed, device=args.device)
    b_batches = DataLoader(b_images, batch_size=args.batch, seed=args.seed + 1, device=args.device)
    run = Run(
        args,
        generators=generators,
        ema=ema,
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
        real_b, fake_b = halves(judge_b(ops.concatenate([b, pool_b(made_b)])))
        real_a, fake_a = halves(judge_a(ops.concatenate([a, pool_a(made_a)])))
        judgement = least_squares_discriminator(real_b, fake_b) + least_squares_discriminator(real_a, fake_a)
        descend(critic, judgement)
        for schedule in schedules:
            schedule.step()
        real, fake = ops.concatenate([real_b, real_a]), ops.concatenate([fake_b, fake_a])
        run.log(**standing(real, fake, judges, generators, judgement, deception, boundary=0.5))
        run.log(**{"absolute error: cycle": cycle.item() / 2, "absolute error: identity": identity.item() / 2})
    return run, generators, ema


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    n = len(x) // 2
    return x[:n], x[n:]


def two_kinds(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, Dataset, np.ndarray]:
    """Pictures of kind A and of kind B to train on, and test pictures of both.

    Without --target, B is textured pictures: of other pictures in training, and of the same ones in the test.
    """
    data = load_data(args, multiple_of=4)
    if min(data.images.shape[1:3]) < 3 * 2**HALVINGS:
        sys.exit(f"--data: D needs images of at least {3 * 2**HALVINGS} pixels a side, got {data.images.shape[1:3]}")
    training, test = split(args, data)
    if args.target is not None:
        settings = argparse.Namespace(**{**vars(args), "data": args.target})
        other, other_test = split(settings, load_data(settings, multiple_of=4))
        args.digest += settings.digest
        if other.images.shape[1:] != training.images.shape[1:]:
            sys.exit(f"--target: needs images {training.images.shape[1:]}, as --data, got {other.images.shape[1:]}")
        n = min(len(test), len(other_test))
        return training.images, other.images, test.subset(slice(n)), other_test.images[:n]
    if has_content(data):  # of these the ones on a plain background
        training, test = (d.subset(d.attributes["background"] == PLAIN) for d in (training, test))  # type: ignore[index]
    half = len(training) // 2
    if args.batch > half:
        sys.exit(f"--batch {args.batch} is more than the {half} images of each kind to train on")
    return training.images[:half], textured(training.images[half:]), test, textured(test.images)


def has_content(data: Dataset) -> bool:
    return data.name == "shapes" and data.attributes is not None


def content(
    pictures: dict[str, np.ndarray], true: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Of each kind of `pictures`: the shares that keep the `true` attributes, and the colours exchanged for others.

    What reads "made flat" or "textured" pictures are classifiers of flat and of textured shapes that have seen no test
    picture.
    """
    every = load("shapes")
    readers = {
        "flat": Features(every),
        "textured": Features(Dataset(textured(every.images), every.labels, "textured shapes", None, every.attributes)),
    }
    read = {kind: readers[kind.split()[-1]].attributes(images) for kind, images in pictures.items()}
    kept = {kind: shares_kept(found, true, CONTENT) for kind, found in read.items()}
    colours = {kind: exchanged(found["colour"], true["colour"], COLOURS) for kind, found in read.items()}
    return kept, colours


def main() -> None:
    parser = arguments("cyclegan", __doc__.split("\n")[0], steps=3000, batch=8, samples=200, data="shapes")
    parser.add_argument("--target", help="pictures of the other kind, as for --data (none: textured ones are made)")
    args = parser.parse_args()
    a_images, b_images, test, b_test = two_kinds(args)
    run, (to_b, to_a), ema = train(args, a_images, b_images)

    def translate(generator: Any, images: np.ndarray) -> np.ndarray:
        return to_uint8(in_batches(generator, to_float(images), args.device))

    a_test = test.images
    with ema.applied():
        made_b, made_a = translate(to_b, a_test), translate(to_a, b_test)
        back_a, back_b = translate(to_a, made_b), translate(to_b, made_a)
    kinds = ("flat", "textured") if args.target is None else ("A", "B")
    rows = dict(zip([kinds[0], f"made {kinds[1]}", "and back"], [a_test, made_b, back_a], strict=True))
    rows.update(zip([f"{kinds[1]}", f"made {kinds[0]}", " and back"], [b_test, made_a, back_b], strict=True))
    run.write_samples(made_b[: args.samples], {name: images[:10] for name, images in rows.items()})

    said = diagnose(run.curves) or BALANCED
    print("\n".join(said))
    there_and_back = {"A": psnr(back_a, a_test), "B": psnr(back_b, b_test)}
    metrics: dict[str, Any] = {"diagnosis": said, "psnr_there_and_back": there_and_back}
    figures = []
    if args.target is None:
        unchanged = psnr(a_test, b_test)
        metrics.update(psnr_textured=psnr(made_b, b_test), psnr_flat=psnr(made_a, a_test), psnr_unchanged=unchanged)
        for kind in kinds[::-1]:
            figures += [
                (f"PSNR of made {kind} pictures against the true ones, dB", metrics[f"psnr_{kind}"], ">=", bound, why)
                for bound, why in ((20, "asked of any"), (unchanged + 3, f"left as they were: {unchanged:.4g}"))
            ]
        if test.attributes is not None and has_content(test):
            pictures = {"flat": made_a, "textured": made_b, "true flat": a_test, "true textured": b_test}
            metrics["content"], metrics["colours_exchanged"] = content(pictures, test.attributes)
            for kind in kinds:
                for name, share in metrics["content"][kind].items():
                    beside = f"true pictures: {metrics['content'][f'true {kind}'][name]:.4g}"
                    figures.append((f"content kept in made {kind} pictures, {name}", share, ">=", 0.9, beside))
                which = metrics["colours_exchanged"][kind]
                beside = ", ".join(which) or f"of {len(COLOURS)}"
                figures.append((f"colours exchanged for others in made {kind} pictures", len(which), "<=", 0, beside))
    run.write_metrics(metrics)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
