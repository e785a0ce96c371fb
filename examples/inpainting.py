"""Inpainting and outpainting with a diffusion model of whole digits (RePaint, Lugmayr et al. 2022).

    python examples/inpainting.py                         # takes over the network of runs/ddpm, or trains one
    python examples/inpainting.py --trained runs/other    # the network that another run of ddpm.py has left
    python examples/inpainting.py --device cuda           # on a GPU

Nothing is trained for this: the network of ddpm.py, which draws digits from noise, is led to draw those with given
pixels. After each step of its sampling, the given pixels, as noisy as all others are by now, are pasted in. That is
replacement. It leaves seams, and halves that do not belong together, since what is drawn in a step has not seen what is
pasted after it. RePaint goes back a few steps, by noise on everything, and takes them again, several times.

Half of each held-out digit is hidden: the left, upper, right or lower half, in turns. What counts is whether the
strokes go on across the seam, and whether a classifier that has seen none of these digits reads them as what they were.
Replacement is measured twice: with as many noise levels as RePaint, and with as many evaluations of the network.

outpaint.png has lines of digits that grow to the right from a held-out one. Each window overlaps what is there by a
quarter, where the last digit ends: that is known, and the next digit has to leave room for it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from common import has_classes, load_data, split
from ddpm import arguments_with_network, train
from run import report, run_main
from tqdm import tqdm

from minigen import Tensor
from minigen.data import Dataset, to_float, to_uint8
from minigen.diffusion import Denoiser, Diffusion, inpaint, outpaint, walk, walk_evaluations
from minigen.metrics import Reader, seam_gradient
from minigen.viz import save_images

Way = tuple[int, int, int]  # levels of noise, resamplings, steps of a jump

REPAINT: Way = (50, 5, 5)
SAMPLING_BATCH = 100
STRIPS, WINDOWS = 10, 6
OVERLAP = 4  # of two windows: that part of their width
HIDDEN = 128  # the grey of hidden pixels in pictures


def halves(n: int, height: int, width: int) -> np.ndarray:
    """Where images are known, bool (n, height, width, 1): the right, the lower, the left or the upper half."""
    known = np.zeros((n, height, width, 1), bool)
    known[0::4, :, width // 2 :] = True
    known[1::4, height // 2 :] = True
    known[2::4, :, : width // 2] = True
    known[3::4, : height // 2] = True
    return known


def fill(
    denoiser: Denoiser, diffusion: Diffusion, images: np.ndarray, known: np.ndarray, seed: int, name: str, way: Way
) -> np.ndarray:
    """The images, uint8, with what is not known drawn anew."""
    steps, resamplings, jump = way
    timetable, filled = diffusion.timetable(steps), []
    for first in range(0, len(images), SAMPLING_BATCH):
        batch = slice(first, first + SAMPLING_BATCH)
        bar = partial(tqdm, desc=f"{name}, images from {first}", unit="step", leave=False)
        x = Tensor(to_float(images[batch])).to(denoiser.device)
        made = inpaint(denoiser, x, known[batch], timetable, resamplings, jump, seed, first, progress=bar)
        filled.append(to_uint8(made.numpy()))
    return np.concatenate(filled)


def grow(denoiser: Denoiser, diffusion: Diffusion, images: np.ndarray, seed: int) -> np.ndarray:
    """Strips of WINDOWS windows, uint8, which begin with the images (N, H, W, C)."""
    n, height, width, channels = images.shape
    stride = width - width // OVERLAP
    canvas = np.zeros((n, height, width + (WINDOWS - 1) * stride, channels), np.float32)
    canvas[:, :, :width] = to_float(images)
    known = np.zeros(canvas.shape[1:3], bool)
    known[:, :width] = True
    x, window, by = Tensor(canvas).to(denoiser.device), (height, width), (height, stride)
    steps, resamplings, jump = REPAINT
    timetable, bar = diffusion.timetable(steps), partial(tqdm, desc="growing", unit="step", leave=False)
    return to_uint8(outpaint(denoiser, x, known, window, by, timetable, resamplings, jump, seed, progress=bar).numpy())


def drawn_windows(strips: np.ndarray, width: int) -> np.ndarray:
    """The windows of strips after the first: (N (WINDOWS - 1), H, width, C)."""
    lefts = np.arange(1, WINDOWS) * (width - width // OVERLAP)
    return np.concatenate([strips[:, :, left : left + width] for left in lefts])


def measure(
    training: Dataset, test: Dataset, known: np.ndarray, made: dict[str, np.ndarray], strips: np.ndarray
) -> tuple[dict[str, Any], list]:
    """Metrics of what each way, the last of which is RePaint, has made of the test images; and figures to report."""
    images, (*others, repaint) = test.images, made
    given = np.broadcast_to(known, images.shape)
    kept = float(np.mean([x[given] == images[given] for x in made.values()]))
    seams = {name: seam_gradient(x, known) for name, x in {"real": images, **made}.items()}
    beside = ", ".join(f"{name}: {seams[name]:.3g}" for name in [*others, "real"])
    figures = [
        ("share of known pixels that are kept to the bit", kept, ">=", 1.0, "in all images"),
        ("seam gradient of RePaint", seams[repaint], "<=", min(seams[name] for name in others), beside),
    ]
    metrics: dict[str, Any] = {"kept": kept, "seam_gradient": seams}
    if has_classes(training.labels) and test.labels is not None:
        reader = Reader(training.images, training.labels)
        recovered = {
            name: float(np.mean(reader.read(x) == test.labels)) for name, x in {"real": images, **made}.items()
        }
        read = reader.share_read(drawn_windows(strips, images.shape[2]))
        metrics.update(recovered=recovered, windows_read=read, real_read=reader.share_read(images))
        print(
            f"windows of strips read as a class with over 80% confidence: {read:.3g}, "
            f"real images: {metrics['real_read']:.3g}"
        )
        beside = ", ".join(f"{name}: {recovered[name]:.3g}" for name in [*others, "real"])
        asked = max(recovered[name] for name in others) + 1 / len(images)  # at least one more
        figures.append(("share of hidden halves whose class RePaint recovers", recovered[repaint], ">=", asked, beside))
    return metrics, figures


def main() -> None:
    args = arguments_with_network("inpainting", __doc__.split("\n")[0], samples=200).parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split(args, data)
    run, network, diffusion, ema = train(args, training.images, ("outpaint.png",), args.trained)
    test = test.subset(slice(args.samples))
    known = halves(*test.images.shape[:3])
    ways: dict[str, Way] = {
        f"replacement, {n} steps": (n, 1, 1) for n in (REPAINT[0], walk_evaluations(walk(*REPAINT)))
    }
    ways["RePaint"] = REPAINT
    started = time.monotonic()
    with ema.applied():
        denoiser = diffusion.denoiser(network)
        made = {name: fill(denoiser, diffusion, test.images, known, args.seed, name, way) for name, way in ways.items()}
        strips = grow(denoiser, diffusion, test.images[:STRIPS], args.seed)
    seconds = time.monotonic() - started
    masked = np.where(known, test.images, HIDDEN).astype(np.uint8)
    rows = {"original": test.images, "masked": masked, **made}
    labels = {} if test.labels is None else {"labels": test.labels}
    run.write_samples(made["RePaint"], {name: x[:20] for name, x in rows.items()}, strips=strips, **labels)
    save_images(strips, run.folder / "outpaint.png", columns=1)
    metrics, figures = measure(training, test, known, made, strips)
    evaluations = {name: walk_evaluations(walk(*way)) for name, way in ways.items()}
    run.write_metrics({"evaluations": evaluations, "sampling_seconds": round(seconds, 1), **metrics})
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
