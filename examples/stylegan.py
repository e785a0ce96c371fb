"""StyleGAN 2 (Karras et al. 2020) of pictures of coloured shapes, beside a DCGAN that trains for as long.

    python examples/stylegan.py                              # trains both, then writes runs/stylegan/*.png
    python examples/stylegan.py --resume --project cat.png   # finds the w that makes this picture, or nearly
    python examples/stylegan.py --augment diffaugment        # or ada; by default none

The whole algorithm: a mapping network turns noise z into styles w, and in each of its layers a synthesis network is
told by w how strongly to read each channel. D learns to tell its images from real ones, G to deceive D. Now and then
D's slope at real images is punished (R1), and G for moving further in some directions of w than in others (path
length). Some images get the w of one z in their coarse layers, and that of another in their fine ones, so that G learns
to keep apart what the layers do: afterwards an image's coarse layers can be given another's fine ones.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, descend, in_batches, load_data, split_for_distances
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, nn, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.gans import (
    BALANCED,
    DCGANDiscriminator,
    DCGANGenerator,
    PathLengthPenalty,
    diagnose,
    diversity,
    minimax_discriminator,
    non_saturating_generator,
    r1_penalty,
    small_weights_,
    standing,
)
from minigen.gans.augment import AdaptiveProbability, augment
from minigen.gans.mixing import crossed, mixing_table, transfer
from minigen.gans.projection import project
from minigen.gans.stylegan import StyleDiscriminator, StyleGenerator, mix, resolutions, truncate
from minigen.metrics import Features, compare, comparison_table, precision_recall, psnr
from minigen.random import Generator
from minigen.viz import save_rows

G_NETWORK: dict[str, Any] = dict(channels=(64, 32, 16), z_dim=64, w_dim=128)  # the smallest resolution first
D_NETWORK: dict[str, Any] = dict(channels=(64, 48, 32), patch=2)
# 0.01 in the paper; with so few steps, a mapping that stays as it began would make one image for all z
MAPPING_RATE = 1.0
LEARNING_RATE = 1e-2
R1_EVERY, R1_WEIGHT = 8, 0.3
PATH_EVERY, PATH_WEIGHT = 16, 0.05
MIXED = 0.5  # the share of images with two styles
DCGAN_CHANNELS, DCGAN_LATENT, DCGAN_LEARNING_RATE = 32, 64, 4e-3  # examples/dcgan.py, with more noise for more to show
DCGAN_STEPS = 9, 5  # nine for each five of StyleGAN's: so many that it trains for longer
EMA_DECAY = 0.998
PSI = (1.0, 0.7, 0.5)
CENTRES, W_DRAWN = 16, 10_000  # truncation's clusters, and of how many w
PROJECTION_STEPS, PAIRS = 200, 1000
PICTURES = ("mixing.png", "truncation.png", "projection.png")


class Game:
    """Two networks with what their learning takes: `parts` are saved and restored together."""

    g: Any
    d: Any

    def __init__(
        self, args: argparse.Namespace, images: np.ndarray, g: nn.Module, d: nn.Module, steps: int, adam: dict
    ):
        self.g, self.d, self.seconds = g.to(args.device), d.to(args.device), 0.0
        self.ema = optim.EMA(g, EMA_DECAY)
        self.optimizers = {
            "g": optim.Adam(g.parameters(), **adam, ema=self.ema),
            "d": optim.Adam(d.parameters(), **adam),
        }
        self.schedules = {name: optim.CosineLR(one, steps, final=0.1) for name, one in self.optimizers.items()}
        self.batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
        self.parts: dict[str, Any] = {"g": self.g, "d": self.d, "ema": self.ema, "batches": self.batches}
        self.parts |= {f"{name}_optimizer": optimizer for name, optimizer in self.optimizers.items()}
        self.parts |= {f"{name}_schedule": schedule for name, schedule in self.schedules.items()}

    def descend(self, name: str, loss: Tensor) -> None:
        descend(self.optimizers[name], loss)
        self.schedules[name].step()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, **{name: part.state_dict() for name, part in self.parts.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = float(state["seconds"])
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


class StyleGAN(Game):
    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random, self.kind, shape = random, args.augment, images.shape[1:]
        g, d = StyleGenerator(shape, **G_NETWORK, mapping_rate=MAPPING_RATE), StyleDiscriminator(shape, **D_NETWORK)
        super().__init__(args, images, g, d, args.steps, dict(lr=LEARNING_RATE, betas=(0.5, 0.99)))
        self.path_length, self.adaptive = PathLengthPenalty(), AdaptiveProbability(images=20_000)
        self.parts |= {"path_length": self.path_length, "adaptive": self.adaptive}

    def train_step(self, step: int) -> dict[str, float]:
        """A step of D, then one of G on the same images: what there is to log."""
        real, log = Tensor(to_float(next(self.batches))), {}
        fake = self.augmented(self.g.synthesis(*self.styles_and_noise(len(real))))

        real_logits, fake_logits = self.d(self.augmented(real)), self.d(fake.detach())
        d_loss = d_total = minimax_discriminator(real_logits, fake_logits)
        if step % R1_EVERY == 0:  # lazily, but that much more strongly (section 3.1)
            r1 = r1_penalty(lambda x: self.d(self.augmented(x)), real)
            d_total = d_loss + R1_EVERY * R1_WEIGHT * r1
            log["penalty: R1"] = r1.item()
        self.descend("d", d_total)

        self.d.requires_grad_(False)
        g_loss = g_total = non_saturating_generator(self.d(fake))
        if step % PATH_EVERY == 0:
            w, noise = self.styles_and_noise(max(1, len(real) // 2))
            images = self.g.synthesis(w, noise)
            y = minigen.randn(*images.shape, generator=self.random, device=images.device)
            penalty, lengths = self.path_length(images, w, y)
            g_total = g_loss + PATH_EVERY * PATH_WEIGHT * penalty
            log["path length: mean"] = lengths.mean().item()
        self.descend("g", g_total)
        self.d.requires_grad_(True)

        if self.kind == "ada":
            self.adaptive.update(real_logits)
            log["ADA: probability"], log["ADA: r"] = self.adaptive.p, self.adaptive.r
        return standing(real_logits, fake_logits, self.d, self.g, d_loss, g_loss) | log

    def styles_and_noise(self, n: int) -> tuple[Tensor, list[Tensor]]:
        """For n images, a share of which has two styles, with the crossover anywhere."""
        w, other = (self.g.styles(self.g.draw_z(n, self.random)) for _ in range(2))
        layers = self.g.synthesis.layers
        crossover = minigen.randint(1, layers, n, generator=self.random).numpy()
        mixed = minigen.rand(n, generator=self.random).numpy() < MIXED
        return mix(w, other, np.where(mixed, crossover, layers)), self.g.synthesis.draw_noise(n, self.random)

    def augmented(self, x: Tensor) -> Tensor:
        probability = {"none": 0.0, "diffaugment": 1.0, "ada": self.adaptive.p}[self.kind]
        return augment(x, self.random, probability)

    def sample(self, n: int, random: Generator) -> np.ndarray:
        return to_uint8(
            in_batches(lambda z: self.g(z, random), self.g.draw_z(n, random).numpy(), self.g.synthesis.bias.device)
        )


class PlainGAN(Game):
    """DCGAN, with batch norm in both networks, as in examples/dcgan.py."""

    def __init__(self, args: argparse.Namespace, images: np.ndarray, random: Generator):
        self.random, shape = random, images.shape[1:]
        levels = max(1, len(resolutions(shape, smallest=4)) - 1)  # down to maps as small as StyleGAN's D has
        settings: dict[str, Any] = dict(channels=DCGAN_CHANNELS, levels=levels)
        g, d = DCGANGenerator(shape, DCGAN_LATENT, **settings), DCGANDiscriminator(shape, **settings)
        small_weights_(g)
        small_weights_(d)
        super().__init__(args, images, g, d, dcgan_steps(args.steps), dict(lr=DCGAN_LEARNING_RATE, betas=(0.5, 0.99)))

    def train_step(self, step: int) -> dict[str, float]:
        """One step, or two: what there is to log of the last."""
        for _ in range(dcgan_steps(step + 1) - dcgan_steps(step)):
            real = Tensor(to_float(next(self.batches)))
            fake = self.g(self.g.noise(len(real), self.random))
            real_logits, fake_logits = self.d(real), self.d(fake.detach())
            d_loss = minimax_discriminator(real_logits, fake_logits)
            self.descend("d", d_loss)
            self.d.requires_grad_(False)
            g_loss = non_saturating_generator(self.d(fake))
            self.descend("g", g_loss)
            self.d.requires_grad_(True)
        return standing(real_logits, fake_logits, self.d, self.g, d_loss, g_loss)

    def sample(self, n: int, random: Generator) -> np.ndarray:
        self.g.eval()
        return to_uint8(in_batches(self.g, self.g.noise(n, random).numpy(), self.g.first.weight.device))


def dcgan_steps(steps: int) -> int:
    """How many DCGAN makes while StyleGAN makes its first `steps`: two for the very first."""
    of_dcgan, of_stylegan = DCGAN_STEPS
    return (of_dcgan * steps + 1) // of_stylegan


def train(args: argparse.Namespace, images: np.ndarray) -> tuple[Run, StyleGAN, PlainGAN]:
    """Both by turns, so that whatever else the machine does hits both alike."""
    random = minigen.manual_seed(args.seed)
    games: dict[str, Any] = {"StyleGAN": StyleGAN(args, images, random), "DCGAN": PlainGAN(args, images, random)}
    run = Run(args, PICTURES, **games, generator=random)
    for step in run.steps():
        for name, game in games.items():
            started = time.perf_counter()
            log = game.train_step(step)
            game.seconds += time.perf_counter() - started
            run.log(**{f"{name}'s {key}": value for key, value in log.items()})
    return run, games["StyleGAN"], games["DCGAN"]


def pictures_to_project(path: Path | None, test: np.ndarray) -> np.ndarray:
    """That of --project, scaled to the size of the others, or else the first eight held-out images."""
    if path is None:
        return test[:8]
    from PIL import Image

    height, width, channels = test.shape[1:]
    try:
        with Image.open(path) as picture:
            resized = picture.convert("RGB" if channels == 3 else "L").resize((width, height))
    except OSError as error:
        sys.exit(f"--project: {error}")
    return np.asarray(resized).reshape(1, height, width, channels)


def truncated(g: StyleGenerator, n: int, random: Generator, centres: int) -> dict[float, np.ndarray]:
    """n images of the same z and noise for each of PSI, w pulled towards the nearest of that many centres."""
    from scipy.cluster.vq import kmeans2

    middles, _ = kmeans2(g.draw_styles(W_DRAWN, random).numpy()[:, 0], centres, minit="++", seed=0)
    w, noise = g.draw_styles(n, random), g.synthesis.draw_noise(1, random)
    return {psi: g.paint(truncate(w, middles, psi), noise) for psi in PSI}


def main() -> None:
    parser = arguments("stylegan", __doc__.split("\n")[0], steps=3100, batch=32, samples=2000, data="shapes")
    parser.add_argument("--augment", choices=["none", "diffaugment", "ada"], default="none", help="what D sees")
    parser.add_argument("--project", type=Path, help="a picture to find the w of; else eight held-out images")
    args = parser.parse_args()
    project_path = vars(args).pop("project")  # no setting of the run
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    pictures = pictures_to_project(project_path, test.images)
    features = Features(data)
    run, stylegan, dcgan = train(args, training.images)

    random, g = Generator(args.seed + FOR_FIGURES), stylegan.g
    with stylegan.ema.applied(), dcgan.ema.applied():
        samples = {"StyleGAN": stylegan.sample(args.samples, random), "DCGAN": dcgan.sample(args.samples, random)}
        by_psi = {centres: truncated(g, args.samples, random, centres) for centres in (CENTRES, 1)}
        a, b, between = crossed(g, PAIRS, random)
        read, mixing = features.attributes, {}
        if len(of_a := read(a)) > 1:  # one for each side at least
            mixing = transfer(of_a, read(b), {c: read(x) for c, x in between.items()})
        table = mixing_table(g, mixing.get("crossover") or g.synthesis.layers // 2, random)
        target = Tensor(to_float(pictures)).to(args.device)
        w, noise = project(g, target, random, PROJECTION_STEPS, progress=partial(tqdm, unit="step", desc="projecting"))
        with minigen.no_grad():
            found = to_uint8(g.synthesis(w, noise).numpy())

    shown = min(40, args.samples, len(test))
    rows = {"real": test.images, **samples}
    run.write_samples(samples["StyleGAN"], {name: x[:shown] for name, x in rows.items()})
    save_rows(table, run.folder / "mixing.png")
    save_rows({f"psi = {psi:g}": x[:10] for psi, x in by_psi[CENTRES].items()}, run.folder / "truncation.png")
    save_rows({"picture": pictures, "found": found}, run.folder / "projection.png")

    n, real = min(args.samples, len(test)), features(training.images)
    floor, made = features(test.images[:n]), {name: features(x) for name, x in samples.items()}
    scores = {name: compare(real, x[:n], floor) for name, x in made.items()}
    seconds = {"StyleGAN": stylegan.seconds, "DCGAN": dcgan.seconds}
    for name, score in scores.items():
        print(f"{name}, trained for {seconds[name]:.0f} s\n{comparison_table(score)}")
    truncation = {centres: quality(features, real, images) for centres, images in by_psi.items()}
    said = {name: judge(run, name, real, x) for name, x in made.items()}
    print(*[f"{name}: {sentence}" for name, sentences in said.items() for sentence in sentences], sep="\n")
    closest = nearest(samples["StyleGAN"], pictures)
    projected = {"projected": psnr(found, pictures), "nearest_sample": psnr(closest, pictures)}
    run.write_metrics(
        {
            **{f"{name}_seconds": value for name, value in seconds.items()},
            **scores,
            "truncation": {
                f"centres {centres}": {f"psi {psi:g}": {"precision": p, "recall": r} for psi, (p, r) in of.items()}
                for centres, of in truncation.items()
            },
            "mixing": mixing,
            "psnr": projected,
            "diagnosis": said,
        }
    )
    report(figures(seconds, scores, truncation[CENTRES], mixing, projected), args.check)


def quality(features: Features, real: np.ndarray, by_psi: dict[float, np.ndarray]) -> dict[float, tuple[float, float]]:
    """psi -> precision and recall; nothing of so few images that they cannot be told."""
    return {psi: precision_recall(real, features(x)) for psi, x in by_psi.items() if len(x) > 3}


def nearest(samples: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """For each picture the sample that differs least from it."""
    made = samples.astype(np.float32)
    return np.stack([made[((made - picture) ** 2).sum((1, 2, 3)).argmin()] for picture in pictures]).astype(np.uint8)


def judge(run: Run, name: str, real: np.ndarray, fake: np.ndarray) -> list[str]:
    """What the curves of one of the two games say, and the variety of its images' features."""
    own = f"{name}'s "
    curves = {key.removeprefix(own): points for key, points in run.curves.items() if key.startswith(own)}
    varied = diversity(real, fake) if len(fake) > 1 else None
    return diagnose(curves, diversity=varied) or BALANCED


def figures(seconds: dict, scores: dict, truncation: dict, mixing: dict, projected: dict) -> list[tuple]:
    """The lines of `report`."""
    ours, theirs = scores["StyleGAN"], scores["DCGAN"]
    beside = f"DCGAN's; real images: {ours['floor_frechet']:.3g}"
    lines: list[tuple] = [
        ("DCGAN's seconds of training", seconds["DCGAN"], ">=", seconds["StyleGAN"], "StyleGAN's"),
        ("Frechet distance", ours["frechet"], "<=", theirs["frechet"], beside),
    ]
    for above, below in itertools.pairwise(truncation):
        (p, r), (tighter_p, tighter_r) = truncation[above], truncation[below]
        lines.append((f"precision at psi = {below:g}", tighter_p, ">=", p, f"at psi = {above:g}"))
        lines.append((f"recall at psi = {below:g}", tighter_r, "<=", r, f"at psi = {above:g}"))
    if mixing:
        each = [f"{name} ({mixing['belongs_to'][name]}) {share:.2f}" for name, share in mixing["by_attribute"].items()]
        told = f"of images with the value of either parent: {mixing['of_either']:.2f}; {', '.join(each)}"
        lines.append(("attributes that go with their layers", mixing["transferred"], ">=", 0.8, told))
    psnr_of_nearest = projected["nearest_sample"]
    lines.append(("PSNR of projected pictures, dB", projected["projected"], ">=", psnr_of_nearest, "nearest sample's"))
    return lines


if __name__ == "__main__":
    run_main(main)
