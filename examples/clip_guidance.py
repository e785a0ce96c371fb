"""A diffusion model that has never seen a text, led by one: CLIP guidance (Nichol et al. 2022; Bansal et al. 2023).

    python examples/clip.py                 # first: CLIP, else this example begins with running it
    python examples/clip_guidance.py        # trains, then writes runs/clip_guidance/samples.png

The whole algorithm: a diffusion model learns pictures of coloured shapes, and no words (ddpm.py). At each step of its
sampling CLIP (clip.py) looks at what the network takes the picture for. How near is that to the sentence "a red shape"?
The gradient of this cosine, back through CLIP and through the network, says which change of the noisy picture would
bring it nearer, and the guess is pushed there. The model takes care that it stays a picture.

The same push edits. Of a picture mixed with noise (SDEdit, see editing.py) only what the noise has hidden can follow
the sentence. And where the frame of a picture is known and its inside is not (RePaint, see inpainting.py), the inside
follows the sentence, and the frame stays as it is, to the bit.

Each is done without the push as well, from the same noise. A classifier that has seen none of these pictures reads
whether they show what was asked for. --samples pictures are drawn, and a quarter as many of each kind edited:
edits.png and inpainted.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clip import ASKED, TRAINING, drawn, prompts
from common import FOR_FIGURES, Learner, Run, arguments, draw_in_batches, report, run_main, use_device
from text_to_image import load_clip

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, Dataset, load, shapes, to_float
from minigen.data.captions import VALUES, describe
from minigen.diffusion import Denoiser, Diffusion, EstimateGuided, UNet, edit, inpaint, sample
from minigen.metrics import Features
from minigen.viz import save_bars, save_rows

NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, attention=(False, False), patch=2)
LEARNING_RATE = 2e-3
CLIP_SETTINGS: list[str] = []  # more arguments of clip.py, if it is run
SCALE = 500.0  # of the cosine
METHOD, SAMPLING_STEPS = "dpm++2m", 25
STRENGTH = 0.7  # of edits
LEVELS, RESAMPLINGS, JUMP = 40, 3, 5  # of RePaint
FRAME = 4  # pixels at each side that are known
HIDDEN = 128  # the grey of hidden pixels in the picture
BATCH = 50
SHOWN = 8
Wanted = list[dict[str, str]]  # of each picture the values that are asked for


class Guide:
    """A diffusion model in pixels, and CLIP, which pushes it."""

    def __init__(self, args: argparse.Namespace):
        self.clip = load_clip(args, CLIP_SETTINGS)
        self.shape, self.seed, self.device = tuple(self.clip.arguments["image_shape"]), args.seed, args.device
        self.network = UNet(self.shape[-1], **NETWORK, size=self.shape[:2])
        self.diffusion = Diffusion(timesteps=1000, schedule="cosine", prediction="x0", logit_normal=(0.7, 1.4))

    def denoiser(self, wanted: Wanted | None) -> Denoiser:
        """Pushed towards what is wanted of each picture, or left alone."""
        if wanted is None:
            return self.diffusion.denoiser(self.network, clip=1.0)
        asked = Tensor(prompts(self.clip, wanted)).to(self.device)

        def cosine(x0: Tensor) -> Tensor:
            return (self.clip.encode_image(x0) * asked).sum(axis=1)

        return EstimateGuided(self.diffusion.denoiser(self.network, clip=None), cosine, SCALE, clip=1.0)

    def make(self, how: Callable[[Denoiser, slice], Tensor], n: int, wanted: Wanted | None) -> np.ndarray:
        """n pictures, uint8; how(denoiser, which) gives some of them."""

        def some(first: int, count: int) -> Tensor:
            which = slice(first, first + count)
            return how(self.denoiser(None if wanted is None else wanted[which]), which)

        return draw_in_batches(some, n, BATCH)

    def draw(self, denoiser: Denoiser, which: slice) -> Tensor:
        size = (which.stop - which.start, *self.shape)
        return sample(
            denoiser, size, self.diffusion.timetable(SAMPLING_STEPS), METHOD, self.seed, first_sample=which.start
        )

    def edit(self, images: np.ndarray, denoiser: Denoiser, which: slice) -> Tensor:
        x, timetable = Tensor(to_float(images[which])).to(self.device), self.diffusion.timetable(SAMPLING_STEPS)
        return edit(denoiser, x, timetable, STRENGTH, METHOD, self.seed, first_sample=which.start)

    def fill(self, images: np.ndarray, known: np.ndarray, denoiser: Denoiser, which: slice) -> Tensor:
        x, timetable = Tensor(to_float(images[which])).to(self.device), self.diffusion.timetable(LEVELS)
        return inpaint(denoiser, x, known, timetable, RESAMPLINGS, JUMP, self.seed, first_sample=which.start)


def train(args: argparse.Namespace, data: Dataset) -> tuple[Run, Guide, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    guide = Guide(args)
    learner = Learner(args, guide.network, args.steps, LEARNING_RATE)
    batches = DataLoader(data.images, batch_size=args.batch, seed=args.seed, device=args.device)
    pictures = ("edits.png", "inpainted.png", "accuracy.png")
    run = Run(args, pictures, generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        run.log(loss=learner.descend(guide.diffusion.loss(guide.network, Tensor(to_float(next(batches))), generator)))
    return run, guide, learner.ema


def one_attribute(n: int) -> Wanted:
    """An attribute for each picture, by turns: "a red shape", "a star", "a small shape", ..., "an orange shape", ..."""
    asked = [ASKED[i % len(ASKED)] for i in range(n)]
    return [{name: VALUES[name][i // len(ASKED) % len(VALUES[name])]} for i, name in enumerate(asked)]


def other_colours(data: Dataset) -> Wanted:
    """The shape of each picture in another colour."""
    colours, known = VALUES["colour"], data.attributes or {}
    new = (known["colour"] + 1 + np.arange(len(data)) % (len(colours) - 1)) % len(colours)
    return [{"shape": VALUES["shape"][s], "colour": colours[c]} for s, c in zip(known["shape"], new, strict=True)]


def other_shapes(data: Dataset) -> Wanted:
    """Another shape than that of each picture, in another colour."""
    shape_names, known = VALUES["shape"], data.attributes or {}
    new = (known["shape"] + 1 + np.arange(len(data)) // 3 % (len(shape_names) - 1)) % len(shape_names)
    return [{**wanted, "shape": shape_names[s]} for wanted, s in zip(other_colours(data), new, strict=True)]


def right(read: dict[str, np.ndarray], wanted: Wanted, name: str) -> float:
    """The share of the pictures of which `name` is asked for that are read as having it; read: as Features reads."""
    asked = [(read[name][i], VALUES[name].index(values[name])) for i, values in enumerate(wanted) if name in values]
    return float(np.mean([found == want for found, want in asked]))


def frame(height: int, width: int) -> np.ndarray:
    """Where pictures are known: bool (H, W, 1)."""
    known = np.ones((height, width, 1), bool)
    known[FRAME:-FRAME, FRAME:-FRAME] = False
    return known


def captioned(rows: dict[str, np.ndarray], wanted: Wanted, path: Path) -> None:
    """A picture with a column for each of the first images of all rows; what is wanted of them is printed."""
    save_rows({name: images[:SHOWN] for name, images in rows.items()}, path, SHOWN)
    print(f"asked in {path.name}: {', '.join(map(describe, wanted[:SHOWN]))}")


def measure(args: argparse.Namespace, guide: Guide, run: Run) -> list[tuple[str, float, str, float, str]]:
    """Writes all that is found; gives the figures to report."""
    features, started = Features(load("shapes")), time.monotonic()
    data = shapes(max(2, args.samples // 4), FOR_FIGURES + args.seed)
    known = frame(*data.images.shape[1:3])
    ways: dict[str, tuple[Any, Wanted]] = {
        "drawing": (guide.draw, one_attribute(args.samples)),
        "editing": (partial(guide.edit, data.images), other_colours(data)),
        "inpainting": (partial(guide.fill, data.images, known), other_shapes(data)),
    }
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # without the push, and with it
    read: dict[str, list[dict[str, np.ndarray]]] = {}  # likewise
    shares: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (how, wanted) in ways.items():
        both = [guide.make(how, len(wanted), w) for w in (None, wanted)]
        read[name] = [features.attributes(images) for images in both]
        made[name] = both[0], both[1]
        for asked in [a for a in ASKED if any(a in values for values in wanted)]:
            unled, led = (right(r, wanted, asked) for r in read[name])
            shares.setdefault(name, {})[asked] = unled, led
            print(f"{name}: {asked} as asked {led:.1%}, without the push {unled:.1%}")
    seconds = time.monotonic() - started
    kept_place = [float(np.mean(r["position"] == (data.attributes or {})["position"])) for r in read["editing"]]
    given = np.broadcast_to(known, data.images.shape)
    kept = float(np.mean([(images[given] == data.images[given]).mean() for images in made["inpainting"]]))
    draw_all(run, ways, made, data, known)
    save_bars(
        {
            which: {name: pair[i] for name, pair in shares["drawing"].items()}
            for i, which in ((1, "led by CLIP"), (0, "not led"))
        },
        run.folder / "accuracy.png",
        ylabel="share as asked",
    )
    found = {
        name: {asked: {"led": led, "not_led": unled} for asked, (unled, led) in pairs.items()}
        for name, pairs in shares.items()
    }
    run.write_metrics(
        {**found, "position_kept": kept_place[1], "pixels_kept": kept, "sampling_seconds": round(seconds, 1)}
    )
    figures = [
        (f"{name}: {asked} as asked", led, ">=", 0.7, f"not led: {unled:.3g}")
        for name, pairs in shares.items()
        for asked, (unled, led) in pairs.items()
    ]
    figures.append(("editing: position kept", kept_place[1], ">=", 0.7, f"not led: {kept_place[0]:.3g}"))
    figures.append(("inpainting: share of known pixels kept to the bit", kept, ">=", 1.0, "in all pictures"))
    return figures


def draw_all(
    run: Run,
    ways: dict[str, tuple[Any, Wanted]],
    made: dict[str, tuple[np.ndarray, np.ndarray]],
    data: Dataset,
    known: np.ndarray,
) -> None:
    """samples.png, edits.png and inpainted.png."""
    wanted, (_, led) = ways["drawing"][1], made["drawing"]
    rows: dict[str, list[np.ndarray]] = {}
    for values, image in zip(wanted, led, strict=True):
        rows.setdefault(describe(values), []).append(image)
    shown = sorted(rows, key=lambda sentence: sentence.split()[1:])[:: max(1, len(rows) // 12)]
    columns = min(SHOWN, *(len(rows[s]) for s in shown))
    run.write_samples(led, {s: np.stack(rows[s][:columns]) for s in shown})
    for name, start, file in (
        ("editing", data.images, "edits.png"),
        ("inpainting", np.where(known, data.images, HIDDEN).astype(np.uint8), "inpainted.png"),
    ):
        pair = dict(zip(("not led", "led by CLIP"), made[name], strict=True))
        captioned({"given": start, **pair}, ways[name][1], run.folder / file)


def main() -> None:
    parser = arguments(
        "clip_guidance", __doc__.split("\n")[0], 4000, 32, samples=400, data="shapes", choices=("shapes",)
    )
    parser.add_argument("--clip", type=Path, help="that of clip.py; by default in its folder by --out")
    args = parser.parse_args()
    use_device(args)
    args.digest = ""  # of CLIP
    run, guide, ema = train(args, drawn(args, TRAINING))
    with ema.applied():
        figures = measure(args, guide, run)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
