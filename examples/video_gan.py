"""Videos from a generative adversarial network of 3-D convolutions (VGAN, Vondrick et al. 2016): shapes that move.

    python examples/video_gan.py                            # trains, then writes runs/video_gan/samples.gif
    python examples/video_gan.py --resume --samples 1000    # more of them
    python examples/video_gan.py --device cuda              # on a GPU

The whole algorithm: a video is a volume, of time, height and width. G makes one of noise, D says of one whether it is
real, both by convolutions over all three axes, so that nothing but D's judgement tells G what motion is. They play the
game of `gan.py`, with the same cures: the non-saturating loss, no momentum, R1 (at every fourth step, four times as
heavy), and an average of G.

The real videos are drawn by the computer: a white shape crosses the picture at constant velocity. So there is a test of
motion: the centroid of the light must move along a line, at constant speed. The same frames in random order fail it.
What G does not learn is rings, a quarter of the real shapes: perhaps since nothing real lies between a disc and a ring.
The run counts them, and says that modes are missing.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, descend, in_batches, use_device
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, moving_shapes, to_float, to_uint8
from minigen.gans import (
    BALANCED,
    VGANDiscriminator,
    VGANGenerator,
    diagnose,
    diversity,
    minimax_discriminator,
    non_saturating_generator,
    r1_penalty,
    standing,
)
from minigen.metrics import SECTORS, frames_shuffled, hollow, linear_motion, motion_modes
from minigen.random import Generator
from minigen.viz import image_grid, save_gif, save_rows

VIDEOS, HELD_OUT = 3000, 500
FRAMES, SIDE = 16, 16
LATENT, CHANNELS = 32, 16
LEARNING_RATE = 2e-3
R1, R1_EVERY = 1.0, 4  # the penalty's weight, and at which steps it is taken
LINEAR = 0.9  # R^2 of a motion that counts as linear


def train(args: argparse.Namespace, videos: np.ndarray) -> tuple[Run, VGANGenerator, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    G = VGANGenerator(videos.shape[1:], LATENT, CHANNELS).to(args.device)
    D = VGANDiscriminator(videos.shape[1:], CHANNELS).to(args.device)
    ema = optim.EMA(G, decay=0.99)
    g_optimizer = optim.Adam(G.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.99), ema=ema)
    d_optimizer = optim.Adam(D.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.99))
    batches = DataLoader(videos, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: dict[str, Any] = {"G": G, "D": D, "ema": ema, "g_optimizer": g_optimizer, "d_optimizer": d_optimizer}
    run = Run(args, pictures=("samples.gif",), generator=generator, batches=batches, **parts)
    for step in run.steps():
        real = Tensor(to_float(next(batches)))
        fake = G(G.noise(args.batch, generator))

        real_logits, fake_logits = D(real), D(fake.detach())
        d_loss = minimax_discriminator(real_logits, fake_logits)
        penalty = R1_EVERY * R1 * r1_penalty(D, real) if step % R1_EVERY == 0 else 0.0
        descend(d_optimizer, d_loss + penalty)

        D.requires_grad_(False)
        g_loss = non_saturating_generator(D(fake))
        descend(g_optimizer, g_loss)
        D.requires_grad_(True)
        run.log(**standing(real_logits, fake_logits, D, G, d_loss, g_loss))
    return run, G, ema


def coverage(made: np.ndarray, real: np.ndarray) -> tuple[int, int]:
    """How many modes have, among those of the videos made (N,), at least a quarter of their share among those of real
    ones (M,); and how many modes there are."""
    there, counts = np.unique(real, return_counts=True)
    shares = np.array([(made == mode).mean() for mode in there])
    return int((shares >= counts / len(real) / 4).sum()), len(there)


def main() -> None:
    args = arguments(
        "video_gan", __doc__.split("\n")[0], 1500, 32, samples=500, data="moving-shapes", choices=("moving-shapes",)
    ).parse_args()
    use_device(args)
    if args.batch > VIDEOS:
        sys.exit(f"--batch {args.batch} is more than the {VIDEOS} videos to learn from")
    videos = moving_shapes(VIDEOS + HELD_OUT, 0, FRAMES, SIDE)
    real = videos[VIDEOS:]
    run, G, ema = train(args, videos[:VIDEOS])

    z = G.noise(args.samples, Generator(FOR_FIGURES + args.seed)).numpy()
    with ema.applied():
        made = to_uint8(in_batches(G.eval(), z, args.device, size=100))
    rows = {f"{name} {i + 1}": x[i] for name, x in (("real", real), ("GAN", made)) for i in range(min(8, len(x)))}
    run.write_samples(made.reshape(-1, *made.shape[2:]), videos=made)  # (N T,H,W,C), (N,T,H,W,C)
    save_rows(rows, run.folder / "samples.png", columns=FRAMES)
    film = np.stack([image_grid(frame, columns=10) for frame in made[:50].swapaxes(0, 1)])
    save_gif(film.repeat(3, 1).repeat(3, 2), run.folder / "samples.gif", duration=0.08)

    found: dict[str, Any] = {"diversity": math.nan}
    if len(made) > 1:
        found["diversity"] = diversity(real.reshape(len(real), -1), made.reshape(len(made), -1))
    for name, x in (("", made), ("_real", real)):
        linear, way = linear_motion(x)
        found[f"linear{name}"] = float((linear >= LINEAR).mean())
        found[f"linear{name}_shuffled"] = float((linear_motion(frames_shuffled(x))[0] >= LINEAR).mean())
        found[f"way_in_pixels{name}"] = float(np.linalg.norm(way, axis=1).mean())
        found[f"rings{name}"] = float(hollow(x).mean())
    made_modes, real_modes = motion_modes(made), motion_modes(real)
    found["modes"], modes = coverage(made_modes, real_modes)
    found["directions"], directions = coverage(made_modes % SECTORS, real_modes % SECTORS)
    sentences = diagnose(run.curves, (found["modes"], modes), found["diversity"])
    found["diagnosis"] = sentences or BALANCED
    print("\n".join(found["diagnosis"]))
    print("share of videos that show a ring: {rings:.3g} (real: {rings_real:.3g})".format(**found))
    run.write_metrics(found)
    shuffled = f"real, shuffled: {found['linear_real_shuffled']:.3g}"
    report(
        [
            ("share of videos with linear motion", found["linear"], ">=", 0.8, f"real: {found['linear_real']:.3g}"),
            ("the same with the frames shuffled", found["linear_shuffled"], "<=", 0.1, shuffled),
            ("directions of motion", found["directions"], ">=", directions, f"of {directions}"),
            ("diversity, of the real videos' own", found["diversity"], ">=", 0.8, "1 for videos like the real ones"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
