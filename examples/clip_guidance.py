"""A diffusion model that has never seen a text, led by one: CLIP guidance (Nichol et al. 2022; Bansal et al. 2023).

    python examples/clip.py                 # first: CLIP,
    python examples/kl_autoencoder.py       # and the autoencoder; what is missing this example runs itself
    python examples/clip_guidance.py        # trains, then writes runs/clip_guidance/samples.png

The whole algorithm: a diffusion model learns the latents of pictures of coloured shapes, and no words (latent.py). At
each step of its sampling what it takes the latents for is decoded, and CLIP (clip.py) looks at the picture. How near is
that to the sentence "a red shape"? The gradient of this cosine, back through CLIP, the decoder and the network, says
which change of the noisy latents would bring it nearer, and the guess is pushed there. The model takes care that it
stays a picture. Each step but the last is taken twice, the second time from what came of the first: so the push has
time to have its effect.

The same push edits. Of latents mixed with noise (SDEdit, see editing.py) only what the noise has hidden can follow the
sentence. And where the frame of a picture is known and its inside is not, the guess is pushed towards the known pixels
as well (as in the reconstruction guidance of Ho et al. 2022, arXiv:2204.03458, but with a fixed variance): the inside
follows the sentence, and fits the frame. In the end the frame is put in its place, so that it stays as it is, to the
bit.

Each is done without the sentence as well, from the same noise. A classifier that has seen none of these pictures reads
whether they show what was asked for. --samples pictures are drawn, and a quarter as many of each kind edited:
edits.png and inpainted.png show what was given, what became of it without a sentence, and with it.
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
from common import FOR_FIGURES, Learner, arguments, draw_in_batches, use_device
from latent import AUTOENCODER, LARGEST_LATENT, load_autoencoder, posteriors_of, shape_of_latents
from run import Run, report, run_main
from text_to_image import CHANNELS, LEARNING_RATE, NETWORK, PROCESS, load_clip

import minigen
from minigen import Tensor, ops, optim
from minigen.autoencoders import DiagonalGaussian
from minigen.data import DataLoader, Dataset, load, shapes, to_float
from minigen.data.captions import HELD_OUT_PAIRS, POSITIONS, VALUES, describe, in_words
from minigen.diffusion import Denoiser, Diffusion, EstimateGuided, UNet, inpaint
from minigen.metrics import Features
from minigen.viz import save_bars, save_rows

CLIP_SETTINGS: list[str] = []  # more arguments of clip.py, if it is run
SCALE = 300.0  # of the cosine
KNOWN = 3.0  # of the squared error of known pixels: 1 / (2 variance)
LEVELS, RESAMPLINGS, JUMP = 25, 2, 1  # each step of sampling but the last is taken twice
STRENGTH = 0.7  # of edits
KEPT = ("colour", "position", "background_colour")  # what edits should leave as it is
FRAME = 4  # pixels at each side that are known
HIDDEN = 128  # the grey of hidden pixels in the picture
BATCH = 50
SHOWN = 8
Wanted = list[dict[str, str]]  # of each picture the values that are asked for
Pair = tuple[Any, ...]  # of anything: without the sentences, and with them
Fit = Callable[[Tensor], Tensor]  # pictures (N, H, W, C) -> how well each fits (N,)


class Guide:
    """A diffusion model in latents, the autoencoder that decodes them, and CLIP, which pushes."""

    def __init__(self, args: argparse.Namespace):
        self.clip, self.autoencoder = load_clip(args, CLIP_SETTINGS), load_autoencoder(args, CHANNELS, AUTOENCODER)
        self.seed, self.device = args.seed, args.device
        self.latent_shape = shape_of_latents(self.autoencoder, self.clip.arguments["image_shape"], args.device)
        self.network = UNet(self.latent_shape[-1], **NETWORK, size=self.latent_shape[:-1])
        self.diffusion = Diffusion(**PROCESS)

    def denoiser(self, fits: list[Fit]) -> Denoiser:
        """Pushed towards latents whose pictures fit."""
        if not fits:
            return self.diffusion.denoiser(self.network, clip=LARGEST_LATENT)

        def fit(z: Tensor) -> Tensor:
            x = self.autoencoder.decode(z)
            return ops.stack([one(x) for one in fits]).sum(axis=0)

        return EstimateGuided(self.diffusion.denoiser(self.network, clip=None), fit, clip=LARGEST_LATENT)

    def as_told(self, wanted: Wanted | None) -> list[Fit]:
        """How near each picture is to a sentence of what is wanted of it; for None, nothing is asked for."""
        if wanted is None:
            return []
        asked = Tensor(prompts(self.clip, wanted)).to(self.device)
        return [lambda x: SCALE * (self.clip.encode_image(x) * asked).sum(axis=1)]

    def make(self, how: Callable[[Wanted | None, slice], Tensor], n: int, wanted: Wanted | None) -> np.ndarray:
        """n pictures, uint8; how(wanted, which) gives some of them."""

        def some(first: int, count: int) -> Tensor:
            which = slice(first, first + count)
            with minigen.no_grad():
                return how(None if wanted is None else wanted[which], which)

        return draw_in_batches(some, n, BATCH)

    def sample(self, fits: list[Fit], which: slice, start: Tensor | None = None) -> Tensor:
        """Pictures that fit, from noise, or from latents `start` mixed with it."""
        size, nowhere = (which.stop - which.start, *self.latent_shape), np.zeros((1, 1, 1, 1), bool)
        z = Tensor(np.zeros(size, np.float32)).to(self.device) if start is None else start
        settings: dict[str, Any] = dict(strength=1.0 if start is None else STRENGTH, first_sample=which.start)
        timetable = self.diffusion.timetable(LEVELS)
        z = inpaint(self.denoiser(fits), z, nowhere, timetable, RESAMPLINGS, JUMP, self.seed, **settings)
        return self.autoencoder.decode(z)

    def draw(self, wanted: Wanted | None, which: slice) -> Tensor:
        return self.sample(self.as_told(wanted), which)

    def edit(self, images: np.ndarray, wanted: Wanted | None, which: slice) -> Tensor:
        start = self.autoencoder.encode(Tensor(to_float(images[which])).to(self.device)).mean
        return self.sample(self.as_told(wanted), which, start)

    def fill(self, images: np.ndarray, known: np.ndarray, wanted: Wanted | None, which: slice) -> Tensor:
        given, there = Tensor(to_float(images[which])).to(self.device), Tensor(known).to(self.device)

        def as_known(x: Tensor) -> Tensor:
            return -KNOWN * (ops.where(there, x - given, 0.0) ** 2).sum(axis=(1, 2, 3))

        return ops.where(there, given, self.sample([as_known, *self.as_told(wanted)], which))


def train(args: argparse.Namespace, data: Dataset) -> tuple[Run, Guide, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    guide = Guide(args)
    learner = Learner(args, guide.network, args.steps, LEARNING_RATE)
    posteriors = posteriors_of(guide.autoencoder, data.images, args.device)  # once: it is slow
    batches = DataLoader(posteriors, batch_size=args.batch, seed=args.seed, device=args.device)
    pictures = ("edits.png", "inpainted.png", "accuracy.png")
    run = Run(args, pictures, generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        z = DiagonalGaussian.from_parameters(Tensor(next(batches))).sample(generator)
        run.log(loss=learner.descend(guide.diffusion.loss(guide.network, z, generator)))
    return run, guide, learner.ema


def one_attribute(n: int) -> Wanted:
    """An attribute for each picture, by turns: "a circle", "a red shape", "a small shape", "a shape in the top left",
    "a square", "an orange shape", ..."""
    asked = [ASKED[i % len(ASKED)] for i in range(n)]
    return [{name: VALUES[name][i // len(ASKED) % len(VALUES[name])]} for i, name in enumerate(asked)]


def other_shapes(data: Dataset) -> Wanted:
    """Another shape for each picture, of the same colour, in the same place."""
    wanted = []
    for i, values in enumerate(in_words(data.attributes or {})):
        shape_names = [s for s in VALUES["shape"] if s != values["shape"] and seen(s, values["colour"])]
        shape = shape_names[i % len(shape_names)]
        wanted.append({"shape": shape, "colour": values["colour"], "position": values["position"]})
    return wanted


def other_shapes_and_colours(data: Dataset) -> Wanted:
    """Another shape for each picture, of another colour."""
    wanted = []
    for i, values in enumerate(in_words(data.attributes or {})):
        shape_names = [s for s in VALUES["shape"] if s != values["shape"]]
        shape = shape_names[i // 3 % len(shape_names)]
        colours = [c for c in VALUES["colour"] if c != values["colour"] and seen(shape, c)]
        wanted.append({"shape": shape, "colour": colours[i % len(colours)]})
    return wanted


def seen(shape: str, colour: str) -> bool:
    """Whether there are pictures of this pair for the networks to learn from."""
    return (shape, colour) not in HELD_OUT_PAIRS


def in_the_middle(n: int, seed: int) -> Dataset:
    """n pictures whose shape lies in the middle: their frame shows background only."""
    many = shapes(n * 2 * len(POSITIONS) + 100, seed)
    return many.subset(np.flatnonzero((many.attributes or {})["position"] == POSITIONS.index("centre"))[:n])


def right(read: dict[str, np.ndarray], wanted: Wanted, name: str) -> float:
    """The share of the pictures of which `name` is asked for that are read as having it; read: as Features reads."""
    asked = [(read[name][i], VALUES[name].index(values[name])) for i, values in enumerate(wanted) if name in values]
    return float(np.mean([found == want for found, want in asked]))


def frame(height: int, width: int) -> np.ndarray:
    """Where pictures are known: bool (H, W, 1)."""
    known = np.ones((height, width, 1), bool)
    known[FRAME:-FRAME, FRAME:-FRAME] = False
    return known


def captioned(columns: list[np.ndarray], wanted: Wanted, path: Path) -> None:
    """A picture with what is wanted of each of the first images of all columns beside them."""
    rows = zip(wanted[:SHOWN], *columns, strict=False)
    save_rows({f"{i + 1}: {describe(values)}": np.stack(row) for i, (values, *row) in enumerate(rows)}, path)


def measure(args: argparse.Namespace, guide: Guide, run: Run) -> list[tuple[str, float, str, float, str]]:
    """Writes all that is found; gives the figures to report."""
    features, count = Features(load("shapes")), max(2, args.samples // 4)
    data, middle = shapes(count, FOR_FIGURES + args.seed), in_the_middle(count, FOR_FIGURES + args.seed)
    known = frame(*data.images.shape[1:3])
    ways: dict[str, tuple[Any, Wanted, tuple[str, ...]]] = {  # the last are those asked for that were otherwise before
        "drawing": (guide.draw, one_attribute(args.samples), ASKED),
        "editing": (partial(guide.edit, data.images), other_shapes(data), ("shape",)),
        "inpainting": (
            partial(guide.fill, middle.images, known),
            other_shapes_and_colours(middle),
            ("shape", "colour"),
        ),
    }
    made: dict[str, Pair] = {}
    shares: dict[str, Pair] = {}
    seconds: dict[str, Pair] = {}
    before = data.attributes or {}
    for name, (how, wanted, changed) in ways.items():
        made[name], seconds[name] = without_and_with(guide, how, wanted)
        read = [features.attributes(images) for images in made[name]]
        for asked in changed:
            shares[f"{name}: {asked} as asked"] = tuple(right(r, wanted, asked) for r in read)
        for kept in KEPT if name == "editing" else ():
            both = (float(np.mean(r[kept] == before[kept])) for r in read)
            shares[f"{name}: {kept.replace('_', ' ')} kept"] = tuple(both)
    for name, (unled, led) in shares.items():
        print(f"{name} {led:.1%}, without the sentence {unled:.1%}")
    given = np.broadcast_to(known, middle.images.shape)
    intact = float(np.mean([(images[given] == middle.images[given]).mean() for images in made["inpainting"]]))
    draw_all(run, ways, made, data.images, np.where(known, middle.images, HIDDEN).astype(np.uint8))
    bars = {"led by CLIP": 1, "not led": 0}
    save_bars(
        {which: {name: pair[i] for name, pair in shares.items()} for which, i in bars.items()},
        run.folder / "accuracy.png",
        ylabel="share",
    )
    run.write_metrics(
        {
            **{name: {"led": led, "not_led": unled} for name, (unled, led) in shares.items()},
            "pixels_kept": intact,
            "sampling": {
                name: {"led_seconds": led, "not_led_seconds": unled} for name, (unled, led) in seconds.items()
            },
        }
    )
    figures = [(name, led, ">=", 0.7, f"not led: {unled:.3g}") for name, (unled, led) in shares.items()]
    figures.append(("inpainting: share of known pixels kept to the bit", intact, ">=", 1.0, "in all pictures"))
    return figures


def without_and_with(guide: Guide, how: Any, wanted: Wanted) -> tuple[Pair, Pair]:
    """Pictures without and with the sentences, and how many seconds each took."""
    images, seconds = [], []
    for told in (None, wanted):
        started = time.monotonic()
        images.append(guide.make(how, len(wanted), told))
        seconds.append(time.monotonic() - started)
    return tuple(images), tuple(seconds)


def draw_all(
    run: Run,
    ways: dict[str, tuple[Any, Wanted, tuple[str, ...]]],
    made: dict[str, Pair],
    edited: np.ndarray,
    inpainted: np.ndarray,
) -> None:
    """samples.png; and edits.png and inpainted.png: what was given, what it became without a sentence, and with one."""
    wanted, (_, led) = ways["drawing"][1], made["drawing"]
    rows: dict[str, list[np.ndarray]] = {}
    for values, image in zip(wanted, led, strict=True):
        rows.setdefault(describe(values), []).append(image)
    shown = sorted(rows, key=lambda sentence: sentence.split()[1:])[:: max(1, len(rows) // 12)]
    columns = min(SHOWN, *(len(rows[s]) for s in shown))
    run.write_samples(led, {s: np.stack(rows[s][:columns]) for s in shown})
    for name, start, file in (("editing", edited, "edits.png"), ("inpainting", inpainted, "inpainted.png")):
        captioned([start, *made[name]], ways[name][1], run.folder / file)


def main() -> None:
    parser = arguments(
        "clip_guidance", __doc__.split("\n")[0], 4500, 32, samples=400, data="shapes", choices=("shapes",)
    )
    parser.add_argument("--clip", type=Path, help="that of clip.py; by default in its folder by --out")
    parser.add_argument("--autoencoder", type=Path, help="that of kl_autoencoder.py; by default in its folder by --out")
    args = parser.parse_args()
    use_device(args)
    args.digest = ""  # of CLIP and the autoencoder, which belong to a trained network
    run, guide, ema = train(args, drawn(args, TRAINING))
    with ema.applied():
        figures = measure(args, guide, run)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
