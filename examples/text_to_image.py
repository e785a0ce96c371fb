"""Pictures from sentences: latent diffusion (Rombach et al. 2022) that looks at what CLIP says of a text.

    python examples/text_to_image.py --train                                 # once: writes runs/text_to_image
    python examples/text_to_image.py "a small red star in the top left"      # then: writes prompts.png there
    python examples/text_to_image.py "a large heart" --negative "red" --scale 1.5

The whole algorithm: kl_autoencoder.py makes each picture a map of 8 x 8 latents, clip.py each sentence a row of
features. A U-Net learns to say what noisy latents were (latent.py); at every place it looks at the features of every
word. One sentence in ten is empty, so that it also learns to do without. When it samples, each guess moves from what it
says for no text, or for the negative one, towards and beyond what it says for the text (classifier-free guidance); what
comes out is decoded. Autoencoder and CLIP are trained first if their files are not there yet, and do not learn here.

Do the pictures show what was asked for? A classifier that never saw a painted picture reads their attributes. Some
pairs of shape and colour are in no picture and no sentence that autoencoder, CLIP and network learn from: they have to
be composed.

samples.png has pictures for some sentences, guidance.png what the scale of guidance does to accuracy and variety.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clip import drawn, sentences
from common import FOR_FIGURES, Learner, arguments, draw_in_batches, made_by, use_device
from latent import AUTOENCODER, LARGEST_LATENT, load_autoencoder, posteriors_of, shape_of_latents
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.autoencoders import DiagonalGaussian
from minigen.contrastive import CLIP
from minigen.data import DataLoader, Dataset, load, shapes
from minigen.data.captions import in_words
from minigen.diffusion import ClassifierFree, Diffusion, Prompt, TextUNet, sample
from minigen.metrics import Features, vendi_score
from minigen.viz import save_curves, save_rows

TRAINING, CHANNELS = 20_000, 3  # pictures, and their channels
MODEL, PAINTED = "model.safetensors", 8  # the file that it is kept in; pictures of each sentence
NETWORK: dict[str, Any] = dict(channels=64, multipliers=(1, 2), blocks=1, attention=(False, False))
PROCESS: dict[str, Any] = dict(timesteps=1000, schedule="cosine", prediction="x0", logit_normal=(0.7, 1.4))
LEARNING_RATE = 2e-3
WHOLE = 0.7  # the share of sentences that tell all: the more is told, the less there is to guess
WITHOUT_TEXT = 0.1  # the share of pictures whose sentence is kept from the network
SCALES, SCALE = (1.0, 2.0, 3.0, 5.0, 8.0), 2.0  # of guidance: those compared, and one of them that is in use
METHOD, SAMPLING_STEPS, SAMPLING_BATCH = "dpm++2m", 20, 50
CLIP_SETTINGS: list[str] = []  # more arguments of clip.py, if it is run
QUESTIONS = (
    "a small red star in the top left",
    "a large yellow ring",  # this pair is held out
    "a green heart on the right, on a checked brown background",
    "a cyan star",  # and this
    "a medium circle, on a striped background",
)
ALIKE = 20  # pictures for each of QUESTIONS, of which the variety is measured


class Painter:
    """What turns sentences into pictures: CLIP, a diffusion model in latents, and the autoencoder that decodes them."""

    def __init__(self, args: argparse.Namespace):
        self.clip = load_clip(args, CLIP_SETTINGS if args.train else None)
        try:
            self.clip.tokenizer([*args.sentence, args.negative])
        except ValueError as error:
            sys.exit(str(error))  # a sentence that is too long
        self.autoencoder, self.seed = load_autoencoder(args, CHANNELS, AUTOENCODER if args.train else None), args.seed
        self.latent_shape = shape_of_latents(self.autoencoder, self.clip.arguments["image_shape"], args.device)
        self.network = TextUNet(self.clip.text.width, self.latent_shape[-1], **NETWORK, size=self.latent_shape[:-1])
        self.network.to(args.device)
        self.diffusion = Diffusion(**PROCESS)

    def told(self, texts: list[str]) -> partial:
        """The network, told one text for each sample."""
        with minigen.no_grad():
            return partial(self.network, prompt=Prompt(*self.clip.text_features(texts)))

    def paint(self, texts: list[str], scale: float, negative: str = "") -> np.ndarray:
        """A picture for each text, uint8."""
        timetable = self.diffusion.timetable(SAMPLING_STEPS)

        def some(first: int, count: int) -> Tensor:
            asked = texts[first : first + count]
            both = (self.told(asked), self.told([negative] * count))
            cond, uncond = (self.diffusion.denoiser(network, clip=None) for network in both)
            denoiser = ClassifierFree(cond, uncond, scale, clip=LARGEST_LATENT)
            size = (count, *self.latent_shape)
            return self.autoencoder.decode(sample(denoiser, size, timetable, METHOD, self.seed, first_sample=first))

        with minigen.no_grad():
            return draw_in_batches(some, len(texts), SAMPLING_BATCH)


def load_clip(args: argparse.Namespace, more: list[str] | None) -> CLIP:
    """That of clip.py, see `made_by`."""
    clip = CLIP.load(made_by("clip", "clip.safetensors", args.clip, args, more))
    clip.to(args.device)
    return clip


def train(args: argparse.Namespace, data: Dataset) -> tuple[Run, Painter, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    painter = Painter(args)
    learner = Learner(args, painter.network, args.steps, LEARNING_RATE)
    posteriors = posteriors_of(painter.autoencoder, data.images, args.device)  # once: it is slow
    batches = DataLoader(posteriors, np.arange(len(data)), batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(args, ("guidance.png", MODEL), generator=generator, batches=batches, **learner.parts())
    values = in_words(data.attributes or {})
    for _ in run.steps():
        parameters, chosen = next(batches)
        texts = sentences([values[i] for i in chosen.tolist()], generator, WHOLE)
        kept = minigen.rand(len(texts), generator=generator).numpy() >= WITHOUT_TEXT
        network = painter.told([text if keep else "" for text, keep in zip(texts, kept, strict=True)])
        z = DiagonalGaussian.from_parameters(Tensor(parameters)).sample(generator)
        run.log(loss=learner.descend(painter.diffusion.loss(network, z, generator)))
    return run, painter, learner.ema


def all_right(features: Features, images: np.ndarray, data: Dataset) -> dict[str, float]:
    """The share of images of which the classifier reads each attribute as in `data`, and "all" of them."""
    known: Any = data.attributes
    read = features.attributes(images)
    right = {name: read[name] == known[name] for name in known}
    right["all"] = np.all(list(right.values()), axis=0)
    return {name: float(each.mean()) for name, each in right.items()}


def variety(features: Features, painter: Painter, scale: float) -> tuple[float, np.ndarray]:
    """The mean Vendi score of the pictures for one sentence, over QUESTIONS; and the pictures."""
    made = painter.paint([q for q in QUESTIONS for _ in range(ALIKE)], scale)
    seen = features(made).reshape(len(QUESTIONS), ALIKE, -1)
    return float(np.mean([vendi_score(s) for s in seen])), made


def measure(args: argparse.Namespace, painter: Painter, run: Run) -> list[tuple[str, float, str, float, str]]:
    """Writes all that is found; gives the figures to report."""
    features = Features(load("shapes"))
    test, rare = (shapes(args.samples, FOR_FIGURES + args.seed, held_out=held) for held in (False, True))
    real, right, varied, pictures = all_right(features, test.images, test), {}, {}, {}
    for scale in SCALES:
        varied[scale], pictures[scale] = variety(features, painter, scale)
        made = painter.paint(test.captions or [], scale)
        right[scale] = all_right(features, made, test)
        print(f"scale {scale:g}: all attributes right {right[scale]['all']:.1%}, Vendi score {varied[scale]:.3g}")
    started = time.monotonic()
    painted = painter.paint(rare.captions or [], SCALE)
    seconds = (time.monotonic() - started) / len(painted)
    composed, composed_real = all_right(features, painted, rare), all_right(features, rare.images, rare)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in right[SCALE].items())
    print(f"at scale {SCALE:g}, in which everything else is measured: {shares}")
    curves = {
        "all attributes right: pictures": (SCALES, [right[s]["all"] for s in SCALES]),
        "variety for one sentence: pictures": (SCALES, [varied[s] for s in SCALES]),
    }
    save_curves(curves, run.folder / "guidance.png", xlabel="guidance scale")
    rows = {q: some[:10] for q, some in zip(QUESTIONS, np.split(pictures[SCALE], len(QUESTIONS)), strict=True)}
    run.write_samples(painted, rows, captions=np.array(rare.captions))
    run.write_metrics(
        {
            "right": {f"{scale:g}": shares for scale, shares in right.items()},
            "right_real": real,
            "vendi": {f"{scale:g}": value for scale, value in varied.items()},
            "scale": SCALE,
            "held_out": composed,
            "held_out_real": composed_real,
            "seconds_per_picture": seconds,
        }
    )
    print(f"{1000 * seconds:.0f} ms a picture")
    found = right[SCALE]["all"]
    return [
        (f"all attributes right, at scale {SCALE:g}", found, ">=", 0.8, f"real pictures: {real['all']:.3g}"),
        ("the same, held-out pairs", composed["all"], ">=", 0.6, f"real pictures: {composed_real['all']:.3g}"),
        ("variety at the largest scale", varied[SCALES[-1]], "<=", varied[SCALES[0]], "as without guidance"),
    ]


def command_line() -> Any:
    parser = arguments(
        "text_to_image", __doc__.split("\n")[0], 4500, 64, samples=250, data="shapes", choices=("shapes",)
    )
    parser.add_argument("sentence", nargs="*", help="what to paint, each in quotes")
    parser.add_argument("--train", action="store_true", help="train, and measure, before anything is painted")
    parser.add_argument("--negative", default="", help="what not to paint")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="of guidance: 1 is none; beyond 2 it harms, see guidance.png"
    )
    parser.add_argument("--autoencoder", type=Path, help="that of kl_autoencoder.py; by default in its folder by --out")
    parser.add_argument("--clip", type=Path, help="that of clip.py; by default in its folder by --out")
    return parser


def main() -> None:
    parser = command_line()
    args = parser.parse_args()
    if not args.train and not args.sentence:
        parser.error("give a sentence to paint, or --train")
    if args.check and not args.train:
        parser.error("--check is of what --train measures: give both")
    use_device(args)
    args.digest = ""  # of CLIP and the autoencoder, which belong to a trained network
    figures = []
    if args.train:
        run, painter, ema = train(args, drawn(args, TRAINING))
        with ema.applied():
            minigen.save({"digest": args.digest, "network": painter.network.state_dict()}, run.folder / MODEL)
            figures = measure(args, painter, run)
    if args.sentence:
        paint_sentences(args)
    report(figures, args.check)


def paint_sentences(args: argparse.Namespace) -> None:
    """Writes prompts.png, by a network that is trained."""
    path, args.digest, args.train = args.out / MODEL, "", False
    if not path.exists():
        sys.exit(f"{path} is not there: --train writes it")
    painter, saved = Painter(args), minigen.load(path)
    if saved.keys() != {"digest", "network"}:
        sys.exit(f"{path} holds no network of this example: it has {', '.join(sorted(saved))[:80]}")
    if saved["digest"] != args.digest:
        sys.exit(f"{path} was trained with another CLIP or autoencoder: name those by --clip and --autoencoder")
    painter.network.load_state_dict(saved["network"])
    made = painter.paint([s for s in args.sentence for _ in range(PAINTED)], args.scale, args.negative)
    rows = {s: made[PAINTED * i : PAINTED * (i + 1)] for i, s in enumerate(args.sentence)}
    save_rows(rows, args.out / "prompts.png", scale=4)
    print(f"wrote prompts.png to {args.out}")


if __name__ == "__main__":
    run_main(main)
