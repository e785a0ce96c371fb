"""A Wasserstein GAN with gradient penalty (Gulrajani et al. 2017) of handwritten digits, whose loss means something.

    python examples/wgan_gp.py                    # trains, then writes new digits to runs/wgan_gp/samples.png
    python examples/wgan_gp.py --data FOLDER      # on images of your own

The whole algorithm: a critic C gives real images high numbers and G's low ones, as far apart as it can with slopes of
length 1; what it achieves is the Wasserstein distance between the two distributions (Arjovsky et al. 2017, eq. 2),

    W = max_C  E[C(x)] - E[C(G(z))],    |grad C| = 1 between x and G(z), by a penalty of 20 (|grad C| - 1)^2

G descends on it. Each step of G comes after several of C, so that C is close to that maximum. That is why, unlike the
loss of a classical GAN, this one goes down as the images become better: the run measures the distance of G's
images from the real ones by other means (KID, on the features of a classifier) at points along the way, which are
closer together where things change fast, and compares the order that both put them in. See tracking.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, descend, has_classes, in_batches, load_data, split_for_distances
from run import Run, report, run_main

import minigen
from minigen import Tensor, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.gans import (
    BALANCED,
    DCGANDiscriminator,
    DCGANGenerator,
    diagnose,
    diversity,
    gradient_penalty,
    standing,
    wasserstein_critic,
    wasserstein_generator,
)
from minigen.metrics import Features, class_histogram_kl, compare, comparison_table, kernel_distance, share_read
from minigen.random import Generator, rand, randn

LATENT, CHANNELS = 64, 32
CRITIC_STEPS, WARM_UP = 3, 100  # of C for each step of G; and before the first
PENALTY = 20.0  # 10 in the paper; slopes go beyond 1 by what W gains from it, the less the heavier the penalty is
RATES = {"generator": 1e-3, "critic": 2e-3}
POINTS, FIRST_POINT = 25, 10  # steps at which KID is measured; the first of them
WINDOW = 20  # steps before each over which the critic's estimate is averaged
MEASURED = 1000  # images


def train(args: argparse.Namespace, images: np.ndarray, kid: Callable) -> tuple[Run, DCGANGenerator, Any, optim.EMA]:
    noise = minigen.manual_seed(args.seed)
    generator = DCGANGenerator(images.shape[1:], LATENT, CHANNELS, middle=1)
    critic = DCGANDiscriminator(images.shape[1:], CHANNELS, norm=None, middle=1)  # batch norm would mix the slopes
    generator.to(args.device)
    critic.to(args.device)
    ema = optim.EMA(generator, decay=0.99)
    descent = optim.Adam(generator.parameters(), RATES["generator"], betas=(0.5, 0.9), ema=ema)
    ascent = optim.Adam(critic.parameters(), RATES["critic"], betas=(0.5, 0.9))
    schedules = [optim.CosineLR(optimizer, args.steps) for optimizer in (descent, ascent)]
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        ("tracking.png",),
        generator=generator,
        critic=critic,
        ema=ema,
        descent=descent,
        ascent=ascent,
        descent_schedule=schedules[0],
        ascent_schedule=schedules[1],
        batches=batches,
        noise=noise,
    )
    points = measured_at(args.steps)
    for step in run.steps():
        critic.requires_grad_(True)
        distances = []
        for _ in range(CRITIC_STEPS if step else WARM_UP):
            x = Tensor(to_float(next(batches)))
            with minigen.no_grad():
                y = generator(generator.noise(len(x)))
            real, fake = critic(x), critic(y)
            c_loss = wasserstein_critic(real, fake)
            penalty, norms = gradient_penalty(critic, x, y, rand(len(x), 1, 1, 1, device=args.device))
            descend(ascent, c_loss + PENALTY * penalty)
            distances.append(-c_loss.item())

        critic.requires_grad_(False)
        g_loss = wasserstein_generator(critic(generator(generator.noise(args.batch))))
        descend(descent, g_loss)
        for schedule in schedules:
            schedule.step()

        halfway = float(real.mean().item() + fake.mean().item()) / 2  # C's numbers have no zero of their own
        run.log(
            **{"Wasserstein distance": float(np.mean(distances[-CRITIC_STEPS:])), "slope of C": norms.mean().item()}
        )
        run.log(**standing(real, fake, critic, generator, c_loss, g_loss, boundary=halfway))
        if step + 1 in points:
            run.log(KID=kid(generator))
    return run, generator, critic, ema


def measured_at(steps: int) -> set[int]:
    """The numbers of the steps after which KID is measured: evenly spread on a logarithmic scale."""
    first = min(FIRST_POINT, steps)
    return set(np.geomspace(first, steps, POINTS).round().astype(int).tolist())


def draw(generator: DCGANGenerator, z: Tensor) -> np.ndarray:
    """The images of z, uint8, with the generator's running statistics."""
    generator.eval()
    images = to_uint8(in_batches(generator, z.numpy(), generator.first.weight.device))
    generator.train()
    return images


def tracked(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, KIDs, and the means of the critic's estimates over the WINDOW steps before each."""
    steps, kids = np.array(run.curves["KID"]).T
    estimates = np.array(run.curves["Wasserstein distance"])[:, 1]
    means = [estimates[max(0, int(s) + 1 - WINDOW) : int(s) + 1].mean() for s in steps]
    return steps + 1, kids, np.array(means)


def save_tracking(steps: np.ndarray, kids: np.ndarray, distances: np.ndarray, rank: float, path: Any) -> None:
    """Both over the steps, and one over the other."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    over_time, against = figure.subplots(1, 2)
    over_time.plot(steps, distances, "o-", color="C0", label="Wasserstein distance (left)")
    over_time.plot([], [], "s-", color="C1", label="KID (right)")
    over_time.set(xscale="log", yscale="log", xlabel="step", ylabel="the critic's Wasserstein distance")
    over_time.legend(loc="upper right")
    right = over_time.twinx()
    right.plot(steps, kids, "s-", color="C1")
    right.set(yscale="log", ylabel="KID")
    against.scatter(distances, kids, c=np.log(steps))
    against.set(xscale="log", yscale="log", xlabel="the critic's Wasserstein distance", ylabel="KID")
    against.set_title(f"rank correlation {rank:.2f} (bright: late)")
    against.grid(alpha=0.3, which="both")
    for axis in (over_time.yaxis, against.xaxis):
        axis.set_minor_formatter(NullFormatter())  # its labels would lie upon each other
    figure.savefig(path, dpi=120)


def slopes(critic: DCGANDiscriminator, real: np.ndarray, fake: np.ndarray, seed: int, device: str) -> np.ndarray:
    """|grad C| (N,) between real and fake images, uint8, at places that are drawn anew."""
    noise, found = Generator(FOR_FIGURES + seed), []
    for i in range(0, len(real), 250):
        x, y = (Tensor(to_float(images[i : i + 250])).to(device) for images in (real, fake))
        share = rand(len(x), 1, 1, 1, generator=noise, device=device)
        found.append(gradient_penalty(critic, x, y, share)[1].numpy())
    return np.concatenate(found)


def main() -> None:
    from scipy.stats import spearmanr

    args = arguments("wgan_gp", __doc__.split("\n")[0], steps=1100, batch=64, samples=1000).parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    features = Features(data)
    real = features(training.images)
    z = randn(MEASURED, LATENT, generator=Generator(FOR_FIGURES + args.seed))
    run, generator, critic, ema = train(args, training.images, lambda g: kernel_distance(real, features(draw(g, z)))[0])

    steps, kids, distances = tracked(run)
    rank, later = (float(spearmanr(distances[i:], kids[i:]).statistic) for i in (0, len(steps) // 2))
    save_tracking(steps, kids, distances, rank, run.folder / "tracking.png")
    made = draw(generator, z)[: len(test.images)]
    slope = float(slopes(critic, test.images[: len(made)], made, args.seed, args.device).mean())

    with ema.applied():
        images = draw(generator, randn(args.samples, LATENT, generator=Generator(FOR_FIGURES + args.seed)))
    run.write_samples(images)
    n = min(len(images), len(test.images))
    quality = compare(real, features(images[:n]), features(test.images[:n]))
    print(comparison_table(quality))
    varied = None
    if len(images) > 1:
        varied = diversity(test.images.reshape(len(test), -1), images.reshape(len(images), -1))
    said = diagnose(run.curves, diversity=varied) or BALANCED
    print("\n".join(said))
    ranks = {"rank_correlation": rank, "rank_correlation_of_later_half": later}
    metrics: dict[str, Any] = {**ranks, "slope": slope, "diversity": varied, "diagnosis": said}
    if has_classes(data.labels):
        for name, x in (("", images), ("floor_", test.images)):
            metrics[f"{name}class_histogram_kl"] = class_histogram_kl(features.read(x), training.labels)
            metrics[f"{name}confidently_read"] = share_read(features.probabilities(x))
        print("class histogram KL {class_histogram_kl:.3g}, confidently read {confidently_read:.3g}".format(**metrics))
    run.write_metrics({**quality, **metrics, "kid_at": dict(zip(map(int, steps), kids.tolist(), strict=True))})
    first = f"KID fell from {kids[0]:.3g} to {kids[-1]:.3g}, W from {distances[0]:.3g} to {distances[-1]:.3g}"
    report(
        [
            ("rank correlation of the critic's estimate with KID", rank, ">=", 0.7, first),
            ("mean slope of C between images, away from 1 by", abs(slope - 1), "<=", 0.1, f"the slope is {slope:.4g}"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
