"""Editing with a diffusion model of digits: crude pictures made real (SDEdit), and paths between two digits.

    python examples/editing.py                         # takes over the network of runs/ddpm, or trains one
    python examples/editing.py --trained runs/other    # the network that another run of ddpm.py has left
    python examples/editing.py --device cuda           # on a GPU

SDEdit (Meng et al. 2022): a crude picture is mixed with noise up to a strength, a share of the way to pure noise, and
denoised from there. Noise hides what is crude about it before it hides what it shows. The pictures are held-out digits
as one would set them in large pixels of few greys. The stronger the edit, the less it keeps of the picture (PSNR to the
crude picture), and the more real it looks (KID to the digits that were trained on): strength is the place between the
two, and curve.png shows both over it. The PSNR is of pixels, and falls from the first, so there is a third number: the
share of edits that are read as the digit which the crude picture was made of.

Interpolation: DDIM run backwards turns each of two held-out digits into the noise that DDIM makes it from. Between the
two noises lies an arc of others, each of which makes a digit (Song et al. 2021, section 5.3): interpolation.png, beside
the same pairs faded into each other.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import kid, load_data, split_for_distances
from ddpm import arguments_with_network, train
from run import report, run_main
from tqdm import tqdm

from minigen import Tensor
from minigen.data import Dataset, to_float, to_uint8
from minigen.diffusion import Denoiser, Diffusion, edit, interpolate
from minigen.metrics import Features, psnr
from minigen.viz import save_curves, save_rows

Figure = tuple[str, float, str, float, str]  # see `report` in run.py

BLOCK, GREYS = 4, 4  # of the crude pictures: the side of their pixels, and how many greys (or levels of a colour)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
METHOD, EDIT_STEPS = "ddpm", 50
INVERSION_STEPS = 100
PAIRS, POINTS, PICTURED = 30, 9, 6  # of interpolations
BATCH = 100


def crude(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) -> the same in pixels of BLOCK x BLOCK, each of the nearest of GREYS levels to its mean."""
    n, height, width, channels = images.shape
    means = images.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels).mean((2, 4)) / 255
    levels = np.round(means * (GREYS - 1)) / (GREYS - 1) * 255
    return levels.round().astype(np.uint8).repeat(BLOCK, 1).repeat(BLOCK, 2)


def edits(denoiser: Denoiser, diffusion: Diffusion, images: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """What SDEdit makes of images: uint8, both."""
    timetable, made = diffusion.timetable(EDIT_STEPS), []
    for first in range(0, len(images), BATCH):
        bar = partial(tqdm, desc=f"strength {strength}, images from {first}", unit="step", leave=False)
        x = Tensor(to_float(images[first : first + BATCH])).to(denoiser.device)
        made.append(edit(denoiser, x, timetable, strength, METHOD, seed, first_sample=first, progress=bar).numpy())
    return to_uint8(np.concatenate(made))


def paths(denoiser: Denoiser, diffusion: Diffusion, pairs: np.ndarray) -> np.ndarray:
    """From the first to the second of each pair: uint8 (N, 2, H, W, C) -> (N, POINTS, H, W, C)."""
    first, second = (Tensor(to_float(pairs[:, i])).to(denoiser.device) for i in (0, 1))
    bar, shares = partial(tqdm, desc="interpolating", unit="step", leave=False), np.linspace(0, 1, POINTS)
    points = interpolate(denoiser, first, second, shares.tolist(), diffusion.timetable(INVERSION_STEPS), bar)
    return to_uint8(np.stack([x.numpy() for x in points], axis=1))


def fade(pairs: np.ndarray) -> np.ndarray:
    """Pairs (N, 2, H, W, C), uint8, of which one is faded into the other: (N, POINTS, H, W, C)."""
    shares = np.linspace(0, 1, POINTS).reshape(1, POINTS, 1, 1, 1)
    return ((1 - shares) * pairs[:, :1] + shares * pairs[:, 1:]).round().astype(np.uint8)


def measure_edits(
    features: Features, real: np.ndarray, test: Dataset, guides: np.ndarray, edited: dict[float, np.ndarray]
) -> tuple[dict[str, dict[str, float]], list[Figure]]:
    """For the crude pictures, the edits of each strength, and the originals, what is kept and how real they look; and
    the figures to report. `real` are the features of the training images."""
    table: dict[str, dict[str, float]] = {}
    for name, x in {"crude": guides, **{f"{s}": x for s, x in edited.items()}, "original": test.images}.items():
        table[name] = {"kept": psnr(x, guides), "kid": kid(real, features(x))}
        if test.labels is not None and "label" in features.classifier.values:
            table[name]["read_as_original"] = float(np.mean(features.read(x) == test.labels))
        print(f"{name:>8}: " + ", ".join(f"{key} {value:.4g}" for key, value in table[name].items()))
    figures: list[Figure] = []
    for what, key in (("what is kept (PSNR, dB)", "kept"), ("the distance to real digits (KID)", "kid")):
        values = [table[f"{s}"][key] for s in edited]
        least, beside = min(a - b for a, b in itertools.pairwise(values)), ", ".join(f"{x:.3g}" for x in values)
        figures.append((f"least fall of {what} from one strength to the next", least, ">=", 0.0, beside))
    return table, figures


def measure_paths(
    features: Features, real: np.ndarray, pairs: np.ndarray, arcs: np.ndarray
) -> tuple[dict[str, float], list[Figure]]:
    """How well the ends of arcs are reconstructed, and how real their middles look; and the figures to report."""
    reconstruction = psnr(arcs[:, [0, -1]], pairs)
    ours, theirs = (kid(real, features(x[:, POINTS // 2])) for x in (arcs, fade(pairs)))
    return {"inversion_psnr": reconstruction, "middle_kid": ours, "faded_kid": theirs}, [
        ("DDIM there and back, dB", reconstruction, ">=", 30.0, f"{INVERSION_STEPS} steps each way"),
        ("KID of the middles of arcs", ours, "<=", theirs, f"of digits faded into each other: {theirs:.3g}"),
    ]


def draw(folder: Path, table: dict[str, dict[str, float]], pairs: np.ndarray, arcs: np.ndarray) -> None:
    rows = {}
    for i, (arc, faded) in enumerate(zip(arcs[:PICTURED], fade(pairs[:PICTURED]), strict=True)):
        rows.update({f"arc {i + 1}": arc, f"faded {i + 1}": faded})
    save_rows(rows, folder / "interpolation.png", POINTS)
    names = {"kept": "PSNR to the crude picture, dB", "kid": "KID to real digits", "read_as_original": "read as before"}
    curves = {f"{names[key]}: edits": (STRENGTHS, [table[f"{s}"][key] for s in STRENGTHS]) for key in table["crude"]}
    save_curves(curves, folder / "curve.png", xlabel="strength")


def main() -> None:
    args = arguments_with_network("editing", __doc__.split("\n")[0], samples=300).parse_args()
    data = load_data(args, multiple_of=BLOCK)
    training, test = split_for_distances(args, data)
    run, network, diffusion, ema = train(args, training.images, ("curve.png", "interpolation.png"), args.trained)
    test = test.subset(slice(max(2, args.samples)))
    guides, count = crude(test.images), min(PAIRS, len(test) // 2)
    pairs = test.images[: 2 * count].reshape(count, 2, *test.images.shape[1:])
    started = time.monotonic()
    with ema.applied():
        denoiser = diffusion.denoiser(network)
        edited = {strength: edits(denoiser, diffusion, guides, strength, args.seed) for strength in STRENGTHS}
        arcs = paths(denoiser, diffusion, pairs)
    seconds = time.monotonic() - started
    features = Features(data)
    real = features(training.images)
    table, figures = measure_edits(features, real, test, guides, edited)
    interpolation, more = measure_paths(features, real, pairs, arcs)
    rows = {"original": test.images, "crude": guides, **{f"{s}": x for s, x in edited.items()}}
    images, shown = np.concatenate(list(edited.values())), {name: x[:10] for name, x in rows.items()}
    run.write_samples(images, shown, strength=np.repeat(STRENGTHS, len(test)), arcs=arcs)
    draw(run.folder, table, pairs, arcs)
    run.write_metrics({"sampling_seconds": round(seconds, 1), "strengths": table, **interpolation})
    report([*figures, *more], args.check)


if __name__ == "__main__":
    run_main(main)
