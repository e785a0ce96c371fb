"""CLIP (Radford et al. 2021): pictures of coloured shapes and sentences about them, as points on one sphere.

    python examples/clip.py                            # trains, then writes runs/clip/samples.png

The whole algorithm: an image encoder makes each picture of a batch a point, a text encoder each of their sentences.
Which sentence belongs to which picture? The cosine of their points, times a learned factor, is how sure the model says
it is, and both encoders descend on the cross-entropy of the right answer, from pictures to sentences and back.

Some of the sentences tell all there is to tell ("a small red heart in the top left, on a striped grey background"),
most a part of it, chosen at random ("a heart in the top left"). So short questions are understood, too: of "a red
shape", "an orange shape", ..., the sentence nearest to a picture says its colour, though nobody ever trained a
classifier of colours. This is zero-shot classification. Some pairs of shape and colour, such as cyan stars, are in no
picture and no sentence of the training; "a cyan star" has to be composed. For that a star must be known whatever its
colour: of many pictures the colours are faded, up to grey, and their sentences tell none.

samples.png shows the pictures that are nearest to some questions, among 2,000 that the model has not seen, half of them
of such pairs; accuracy.png how often each attribute is told right.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import FOR_FIGURES, Learner, arguments, in_batches, use_device
from run import Run, report, run_main

import minigen
from minigen import Tensor, ops
from minigen.contrastive import CLIP, Tokenizer
from minigen.data import DataLoader, Dataset, shapes, to_float
from minigen.data.captions import VALUES, WORDINGS, describe, in_words
from minigen.random import Generator
from minigen.viz import save_bars

TRAINING, HELD_OUT = 20_000, 1000  # pictures
NETWORK: dict[str, Any] = dict(size=64, width=64, depth=2, heads=4)
LEARNING_RATE = 3e-3
WHOLE = 0.1  # the share of sentences that tell all
TOLD = 0.4  # the probability of each attribute to be told by one of the others
FADED = 0.6  # the share of pictures whose colours fade, up to grey
ASKED = ("shape", "colour", "size", "position")  # attributes whose accuracy is asked for
QUESTIONS = (
    "a red star",
    "an orange shape in the bottom right",
    "a large heart, on a striped background",
    "a small shape in the centre",
    "a cyan star",  # this pair is held out
    "a checked brown background",
)


def sentences(
    values: list[dict[str, str]], generator: Generator, share: float = WHOLE, faded: np.ndarray | None = None
) -> list[str]:
    """Of each picture's values all, in that share of the sentences, or some; of those that are `faded` no colours."""
    whole, wording, told = np.split(minigen.rand(len(values), 2 + len(VALUES), generator=generator).numpy(), [1, 2], 1)
    wordings = (wording[:, 0] * WORDINGS).astype(int).tolist()
    chosen = (told < TOLD) | (whole < share)
    if faded is not None:
        chosen &= ~np.outer(faded, ["colour" in name for name in VALUES])
    return [
        describe({name: value for (name, value), tell in zip(v.items(), row, strict=True) if tell}, wording)
        for v, row, wording in zip(values, chosen, wordings, strict=True)
    ]


def fade(x: Tensor, generator: Generator) -> tuple[Tensor, np.ndarray]:
    """Images (N, H, W, C), some with fainter colours, down to none; and which they are, (N,)."""
    u = minigen.rand(len(x), 2, generator=generator, device=x.device)
    faded = u[:, 0] < FADED
    grey, kept = x.mean(axis=-1, keepdims=True), ops.where(faded, u[:, 1], 1.0).reshape(-1, 1, 1, 1)
    return grey + kept * (x - grey), faded.numpy()


def drawn(args: argparse.Namespace, most: int) -> Dataset:
    """So many pictures to learn from, or as many as are seen."""
    if args.batch > most:
        sys.exit(f"--batch {args.batch} is more than the {most} pictures to learn from")
    n = min(most, args.steps * args.batch)
    print(f"drawing {n} pictures")
    return shapes(n, args.seed)


def train(args: argparse.Namespace, data: Dataset) -> tuple[Run, CLIP, Any]:
    generator = minigen.manual_seed(args.seed)
    values = in_words(data.attributes or {})
    each_word = [describe({name: value}) for name, of_it in VALUES.items() for value in of_it]  # few captions lack some
    model = CLIP(data.images.shape[1:], Tokenizer.learn([*(data.captions or []), *each_word]), **NETWORK)
    learner = Learner(args, model, args.steps, LEARNING_RATE)
    batches = DataLoader(data.images, np.arange(len(data)), batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(args, ("accuracy.png", "clip.safetensors"), generator=generator, batches=batches, **learner.parts())
    for _ in run.steps():
        x, chosen = next(batches)
        x, faded = fade(Tensor(to_float(x)), generator)
        texts = sentences([values[i] for i in chosen.tolist()], generator, faded=faded)
        run.log(loss=learner.descend(model.loss(x, texts)))
    return run, model, learner.ema


def images_of(model: CLIP, images: np.ndarray, device: str) -> np.ndarray:
    """Embeddings (N, size)."""
    return in_batches(model.encode_image, to_float(images), device)


def prompts(model: CLIP, asked: list[dict[str, str]]) -> np.ndarray:
    """An embedding for each: the mean over the wordings, of length 1."""
    with minigen.no_grad():
        each = np.stack([model.encode_text([describe(v, w) for v in asked]).numpy() for w in range(WORDINGS)])
    mean = each.mean(0)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def zero_shot(model: CLIP, embedded: np.ndarray, data: Dataset) -> dict[str, float]:
    """Of each attribute the share of pictures whose nearest prompt tells the value that they have."""
    found = {}
    for name, values in VALUES.items():
        nearest = (embedded @ prompts(model, [{name: value} for value in values]).T).argmax(1)
        found[name] = float((nearest == (data.attributes or {})[name]).mean())
    return found


def pairs_right(model: CLIP, embedded: np.ndarray, data: Dataset) -> float:
    """The share of pictures whose nearest prompt, of all pairs of shape and colour, tells theirs."""
    every = [{"shape": shape, "colour": colour} for shape in VALUES["shape"] for colour in VALUES["colour"]]
    nearest = (embedded @ prompts(model, every).T).argmax(1)
    attributes: Any = data.attributes
    return float((nearest == attributes["shape"] * len(VALUES["colour"]) + attributes["colour"]).mean())


def retrieved(embedded: np.ndarray, texts: np.ndarray) -> float:
    """Retrieval at 1: the mean of the shares of pictures whose nearest caption is theirs, and of captions likewise."""
    cosines, own = embedded @ texts.T, np.arange(len(texts))
    return float(((cosines.argmax(1) == own).mean() + (cosines.argmax(0) == own).mean()) / 2)


def main() -> None:
    args = arguments(
        "clip", __doc__.split("\n")[0], 5000, 128, samples=HELD_OUT, data="shapes", choices=("shapes",)
    ).parse_args()
    use_device(args)
    run, model, ema = train(args, drawn(args, TRAINING))
    test, rare = (shapes(args.samples, FOR_FIGURES + args.seed, held_out=held) for held in (False, True))
    with ema.applied():
        model.save(run.folder / "clip.safetensors")
        embedded, embedded_rare = (images_of(model, data.images, args.device) for data in (test, rare))
        right = zero_shot(model, embedded, test)
        composed, known = pairs_right(model, embedded_rare, rare), pairs_right(model, embedded, test)
        with minigen.no_grad():
            found = retrieved(embedded, model.encode_text(test.captions).numpy())
            asked = model.encode_text(QUESTIONS).numpy()
        nearest = (asked @ np.concatenate([embedded, embedded_rare]).T).argsort(1)[:, ::-1]
        scale = model.scale().item()
    every = np.concatenate([test.images, rare.images])
    chance = {name: 1 / len(values) for name, values in VALUES.items()}
    bars = {"CLIP, by sentences": right, "chance": chance}
    save_bars(bars, run.folder / "accuracy.png", ylabel="share told right")
    run.write_samples(test.images, {q: every[best[:10]] for q, best in zip(QUESTIONS, nearest, strict=True)})
    run.write_metrics(
        {
            "zero_shot": right,
            "chance": chance,
            "held_out_pairs": composed,
            "known_pairs": known,
            "retrieval_at_1": found,
            "scale": scale,
        }
    )
    for name, share in right.items():
        print(f"{name}: {share:.1%} told right by sentences; by chance {chance[name]:.1%}")
    report(
        [(f"{name} told right, zero-shot", right[name], ">=", 0.95, f"chance: {chance[name]:.3g}") for name in ASKED]
        + [
            (
                "held-out pairs of shape and colour",
                composed,
                ">=",
                0.8,
                f"chance: 0.0156, seen: {known:.3g}",
            ),
            ("retrieval at 1", found, ">=", 0.5, f"chance: {1 / len(test):.3g}"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
