"""The game between a generator and a discriminator (Goodfellow et al. 2014), with points in the plane.

    python examples/gan.py                      # on a ring of 8 Gaussians and a grid of 25: runs/gan/game.gif
    python examples/gan.py --naive              # without most of the cures below: watch it collapse
    python examples/gan.py --loss saturating    # without the first of them
    python examples/gan.py --data ring          # one game

The whole algorithm: by turns, D takes a step to tell real points from G's better, and G one to be taken for real,

    min_G max_D V,    V = E[log D(x)] + E[log(1 - D(G(z)))]

Where neither can do better, G's points are distributed as the real ones are, D says 1/2 everywhere, and V = -2 log 2
(theorem 1 there). What it takes to come near that is more than the equation:

    the non-saturating loss    G ascends E[log D(G(z))] instead: log(1 - D(G(z))) is flat where D is sure of a fake
    Adam without momentum      beta1 = 0: who goes on where it was going overshoots a target that moves, and the two
                               chase each other from mode to mode (Gidel et al. 2019)
    a penalty on D's slope     R1 = E[|grad of D's logit at x|^2] / 2 at real points x, so that D levels out as G comes
                               near (Mescheder et al. 2018)
    smaller steps at the end   near the equilibrium gradients vanish, and Adam, who divides by their size, would go on
                               with steps as long as ever, into the noise, until the game tips over
    an average of G            of its weights over the last steps, since the game goes round and round its equilibrium

With --naive the last four are off, and the same figures say what happens.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, descend, in_batches, use_device
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, nn, optim
from minigen.gans import (
    BALANCED,
    diagnose,
    minimax_discriminator,
    non_saturating_generator,
    r1_penalty,
    saturating_generator,
    standing,
)
from minigen.random import Generator, randint, randn
from minigen.viz import save_gif, save_images

SIGMA = 0.05  # of each Gaussian
TURN = 2 * np.pi * np.arange(8) / 8
CENTRES = {
    "ring": 2 * np.stack([np.cos(TURN), np.sin(TURN)], 1),
    "grid": np.mgrid[-2:3, -2:3].reshape(2, -1).T.astype(np.float64),
}
LATENT, WIDTH = 2, 64
R1 = 0.1  # the penalty's weight
LOSSES = {"saturating": saturating_generator, "non-saturating": non_saturating_generator}
EQUILIBRIUM = -2 * np.log(2)  # the game's value there
FRAMES, POINTS, FIELD, EXTENT = 18, 500, 81, 2.7  # of the film: D on FIELD x FIELD places up to EXTENT from the middle


class Game:
    """G and D, and the real points (N, 2) that the one imitates and the other knows."""

    def __init__(self, centres: np.ndarray, args: argparse.Namespace):
        self.args, self.centres = args, Tensor(centres.astype(np.float32)).to(args.device)
        self.G, self.D = mlp(LATENT, 2, nn.Tanh).to(args.device), mlp(2, 1, nn.ReLU).to(args.device)
        self.ema = optim.EMA(self.G, 0.0 if args.naive else 0.995)
        betas = (0.9, 0.999) if args.naive else (0.0, 0.99)
        self.g_optimizer = optim.Adam(self.G.parameters(), lr=2e-3, betas=betas, ema=self.ema)
        self.d_optimizer = optim.Adam(self.D.parameters(), lr=2e-3, betas=betas)
        last = 1.0 if args.naive else 0.05  # of the first learning rate
        self.g_schedule = optim.CosineLR(self.g_optimizer, args.steps, final=last)
        self.d_schedule = optim.CosineLR(self.d_optimizer, args.steps, final=last)

    def parts(self) -> dict[str, Any]:
        """What has a state."""
        return {key: value for key, value in vars(self).items() if key not in ("args", "centres")}

    def real(self, n: int, generator: Generator) -> Tensor:
        mode = randint(0, len(self.centres), (n,), generator, self.args.device)
        return self.centres[mode] + SIGMA * randn(n, 2, generator=generator, device=self.args.device)

    def play(self, generator: Generator) -> dict[str, float]:
        """One step of D, one of G; gives their standing."""
        real = self.real(self.args.batch, generator)
        fake = self.G(randn(self.args.batch, LATENT, generator=generator, device=self.args.device))

        real_logits, fake_logits = self.D(real), self.D(fake.detach())
        d_loss = minimax_discriminator(real_logits, fake_logits)  # -V
        descend(self.d_optimizer, d_loss if self.args.naive else d_loss + R1 * r1_penalty(self.D, real))

        self.D.requires_grad_(False)
        g_loss = LOSSES[self.args.loss](self.D(fake))
        descend(self.g_optimizer, g_loss)
        self.D.requires_grad_(True)
        self.g_schedule.step()
        self.d_schedule.step()
        return standing(real_logits, fake_logits, self.D, self.G, d_loss, g_loss)


def mlp(inputs: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    """(N, inputs) -> (N, outputs). With Tanh, which ends flat, many latents go to one place, and few between places."""
    sizes = [inputs, WIDTH, WIDTH, WIDTH]
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


def train(args: argparse.Namespace) -> tuple[Run, dict[str, Game], Film]:
    generator = minigen.manual_seed(args.seed)
    games = {name: Game(centres, args) for name, centres in CENTRES.items() if args.data in (name, "both")}
    film = Film(args, games)
    parts = {f"{name}, {part}": value for name, game in games.items() for part, value in game.parts().items()}
    run = Run(args, pictures=("game.gif",), generator=generator, film=film, **parts)
    for step in run.steps():
        for name, game in games.items():
            run.log(**{f"{name}, {curve}": value for curve, value in game.play(generator).items()})
        film.take(step + 1)
    return run, games, film


class Film:
    """At some moments, densest at first: D at places all over the plane, and points of the averaged G."""

    def __init__(self, args: argparse.Namespace, games: dict[str, Game]):
        self.args, self.games = args, games
        self.moments = np.unique(np.ceil(args.steps * np.linspace(0, 1, FRAMES + 1)[1:] ** 2).astype(int)).tolist()
        self.latents = latents(POINTS, args)
        axis = np.linspace(-EXTENT, EXTENT, FIELD, dtype=np.float32)
        self.places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        self.fields = np.zeros((len(self.moments), len(games), FIELD, FIELD), np.float32)
        self.points = np.zeros((len(self.moments), len(games), POINTS, 2), np.float32)

    def take(self, step: int) -> None:
        if step not in self.moments:
            return
        t = self.moments.index(step)
        for i, game in enumerate(self.games.values()):
            logits = in_batches(game.D, self.places, self.args.device)
            self.fields[t, i] = 1 / (1 + np.exp(-logits.reshape(FIELD, FIELD)))
            with game.ema.applied():
                self.points[t, i] = in_batches(game.G, self.latents, self.args.device)

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"fields": self.fields, "points": self.points}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.fields, self.points = state["fields"], state["points"]

    def frames(self, curves: dict[str, list]) -> np.ndarray:
        """Pictures (T, H, W, 3), uint8: a column for each game, D and the points above, the game's value below."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

        colours = ["#4a7fc1", "#f6f6f2", "#ee9336"]
        blue_to_orange = LinearSegmentedColormap.from_list("", colours, N=15)  # few steps make a small file
        figure = Figure(figsize=(2.6 * len(self.games), 3.6), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        figure.supxlabel(
            "dark: real points; red: G's; D says real (orange), fake (blue)\nbelow: the value of the game", size=7
        )
        columns = figure.subplots(2, len(self.games), height_ratios=(4, 1), squeeze=False).T
        frames = []
        for t, moment in enumerate(tqdm(self.moments, unit="frame", desc="drawing")):
            for i, (name, (plane, chart)) in enumerate(zip(self.games, columns, strict=True)):
                plane.clear()
                extent = (-EXTENT, EXTENT, -EXTENT, EXTENT)
                plane.imshow(self.fields[t, i], blue_to_orange, vmin=0.3, vmax=0.7, extent=extent, origin="lower")
                real = self.games[name].real(POINTS, Generator(FOR_FIGURES)).numpy()
                for points, colour in ((real, "#333333"), (self.points[t, i], "#d3124f")):
                    plane.scatter(*points.T, s=3, c=colour, lw=0)
                covered, _ = coverage(self.points[t, i], CENTRES[name])
                plane.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
                plane.set_title(f"step {moment}: {covered} of {len(CENTRES[name])} modes", size=9)
                values = [-loss for _, loss in curves[f"{name}, loss: D"]]
                chart.clear()
                chart.axhline(EQUILIBRIUM, color="black", lw=0.8, ls=":")
                chart.plot(values[:moment], color="#2e7d32", lw=0.8)
                chart.set(xlim=(0, self.args.steps), ylim=(-1.5, max(-1, *values)), xticks=[0, self.args.steps])
                chart.set_yticks([EQUILIBRIUM], ["-2 log 2"], size=7)
                chart.tick_params(labelsize=7)
            canvas.draw()
            frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        return np.stack(frames)


def latents(n: int, args: argparse.Namespace) -> np.ndarray:
    return randn(n, LATENT, generator=Generator(FOR_FIGURES + args.seed)).numpy()


def coverage(points: np.ndarray, centres: np.ndarray) -> tuple[int, float]:
    """How many modes the points (N, 2) cover, and the share of points that is within 3 sigma of a mode.

    A mode is covered if it has, within 3 sigma, at least a quarter of its fair share of the points.
    """
    distances = np.linalg.norm(points[:, None] - centres, axis=2)  # (N,K)
    good = distances.min(axis=1) <= 3 * SIGMA
    at_mode = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    return int((at_mode >= len(points) / len(centres) / 4).sum()), float(good.mean())


def evaluate(args: argparse.Namespace, game: Game, centres: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """G's points (N, 2) after the game, and what they are worth beside real points that nobody has seen."""
    with game.ema.applied():
        fake = in_batches(game.G, latents(args.samples, args), args.device)
    real = game.real(args.samples, Generator(FOR_FIGURES + args.seed)).numpy()
    logits = (Tensor(in_batches(game.D, points, args.device)) for points in (real, fake))
    covered, good = coverage(fake, centres)
    return fake, {
        "modes": covered,
        "modes_of": len(centres),
        "within_3_sigma": good,
        "within_3_sigma_real": coverage(real, centres)[1],
        "value": -float(minimax_discriminator(*logits).item()),
        "value_in_equilibrium": EQUILIBRIUM,
    }


def report_lines(name: str, found: dict[str, Any], naive: bool) -> list[tuple]:
    """The figures of a game: that it went well, or with `naive` that it did not, and that this was noticed."""
    modes = f"{name}: modes covered"
    if naive:
        named = sum("mode collapse" in sentence for sentence in found["diagnosis"])
        return [
            (modes, found["modes"], "<=", found["modes_of"] - 1, f"of {found['modes_of']}"),
            (f"{name}: sentences that name the collapse", named, ">=", 1, "the cures are off"),
        ]
    real = f"real points: {found['within_3_sigma_real']:.3g}"
    off = abs(found["value"] - EQUILIBRIUM)
    return [
        (modes, found["modes"], ">=", found["modes_of"], f"of {found['modes_of']}"),
        (f"{name}: share of points within 3 sigma of a mode", found["within_3_sigma"], ">=", 0.9, real),
        (f"{name}: value of the game, away from -2 log 2 by", off, "<=", 0.1, f"value: {found['value']:.4g}"),
    ]


def main() -> None:
    parser = arguments(
        "gan", __doc__.split("\n")[0], 7000, 256, samples=10000, data="both", choices=("ring", "grid", "both")
    )
    parser.add_argument("--loss", choices=LOSSES, default="non-saturating", help="what G descends on")
    parser.add_argument("--naive", action="store_true", help="most cures off; --check then asks for the collapse")
    args = parser.parse_args()
    use_device(args)
    run, games, film = train(args)

    metrics, figures, points = {}, [], {}
    for name, game in games.items():
        points[name], metrics[name] = evaluate(args, game, CENTRES[name])
        curves = {key.removeprefix(f"{name}, "): curve for key, curve in run.curves.items() if key.startswith(name)}
        sentences = diagnose(curves, (metrics[name]["modes"], len(CENTRES[name])))
        metrics[name]["diagnosis"] = sentences or BALANCED
        print(f"{name}: " + "\n    ".join(metrics[name]["diagnosis"]))
        figures += report_lines(name, metrics[name], args.naive)
    frames = film.frames(run.curves)
    run.write_samples(frames, None, **points)
    shown = np.linspace(0, len(frames) - 1, 6).astype(int)
    save_images(frames[shown], run.folder / "samples.png", columns=3, scale=1)
    save_gif(np.concatenate([frames, frames[-1:].repeat(8, 0)]), run.folder / "game.gif", duration=0.2)  # stays a while
    run.write_metrics(metrics)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
