"""Videos by diffusion: a space-time U-Net (Ho et al. 2022, "Video Diffusion Models") of moving shapes, told where to.

    python examples/video.py                            # trains, then writes runs/video/samples.gif
    python examples/video.py --resume --samples 500     # more of them
    python examples/video.py --device cuda              # on a GPU

The whole algorithm: a video is a batch of frames. A U-Net of images sees each frame, and after each of its blocks the
frames are mixed, position by position: convolutions along time. Noise the whole video, let the network say what it was,
and tell it the direction of the motion, one of eight; for one video in ten, tell it "none" instead, so that sampling
can go past the answer without the direction (classifier-free guidance).

The test of motion: the centroid of the light must move along a line, at constant speed, in the direction asked for.
Videos of independent frames, put together from frames of different samples, fail it.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

import numpy as np
from common import Learner, arguments, draw_in_batches, use_device
from run import Run, report, run_main

import minigen
from minigen import Tensor
from minigen.data import DIRECTIONS, DataLoader, captioned_shapes, to_float
from minigen.diffusion import Diffusion, VideoUNet, drop_labels, guided, sample
from minigen.metrics import directions, linear_motion
from minigen.viz import image_grid, save_gif, save_rows

VIDEOS, HELD_OUT = 3000, 400
FRAMES, SIDE = 16, 16
NETWORK: dict[str, Any] = dict(channels=16, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
WITHOUT_CLASS = 0.1  # the share of videos whose direction is kept from the network
SCALE, METHOD, SAMPLING_STEPS = 2.0, "dpm++2m", 15
BATCH = 40


def train(args: argparse.Namespace, videos: np.ndarray, labels: np.ndarray) -> tuple[Run, VideoUNet, Diffusion, Any]:
    generator = minigen.manual_seed(args.seed)
    diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0")
    learner = Learner(args, VideoUNet(1, **NETWORK, num_classes=len(DIRECTIONS)), args.steps, decay=0.995)
    batches = DataLoader(videos, labels, batch_size=args.batch, seed=args.seed, device=args.device)
    network: Any = learner.network
    run = Run(args, ("samples.gif",), generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        x, y = next(batches)
        told = drop_labels(y, network.null_class, WITHOUT_CLASS, generator)
        run.log(loss=learner.descend(diffusion.loss(partial(network, labels=told), Tensor(to_float(x)), generator)))
    return run, network, diffusion, learner.ema


def draw(args: argparse.Namespace, diffusion: Diffusion, network: VideoUNet, asked: np.ndarray) -> np.ndarray:
    """A video that moves in each of the directions asked for (N,): uint8 (N, T, H, W, 1)."""
    timetable = diffusion.timetable(SAMPLING_STEPS, "karras")

    def some(first: int, count: int) -> Tensor:
        denoiser = guided(diffusion, network, asked[first : first + count], SCALE)
        return sample(denoiser, (count, FRAMES, SIDE, SIDE, 1), timetable, METHOD, args.seed, first_sample=first)

    return draw_in_batches(some, len(asked), BATCH, "video")


def frames_independent(videos: np.ndarray) -> np.ndarray:
    """Frame t of video n is that of video n + t: each frame as good as before, and none knows of the others."""
    n, frames = videos.shape[:2]
    rows = (np.arange(n)[:, None] + np.arange(frames)) % n
    return videos[rows, np.arange(frames)]


def main() -> None:
    args = arguments(
        "video", __doc__.split("\n")[0], 1600, 32, samples=200, data="moving-shapes", choices=("moving-shapes",)
    ).parse_args()
    use_device(args)
    if args.batch > VIDEOS:
        sys.exit(f"--batch {args.batch} is more than the {VIDEOS} videos to learn from")
    data = captioned_shapes(VIDEOS + HELD_OUT, 0, FRAMES, SIDE)
    videos, labels = data.images, np.asarray(data.labels)
    real, real_asked = videos[VIDEOS:], labels[VIDEOS:]
    run, network, diffusion, ema = train(args, videos[:VIDEOS], labels[:VIDEOS])

    asked = np.arange(args.samples) % len(DIRECTIONS)
    with ema.applied():
        made = draw(args, diffusion, network, asked)
    captions = np.array([f"moves {DIRECTIONS[c]}" for c in asked])
    run.write_samples(made.reshape(-1, *made.shape[2:]), videos=made, captions=captions)  # (N T,H,W,C), (N,T,H,W,C)
    rows = {f"{DIRECTIONS[c]}": made[i] for i, c in enumerate(asked[: len(DIRECTIONS)])}
    save_rows(rows, run.folder / "samples.png", columns=FRAMES)
    film = np.stack([image_grid(frame, columns=8) for frame in made[:40].swapaxes(0, 1)])
    save_gif(film.repeat(3, 1).repeat(3, 2), run.folder / "samples.gif", duration=0.08)

    found = {}
    kinds = {"made": (made, asked), "real": (real, real_asked), "independent": (frames_independent(made), asked)}
    for name, (x, wanted) in kinds.items():
        linear, _ = linear_motion(x)
        right, straight = float((directions(x) == wanted).mean()), float((linear >= 0.95).mean())
        found[name] = {"direction": right, "r2": float(linear.mean()), "linear": straight}
        print(f"{name}: {right:.1%} go where asked; R^2 {linear.mean():.3f}, at least 0.95 in {straight:.1%}")
    run.write_metrics(found)
    ours, theirs, apart = found["made"], found["real"], found["independent"]
    report(
        [
            (
                "share of videos in the direction asked for",
                ours["direction"],
                ">=",
                0.85,
                f"real: {theirs['direction']:.3g}",
            ),
            ("mean R^2 of a line through the centroids", ours["r2"], ">=", 0.95, f"real: {theirs['r2']:.3g}"),
            ("the same of independent frames", apart["r2"], "<=", 0.5, f"linear: {apart['linear']:.1%} of them"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
