"""The kernels under the roof of the machine they ran on (Williams et al. 2009, "Roofline").

A kernel that does i operations for each byte it moves cannot do more of them in a second than i times the bytes that
memory delivers, nor more than the arithmetic units can: a slope, and a flat roof.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kernels.benchmark.table import Result
from kernels.benchmark.timing import Machine

COLOURS = {
    "matrix product": "#444444",
    "convolution": "#1f6fb4",
    "modulation": "#1f9aa8",
    "attention": "#2a9d5c",
    "norm": "#d9822b",
    "noise": "#8e5bb5",
    "optimiser": "#c23b4b",
    "elementwise": "#8a8a3c",
}

LOW, HIGH = 0.06, 1200.0  # operations for a byte, in the picture

LABELS = {
    "add 32x32x32x64": "add",
    "Adam, 10 M parameters": "Adam",
    "DDIM step with guidance 128x32x32x3": "DDIM step",
    "group norm + SiLU 32x32x32x64, +backward": "group norm + SiLU",
    "matmul 64x256x256": "small product",
    "attention 2x1024x8x64, +backward": "attention",
    "3x3 32x8x8x256 -> 256": "3x3 of 256 channels",
    "3x3 32x32x32x3 -> 64": "3x3 from 3 channels",
}


def draw(path: Path, results: list[Result], machine: Machine) -> None:
    """A picture of the rows of kernels: ours filled, the peer hollow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [r for r in results if r.flops and r.moved and r.kind in COLOURS]
    figure, axes = plt.subplots(figsize=(10.5, 6.2))
    bottom, top = draw_roofs(axes, machine)
    for kind, colour in COLOURS.items():
        chosen = [r for r in rows if r.kind == kind]
        if not chosen:
            continue
        intensity = np.array([r.flops / r.moved for r in chosen])
        ours = np.array([r.flops / r.ours / 1e9 for r in chosen])
        axes.scatter(intensity, ours, s=42, color=colour, label=kind, zorder=3)
        for r, i, rate in zip(chosen, intensity, ours):
            if r.name in LABELS:
                write(axes, LABELS[r.name], i, rate, (7, -3), color=colour)
            if r.peer:
                theirs = r.flops / r.peer / 1e9
                axes.plot([i, i], [theirs, rate], color=colour, lw=0.8, alpha=0.6, zorder=2)
                axes.scatter([i], [theirs], s=26, facecolor="white", edgecolor=colour, lw=1.0, zorder=2)
    axes.scatter([], [], s=26, facecolor="white", edgecolor="black", label="the fastest peer")
    axes.set(xscale="log", yscale="log", xlim=(LOW, HIGH), ylim=(bottom, top))
    axes.set_xlabel("operations for each byte that must be moved (FLOP/byte)")
    axes.set_ylabel("operations in a second (GFLOP/s)")
    axes.set_title("Each kernel under the roof; the line leads to the fastest peer")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_roofs(axes: Any, machine: Machine) -> tuple[float, float]:
    """The slopes of the caches and the memory, and a flat roof for each kind of numbers; gives the lowest and the
    highest rate that the picture needs."""
    exact, fastest = machine.gflops["float32"], max(machine.gflops.values())
    on_cpu = len(machine.gflops) == 1
    memory = machine.gbytes[max(machine.gbytes)]
    highest = 4 * exact if on_cpu else fastest
    bottom, top = 0.6 * memory * LOW, 1.8 * highest
    intensities, angle = np.geomspace(LOW, HIGH, 400), slope_angle(top / bottom)
    places = {min(machine.gbytes): ("-", "the cores' caches")} if on_cpu else {}
    for size, (style, place) in (places | {max(machine.gbytes): ("--", "memory")}).items():
        rate, at = machine.gbytes[size], LOW * 1.15
        axes.plot(intensities, np.minimum(fastest, rate * intensities), style, color="black", lw=1.4, zorder=1)
        write(axes, f"{place}: {rate:.0f} GB/s", at, rate * at, (0, 5), rotation=angle, rotation_mode="anchor")
    for numbers, gflops in machine.gflops.items():
        start = gflops / machine.gbytes[min(machine.gbytes)]  # where the slope meets this roof
        axes.plot([start, HIGH], [gflops] * 2, "-", color="black", lw=1.4, zorder=1)
        what = "arithmetic" if on_cpu else numbers
        write(axes, f"{what}: {gflops:.0f} GFLOP/s", start, gflops, (4, 5))
    if on_cpu:
        axes.plot([35, HIGH], [highest] * 2, ":", color="black", lw=1.4)
        write(axes, "the same, with a quarter of the multiplications", 35, highest, (0, 5))
    return bottom, top


def write(axes: Any, text: str, x: float, y: float, shift: tuple[int, int], **settings: Any) -> None:
    axes.annotate(text, (x, y), shift, textcoords="offset points", fontsize=9, **settings)


def slope_angle(span: float) -> float:
    """Degrees at which a line of slope 1 lies on paper, where the rates' axis goes from 1 to `span`."""
    return float(np.degrees(np.arctan2(5.2 / np.log10(span), 9.6 / np.log10(HIGH / LOW))))
