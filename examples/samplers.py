"""Quality against the number of network evaluations: every sampler, on one diffusion model of digits.

    python examples/samplers.py                    # takes over the network of runs/ddpm, or trains it
    python examples/samplers.py --trained ""       # trains it in any case

The network is that of ddpm.py. Sampling is solving an equation step by step, and each step asks the network: so the
samplers are compared at equal numbers of evaluations. Heun's method asks twice a step, PNDM thirteen times in its first
three; where a number is too small for a method, it has no entry. All visit the same noise levels (Karras et al. 2022),
where DDIM is Euler's method; ddpm and ddim also those of evenly spread timesteps. Each makes the same number of digits
from the same noise; their Frechet distance to the digits that were learned from is in the table, and in samplers.png.

At the end unseen digits are turned into noise by DDIM backwards, and made again from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import draw_in_batches, frechet, load_data, split_for_distances
from ddpm import arguments_with_network, train
from run import report, run_main
from tqdm import tqdm

from minigen import Tensor
from minigen.data import to_float, to_uint8
from minigen.diffusion import Denoiser, Diffusion, denoise, evaluations, invert, sample
from minigen.metrics import Features, psnr
from minigen.viz import save_curves

WAYS = {  # of the table: method and spacing of the levels
    "ddpm": ("ddpm", "karras"),
    "ddim": ("ddim", "karras"),
    "heun": ("heun", "karras"),
    "dpm++2m": ("dpm++2m", "karras"),
    "pndm": ("pndm", "karras"),
    "ddpm, even": ("ddpm", "uniform"),
    "ddim, even": ("ddim", "uniform"),
}
BUDGETS = (5, 10, 20, 50)
BATCH = 100
INVERSION_STEPS, INVERTED = 100, 100


def steps_within(method: str, budget: int) -> int | None:
    """The most steps that take no more than so many evaluations; None if there are none."""
    fitting = [n for n in range(4 if method == "pndm" else 1, budget + 1) if evaluations(method, n) <= budget]
    return fitting[-1] if fitting else None


def make(
    diffusion: Diffusion, denoiser: Denoiser, way: tuple[str, str], steps: int, shape: tuple[int, ...], seed: int
) -> np.ndarray:
    """Samples 0 to N of the seed, uint8 in shape (N, H, W, C)."""
    method, spacing = way
    timetable = diffusion.timetable(steps, spacing)

    def some(first: int, count: int) -> Tensor:
        return sample(denoiser, (count, *shape[1:]), timetable, method, seed, first_sample=first)

    return draw_in_batches(some, shape[0], BATCH, show=False)


def compare_samplers(
    diffusion: Diffusion, denoiser: Denoiser, features: Features, real: np.ndarray, shape: tuple[int, ...], seed: int
) -> tuple[dict[str, dict[int, float]], dict[str, np.ndarray]]:
    """The Frechet distance of each way within each budget, and the images of the third budget."""
    tasks = [(name, b, n) for name, (m, _) in WAYS.items() for b in BUDGETS if (n := steps_within(m, b)) is not None]
    found: dict[str, dict[int, float]] = {name: {} for name in WAYS}
    made = {}
    total = sum(evaluations(WAYS[name][0], n) for name, _, n in tasks)
    with tqdm(total=total, unit="evaluation", desc="sampling") as bar:
        for name, budget, steps in tasks:
            bar.set_postfix_str(f"{name}, {budget}")
            images = make(diffusion, denoiser, WAYS[name], steps, shape, seed)
            found[name][budget] = frechet(real, features(images))
            if budget == BUDGETS[-2]:
                made[name] = images
            bar.update(evaluations(WAYS[name][0], steps))
    return found, made


def table(found: dict[str, dict[int, float]], floor: float) -> str:
    lines = [f"{'evaluations':>12}" + "".join(f"{b:>8}" for b in BUDGETS)]
    for name, row in found.items():
        cells = (f"{row[b]:>8.3g}" if b in row else f"{'-':>8}" for b in BUDGETS)
        lines.append(f"{name:>12}" + "".join(cells))
    return "\n".join([*lines, f"{'real images':>12}{floor:>8.3g}"])


def main() -> None:
    args = arguments_with_network("samplers", __doc__.split("\n")[0], samples=500).parse_args()
    data = load_data(args, multiple_of=4)
    training, test = split_for_distances(args, data)
    run, network, diffusion, ema = train(args, training.images, ("samplers.png",), args.trained)
    print(f"Ten steps of DDIM:\n{diffusion.timetable(10)}")
    features, shape = Features(data), (min(args.samples, len(test)), *data.images.shape[1:])
    real = features(training.images)
    floor = frechet(real, features(test.images[: shape[0]]))
    x = Tensor(to_float(test.images[:INVERTED])).to(args.device)
    with ema.applied():
        denoiser = diffusion.denoiser(network)
        found, made = compare_samplers(diffusion, denoiser, features, real, shape, args.seed)
        timetable = diffusion.timetable(INVERSION_STEPS)
        noise = invert(denoiser, x, timetable, lambda steps: tqdm(steps, desc="inverting"))
        again = to_uint8(denoise(denoiser, noise, timetable, "ddim").numpy())

    print(f"Frechet distance:\n{table(found, floor)}")
    curves = {name: tuple(zip(*sorted(row.items()), strict=True)) for name, row in found.items() if row}
    save_curves(curves, run.folder / "samplers.png", f"Frechet distance (real: {floor:.2g})", "network evaluations")
    rows = {**made, "unseen": test.images[:INVERTED], "inverted": again}
    images = np.concatenate(list(made.values()))
    shown = min(16, *map(len, rows.values()))
    run.write_samples(images, {name: x[:shown] for name, x in rows.items()}, way=np.repeat(list(made), shape[0]))
    reconstruction = psnr(again, test.images[:INVERTED])
    metrics: dict[str, Any] = {"frechet": found, "floor": floor, "inversion_psnr": reconstruction}
    run.write_metrics(metrics)

    figures = []
    for budget in (10, 20):
        at = {name: row[budget] for name, row in found.items() if budget in row}
        better = min(at["heun"], at["dpm++2m"])
        even = "DDPM: {ddpm:.3g}; on even levels DDPM {ddpm, even:.3g}, DDIM {ddim, even:.3g}".format(**at)
        both = "Heun: {heun:.3g}, DPM-Solver++: {dpm++2m:.3g}".format(**at)
        figures += [
            (f"Frechet distance of DDIM, {budget} evaluations", at["ddim"], "<=", at["ddpm"], even),
            (f"the better of Heun and DPM-Solver++, {budget} evaluations", better, "<=", at["ddim"], both),
        ]
    figures.append(("DDIM there and back, dB", reconstruction, ">=", 30.0, f"{INVERSION_STEPS} steps each way"))
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
