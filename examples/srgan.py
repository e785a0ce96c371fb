"""Super-resolution, four times as large each way (SRGAN, Ledig et al. 2017), of shapes and of photographs.

    python examples/srgan.py                    # trains both, then writes runs/srgan/samples.png and photos.png
    python examples/srgan.py --data photos      # photographs alone
    python examples/srgan.py --data my_images   # other images, with a discriminator, as the shapes

The whole algorithm: make images small, let a network G make them large again, and descend on the absolute error. Many
images look the same when they are small, and the least error is in the middle of them all, which is blurred. So in the
second half of the training a copy of G goes on, against a discriminator D that says of each patch whether it is real:

    D:  minimise  -log D(x) - log(1 - D(G(small x)))
    G:  minimise  -log D(G(small x)) + 30 |x - G(small x)|

Its images have more errors than those of the first G, and as a set are nearer to real ones (KID): backgrounds have
their contrast back, but there is speckle around the shapes. A third network learns photographs, by the absolute error
alone, and is used on whole photographs that it has not seen: there what it makes is the mean over the eight ways to
turn and mirror its input (EDSR, Lim et al. 2017).

Small images are made by bicubic interpolation, smoothed, and rounded to 8 bits. All PSNRs are means over the images of
10 log10(255^2 / mean squared error), in dB, over the red, green and blue of all pixels of images rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import Learner, arguments, descend, in_batches, load_data, split
from run import Run, report, run_main

import minigen
from minigen import F, Tensor, optim
from minigen.data import DataLoader, Dataset, patches, photograph, symmetries, to_float, to_uint8
from minigen.data.photos import HELD_OUT, TRAINING
from minigen.gans import (
    BALANCED,
    PatchDiscriminator,
    SuperResolver,
    diagnose,
    minimax_discriminator,
    non_saturating_generator,
    over_symmetries,
    resize,
    shrink,
    standing,
)
from minigen.metrics import Features, compare, comparison_table, fidelity
from minigen.random import Generator
from minigen.viz import save_rows

FACTOR = 4
NETWORK: dict[str, Any] = dict(channels=48, blocks=4)
LEARNING_RATE, CRITIC_RATE = 2e-3, 3e-4  # a slow D: it has the easier task
L1_WEIGHT = 30.0
HALVINGS = 2  # of the discriminator: each patch is 34 x 34 pixels
PIECE, STRIDE = 72, 25  # pixels, of the pieces of photographs to learn from, and from one to the next
SCALES = (1.0, 0.75, 0.5)  # photographs are learned from at these sizes; smaller ones have finer detail
SHOWN = 64  # pixels, of the pieces of photographs that are drawn: those of most contrast

Figure = tuple[str, float, str, float, str]
Evaluation = tuple[dict[str, np.ndarray], dict[str, Any], list[Figure]]  # images in rows, metrics, figures


class Enlarger(Learner):
    """A super-resolver, and what trains it in so many steps."""

    def __init__(self, args: argparse.Namespace, channels: int, steps: int):
        super().__init__(args, SuperResolver(channels, **NETWORK, factor=FACTOR), steps, LEARNING_RATE)
        self.device = args.device

    def enlarge(self, small: np.ndarray, symmetries: bool = False) -> np.ndarray:
        """By the moving average of the weights: uint8 (N, H, W, C) -> uint8 (N, 4H, 4W, C)."""

        def network(x: np.ndarray) -> np.ndarray:
            return in_batches(self.network, x, self.device)

        with self.ema.applied():
            x = to_float(small)
            return to_uint8(over_symmetries(network, x) if symmetries else network(x))


def pair(images: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Images, uint8 (N, H, W, C), made small, and as they are."""
    small, large = (Tensor(to_float(x)).to(device) for x in (shrink(images, FACTOR), images))
    return small, large


class Pictures:
    """Small pictures: first the absolute error alone, then a copy of the network against a discriminator."""

    def __init__(self, args: argparse.Namespace, data: Dataset):
        self.device, self.data, (self.training, self.test) = args.device, data, split(args, data)
        channels, self.begin = data.images.shape[-1], (args.steps + 1) // 2
        self.l1 = Enlarger(args, channels, self.begin)
        self.gan = Enlarger(args, channels, args.steps - self.begin)
        self.D = PatchDiscriminator(channels, 32, HALVINGS, norm=True)
        self.D.to(args.device)
        self.critic = optim.Adam(self.D.parameters(), CRITIC_RATE, betas=(0.5, 0.99))
        self.critic_schedule = optim.CosineLR(self.critic, max(args.steps - self.begin, 1))
        self.batches = DataLoader(self.training.images, batch_size=args.batch, seed=args.seed)

    def parts(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("D", "critic", "critic_schedule", "batches")}
        return {**self.l1.parts("L1"), **self.gan.parts("adversarial"), **own}

    def learn(self, step: int) -> dict[str, float]:
        small, x = pair(next(self.batches), self.device)
        if step < self.begin:
            return {"absolute error: L1": self.l1.descend(F.l1_loss(self.l1.network(small), x))}
        if step == self.begin:
            with self.l1.ema.applied():
                self.gan.network.load_state_dict(self.l1.network.state_dict())
        y = self.gan.network(small)

        self.D.requires_grad_(True)
        real, fake = self.D(x), self.D(y.detach())
        d_loss = minimax_discriminator(real, fake)
        descend(self.critic, d_loss)
        self.critic_schedule.step()

        self.D.requires_grad_(False)
        error, g_loss = F.l1_loss(y, x), non_saturating_generator(self.D(y))
        self.gan.descend(g_loss + L1_WEIGHT * error)
        game = standing(real, fake, self.D, self.gan.network, d_loss, g_loss)
        return {**game, "absolute error: adversarial": error.item()}

    def evaluate(self, run: Run) -> Evaluation:
        small, originals = shrink(self.test.images, FACTOR), self.test.images
        sets = {"bicubic": resize(small, *originals.shape[1:3]), "L1": self.l1.enlarge(small)}
        sets["adversarial"] = self.gan.enlarge(small)
        found = {name: fidelity(images, originals) for name, images in sets.items()}
        features = Features(self.data)
        real, floor = features(self.training.images), features(originals)
        quality = {name: compare(real, features(images), floor) for name, images in sets.items()}
        for name, values in quality.items():
            print(f"{name}\n{comparison_table(values)}")
        said = diagnose(run.curves) or BALANCED
        print("\n".join(said))
        kid = {name: values["kid"] for name, values in quality.items()}
        beside = f"L1: {kid['L1']:.3g}, bicubic: {kid['bicubic']:.3g}, real: {quality['L1']['floor_kid']:.2g}"
        figures = [
            gain(self.data.name, found, 2.0),
            ("SSIM of L1", found["L1"]["ssim"], ">=", found["bicubic"]["ssim"], "as bicubic's"),
            ("KID of adversarial", kid["adversarial"], "<=", kid["L1"], beside),
        ]
        rows = {"small": blocks(small), **sets, "original": originals}
        return rows, {"fidelity": found, "quality": quality, "diagnosis": said}, figures


class Photographs:
    """Photographs: the absolute error alone, in pieces of them that are turned and mirrored at random."""

    def __init__(self, args: argparse.Namespace, stream: Generator):
        self.device, self.stream, self.l1 = args.device, stream, Enlarger(args, 3, args.steps)
        pieces = []
        for whole in map(photograph, TRAINING):
            for scale in SCALES:
                sides = (round(scale * side) for side in whole.shape[:2])
                pieces.append(patches(resize(whole[None], *sides)[0], PIECE, STRIDE))
        self.batches = DataLoader(np.concatenate(pieces), batch_size=args.batch, seed=args.seed)

    def parts(self) -> dict[str, Any]:
        return {**self.l1.parts("photos"), "photos batches": self.batches}

    def learn(self, step: int) -> dict[str, float]:
        small, x = pair(symmetries(next(self.batches), self.stream), self.device)
        return {"absolute error: photos": self.l1.descend(F.l1_loss(self.l1.network(small), x))}

    def evaluate(self, run: Run) -> Evaluation:
        found, rows = [], []
        for whole in map(photograph, HELD_OUT):
            height, width = (side // FACTOR * FACTOR for side in whole.shape[:2])
            original = whole[None, :height, :width]
            small = shrink(original, FACTOR)
            sets = {"bicubic": resize(small, height, width), "L1": self.l1.enlarge(small, symmetries=True)}
            tried = {**sets, "L1, one way": self.l1.enlarge(small)}
            found.append({name: fidelity(images, original) for name, images in tried.items()})
            named = {"small": blocks(small), **sets, "original": original}
            of_most_contrast = patches(original[0], SHOWN, SHOWN).std((1, 2, 3)).argsort()[::-1][:3]
            rows.append({name: patches(x[0], SHOWN, SHOWN)[of_most_contrast] for name, x in named.items()})
        by_photograph = dict(zip(HELD_OUT, found, strict=True))
        mean = {
            name: {metric: float(np.mean([x[name][metric] for x in found])) for metric in values}
            for name, values in found[0].items()
        }
        together = {name: np.concatenate([x[name] for x in rows]) for name in rows[0]}
        return together, {"photos": mean, "by_photograph": by_photograph}, [gain("photos", mean, 0.5)]


def blocks(small: np.ndarray) -> np.ndarray:
    """Each pixel as FACTOR x FACTOR equal ones."""
    return small.repeat(FACTOR, 1).repeat(FACTOR, 2)


def gain(name: str, found: dict[str, dict[str, float]], asked: float) -> Figure:
    ours, theirs = found["L1"]["psnr"], found["bicubic"]["psnr"]
    beside = f"bicubic: {theirs:.4g} dB, L1: {ours:.4g} dB"
    return f"gain of L1 over bicubic on {name}, dB", ours - theirs, ">=", asked, beside


def load_tasks(args: argparse.Namespace, stream: Generator) -> list[Pictures | Photographs]:
    tasks: list[Pictures | Photographs] = []
    digests = []
    for name in ("shapes", "photos") if args.data == "both" else (args.data,):
        own = argparse.Namespace(**{**vars(args), "data": name})
        data = load_data(own, multiple_of=FACTOR)
        sides, needed = data.images.shape[1:3], 3 * 2**HALVINGS
        if name != "photos" and min(sides) < needed:
            sys.exit(f"--data: D needs images of at least {needed} pixels a side, got {sides}")
        tasks.append(Photographs(args, stream) if name == "photos" else Pictures(args, data))
        digests.append(own.digest)
    args.digest = " ".join(digests)
    return tasks


def train(args: argparse.Namespace, tasks: list[Pictures | Photographs], stream: Generator) -> Run:
    parts = {name: part for task in tasks for name, part in task.parts().items()}
    run = Run(args, ("photos.png",), stream=stream, **parts)
    for step in run.steps():
        for task in tasks:
            run.log(**task.learn(step))
    return run


def main() -> None:
    args = arguments("srgan", __doc__.split("\n")[0], steps=3600, batch=16, samples=200, data="both").parse_args()
    stream = minigen.manual_seed(args.seed)
    tasks = load_tasks(args, stream)
    run = train(args, tasks, stream)
    evaluations = [task.evaluate(run) for task in tasks]
    metrics = {name: values for _, found, _ in evaluations for name, values in found.items()}
    for task, (rows, _, _) in zip(tasks, evaluations, strict=True):
        shown = {name: images[:20] for name, images in rows.items()}
        if task is tasks[0]:
            made = rows["adversarial" if "adversarial" in rows else "L1"]
            run.write_samples(made[: args.samples], shown)
        if isinstance(task, Photographs):
            save_rows(shown, run.folder / "photos.png")
    run.write_metrics(metrics)
    for name in ("fidelity", "photos"):
        for which, values in metrics.get(name, {}).items():
            print("{}, {}: {psnr:.2f} dB, SSIM {ssim:.4f}".format(name, which, **values))
    report([figure for _, _, figures in evaluations for figure in figures], args.check)


if __name__ == "__main__":
    run_main(main)
