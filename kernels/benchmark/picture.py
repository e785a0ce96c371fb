"""The kernels under the roof of the machine they ran on (Williams et al. 2009, "Roofline").

A kernel that does i operations for each byte it moves cannot do more of them in a second than i times the bytes that
memory delivers, nor more than the arithmetic units can: a slope, and a flat roof.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kernels.benchmark.table import Result
from kernels.benchmark.timing import Machine

COLOURS = {
    "matrix product": "#444444",
    "convolution": "#1f6fb4",
    "attention": "#2a9d5c",
    "norm": "#d9822b",
    "noise": "#8e5bb5",
    "optimiser": "#c23b4b",
    "elementwise": "#8a8a3c",
}


def draw(path: Path, results: list[Result], machine: Machine) -> None:
    """A picture of the rows of kernels: ours filled, the peer hollow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [r for r in results if r.flops and r.moved and r.kind in COLOURS]
    figure, axes = plt.subplots(figsize=(10.5, 6.2))
    low, high = 0.06, 1200.0
    intensities = np.geomspace(low, high, 400)
    cache, memory = min(machine.gbytes), max(machine.gbytes)
    for size, style, place in ((cache, "-", "the cores' caches"), (memory, "--", "memory")):
        rate = machine.gbytes[size]
        axes.plot(intensities, np.minimum(machine.gflops, rate * intensities), style, color="black", lw=1.4, zorder=1)
        at = low * 1.15
        axes.annotate(f"{place}: {rate:.0f} GB/s", (at, rate * at), (0, 5), textcoords="offset points",
                      rotation=slope_angle(), rotation_mode="anchor", fontsize=9)  # fmt: skip
    axes.annotate(f"arithmetic: {machine.gflops:.0f} GFLOP/s", (high, machine.gflops), (-4, 5), ha="right",
                  textcoords="offset points", fontsize=9)  # fmt: skip
    for kind, colour in COLOURS.items():
        chosen = [r for r in rows if r.kind == kind]
        if not chosen:
            continue
        intensity = np.array([r.flops / r.moved for r in chosen])
        ours = np.array([r.flops / r.ours / 1e9 for r in chosen])
        axes.scatter(intensity, ours, s=42, color=colour, label=kind, zorder=3)
        for r, i, rate in zip(chosen, intensity, ours):
            if r.peer:
                theirs = r.flops / r.peer / 1e9
                axes.plot([i, i], [theirs, rate], color=colour, lw=0.8, alpha=0.6, zorder=2)
                axes.scatter([i], [theirs], s=26, facecolor="white", edgecolor=colour, lw=1.0, zorder=2)
    axes.scatter([], [], s=26, facecolor="white", edgecolor="black", label="the fastest peer")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(1.5, 1500))
    axes.set_xlabel("operations for each byte that must be moved (FLOP/byte)")
    axes.set_ylabel("operations in a second (GFLOP/s)")
    axes.set_title("Each kernel under the roof. Above it: Winograd, which gets by on a quarter of the operations")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def slope_angle() -> float:
    """Degrees at which a line of slope 1 lies on paper, for the axes' limits and the figure's size above."""
    return float(np.degrees(np.arctan2(5.2 / np.log10(1500 / 1.5), 9.6 / np.log10(1200 / 0.06))))
