"""Pictures: grids of images, loss curves, and the autograd graph of a value.

    save_images(samples, "samples.png")  # uint8, or floats in [-1, 1]; (N, H, W, C)
    save_rows({"originals": x, "reconstructions": y}, "rows.png")
    save_gif(frames, "film.gif", duration=0.1)
    save_curves({"train": train_losses, "test": (steps, test_losses)}, "curves.png", title="VAE")
    save_bars({"ours": {"speed": 2.0, "size": 1.0}, "theirs": {"speed": 1.5, "size": 2.0}}, "bars.png")
    graph(loss).save("loss.svg")  # or print(graph(loss).source), or .save("loss.dot")

They need the packages Pillow, matplotlib and graphviz, which `pip install minigen[examples]` brings.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .autograd import Node
from .backend import to_device
from .data.base import require
from .data.loader import to_uint8
from .tensor import Tensor

RENDERED = (".png", ".svg", ".pdf")


def image_grid(images: Any, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Lays images out row by row on white: -> uint8 (height, width, C), C = 1 or 3.

    images:  uint8, or floats in [-1, 1] (clipped to it); (N, H, W), (N, H, W, 1) or (N, H, W, 3)
    columns: images per row; by default as many as make the grid about square
    padding: pixels between the images and around them
    """
    images = np.asarray(images.numpy() if isinstance(images, Tensor) else to_device(images, "cpu"))
    if images.ndim == 3:
        images = images[..., None]  # (N,H,W) -> (N,H,W,1)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"image_grid: needs images (N, H, W) or (N, H, W, 1 or 3), got shape {images.shape}")
    if images.dtype != np.uint8:
        images = to_uint8(images)
    n, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1 or padding < 0:
        raise ValueError(f"image_grid: needs columns >= 1 and padding >= 0, got {columns} and {padding}")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    cell_height, cell_width = height + padding, width + padding
    grid = np.full((rows * cell_height + padding, columns * cell_width + padding, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = padding + i // columns * cell_height, padding + i % columns * cell_width
        grid[top : top + height, left : left + width] = image
    return grid


def save_images(images: Any, path: str | os.PathLike, columns: int | None = None, scale: int = 2) -> None:
    """Writes `image_grid(images, columns)` as a PNG, every pixel drawn `scale` x `scale` large."""
    _check_png("save_images", path)
    if scale < 1:
        raise ValueError(f"save_images: scale must be at least 1, got {scale}")
    pillow = require("PIL.Image", "Pillow", "save_images")
    grid = image_grid(images, columns).repeat(scale, axis=0).repeat(scale, axis=1)
    pillow.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path, format="PNG")


def _check_png(function: str, path: str | os.PathLike) -> None:
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{function}: writes PNG files, so the path must end in .png, got {str(path)!r}")


def save_rows(rows: Mapping[str, Any], path: str | os.PathLike, columns: int = 10, scale: int = 2) -> None:
    """Writes a PNG with a row of images for each entry of `rows` and its name beside it, to be compared by column.

    rows: name -> images as in `image_grid`, equally many under every name and all of one size. After `columns` images
    all the rows begin again further down.
    """
    _check_png("save_rows", path)
    sizes = {name: np.shape(images)[:3] for name, images in rows.items()}  # (N, H, W)
    if len(set(sizes.values())) != 1 or 0 in next(iter(sizes.values())):
        raise ValueError(f"save_rows: needs images, equally many and of one size under each name, got {sizes}")
    if columns < 1 or scale < 1:
        raise ValueError(f"save_rows: needs columns >= 1 and scale >= 1, got {columns} and {scale}")
    pillow = require("PIL.Image", "Pillow", "save_rows")
    from PIL import ImageDraw, ImageFont

    starts = range(0, len(next(iter(rows.values()))), columns)
    blocks = [{name: image_grid(images[i : i + columns], columns) for name, images in rows.items()} for i in starts]
    font = ImageFont.load_default(7 * scale)
    margin = math.ceil(max(font.getlength(name) for name in rows)) + 4 * scale
    height, width = (scale * size for size in next(iter(blocks[0].values())).shape[:2])
    gap = 4 * scale  # between blocks
    picture = pillow.new("RGB", (margin + width, len(blocks) * (len(rows) * height + gap) - gap), "white")
    for b, block in enumerate(blocks):
        for r, (name, row) in enumerate(block.items()):
            top = b * (len(rows) * height + gap) + r * height
            large = row.repeat(scale, axis=0).repeat(scale, axis=1)
            picture.paste(pillow.fromarray(large.squeeze(-1) if large.shape[-1] == 1 else large), (margin, top))
            middle = (margin - 2 * scale, top + height // 2)
            ImageDraw.Draw(picture).text(middle, name, fill="black", anchor="rm", font=font)
    picture.save(path, format="PNG")


def save_gif(frames: Any, path: str | os.PathLike, duration: float = 0.1) -> None:
    """Writes an animation that begins again when it has ended.

    frames:   (T, H, W), (T, H, W, 1) or (T, H, W, 3), values as in `image_grid`; colours are rounded to 256 of them,
              which all frames share
    duration: seconds that each frame is shown, a multiple of 0.01
    """
    if Path(path).suffix.lower() != ".gif":
        raise ValueError(f"save_gif: writes GIF files, so the path must end in .gif, got {str(path)!r}")
    if not duration >= 0.01:
        raise ValueError(f"save_gif: duration must be at least 0.01 seconds, got {duration}")
    pillow = require("PIL.Image", "Pillow", "save_gif")
    film = image_grid(frames, columns=1, padding=0)  # (T H, W, C), one above the other
    count, plain = len(frames), pillow.Dither.NONE
    if film.shape[-1] == 1:
        pictures = [pillow.fromarray(frame) for frame in np.split(film[..., 0], count)]
    else:
        palette = pillow.fromarray(film).quantize(256)
        pictures = [pillow.fromarray(frame).quantize(palette=palette, dither=plain) for frame in np.split(film, count)]
    first, *others = pictures
    first.save(path, format="GIF", save_all=True, append_images=others, duration=round(1000 * duration), loop=0)


def save_curves(
    curves: Mapping[str, Any], path: str | os.PathLike, title: str | None = None, xlabel: str = "step"
) -> None:
    """Draws one line per entry of `curves`: name -> a list of values, or a tuple (steps, values).

    Lines named "panel: line" share a panel with those of the same panel; all others share one without a name. The raw
    values are faint, their moving average over 2 % of them is on top. The y axis is logarithmic if all values of the
    panel are positive and span more than 1.5 decades. Values that are not finite are left out.
    """
    panels: dict[str, dict[str, Any]] = {}
    for name, curve in curves.items():
        panel, _, line = name.rpartition(": ")
        panels.setdefault(panel, {})[line] = _steps_and_values(name, curve)
    if not panels:
        raise ValueError("save_curves: needs at least one curve, got none")
    figure = _figure("save_curves", 4.5 if len(panels) == 1 else 2.7 * len(panels))
    rows = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (panel, lines) in zip(rows, panels.items(), strict=True):
        _draw_curves(axes, lines)
        axes.set_ylabel(panel or (next(iter(lines)) if len(lines) == 1 else "value"))
    rows[-1].set_xlabel(xlabel)
    if title:
        rows[0].set_title(title)
    figure.savefig(path, dpi=120)


def _figure(function: str, height: float) -> Any:
    """An empty matplotlib figure, 7 inches wide."""
    require("matplotlib", "matplotlib", function)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    FigureCanvasAgg(figure)  # pyplot would keep the figure alive in a global list, and might want a display
    return figure


def _draw_curves(axes: Any, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """One panel of `save_curves`."""
    for i, (name, (steps, values)) in enumerate(lines.items()):
        axes.plot(steps, values, color=f"C{i}", alpha=0.25, linewidth=1)
        dots = "." if len(values) <= 50 else ""  # a single value has no line
        axes.plot(steps, _smooth(values), color=f"C{i}", label=name, marker=dots)
    every = np.concatenate([values[np.isfinite(values)] for _, values in lines.values()])
    if every.size and every.min() > 0 and math.log10(every.max() / every.min()) > 1.5:
        axes.set_yscale("log")
    if len(lines) > 1:
        axes.legend()
    axes.grid(alpha=0.3)


def _steps_and_values(name: str, curve: Any) -> tuple[np.ndarray, np.ndarray]:
    steps, values = curve if isinstance(curve, tuple) and len(curve) == 2 else (range(len(curve)), curve)
    steps, values = np.asarray(steps), np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or steps.shape != values.shape or not values.size:
        raise ValueError(
            f"save_curves: {name!r} needs values, or a tuple (steps, values) of two equally long lists, "
            f"got {steps.shape} steps and {values.shape} values"
        )
    return steps, values


def _smooth(values: np.ndarray) -> np.ndarray:
    """The centred moving average over 2 % of the values, of those that are finite."""
    window = np.ones(2 * (len(values) // 100) + 1)  # odd, so that it has a centre
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0), window, mode="same")
    count = np.convolve(finite, window, mode="same")  # fewer at the ends
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def save_rate_distortion(
    curves: Mapping[str, Any],
    path: str | os.PathLike,
    pixels: int,
    lossless: Mapping[str, float] | None = None,
) -> None:
    """Draws PSNR over bytes per image, and over bits per pixel.

    curves:   name -> (points, 2): bytes per image, PSNR in dB; as `minigen.metrics.best_points` gives
    pixels:   pixels per image
    lossless: name -> bytes per image of a file that loses nothing, drawn as a vertical line
    """
    if not curves:
        raise ValueError("save_rate_distortion: needs at least one curve, got none")
    figure = _figure("save_rate_distortion", 4.5)
    axes = figure.add_subplot(xscale="log", xlabel="bytes per image", ylabel="PSNR in dB")
    for name, curve in curves.items():
        axes.plot(*np.asarray(curve).T, marker="o" if len(curve) <= 20 else "", markersize=4, label=name)
    for i, (name, size) in enumerate((lossless or {}).items()):
        axes.axvline(size, color="black", linestyle=(0, (i + 1, 2)), label=name)
    top = axes.secondary_xaxis(
        "top", functions=(lambda size: np.multiply(size, 8 / pixels), lambda bits: np.multiply(bits, pixels / 8))
    )
    top.set_xlabel("bits per pixel")
    for axis in (axes.xaxis, top.xaxis):
        axis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def save_bars(bars: Mapping[str, Mapping[str, float]], path: str | os.PathLike, ylabel: str = "value") -> None:
    """Draws groups of bars side by side: bars[who][what] is the height of the bar of that colour in that group.

    All have the same groups. Those that are not finite are left out.
    """
    groups = list(next(iter(bars.values()), {}))
    if not groups or any(list(heights) != groups for heights in bars.values()):
        raise ValueError(f"save_bars: needs the same groups of each, got { ({k: list(v) for k, v in bars.items()}) }")
    figure = _figure("save_bars", 4.5)
    axes = figure.add_subplot(ylabel=ylabel)
    places, width = np.arange(len(groups)), 0.8 / len(bars)
    for i, (name, heights) in enumerate(bars.items()):
        values = np.array([heights[group] for group in groups], np.float64)
        drawn = axes.bar(places + (i + 0.5) * width - 0.4, np.where(np.isfinite(values), values, 0), width, label=name)
        axes.bar_label(drawn, [f"{v:.2g}" if np.isfinite(v) else "" for v in values], fontsize="x-small")
    slanted: dict[str, Any] = dict(rotation=25, ha="right", rotation_mode="anchor") if len(groups) > 4 else {}
    axes.set_xticks(places, groups, **slanted)
    figure.legend(loc="outside upper center", ncols=len(bars))
    axes.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=120)


@dataclass(frozen=True)
class Graph:
    """A drawing: `source` is its text in Graphviz' DOT language."""

    source: str

    def save(self, path: str | os.PathLike) -> None:
        """Writes the text to a .dot file, or renders a .png, .svg or .pdf with Graphviz' program `dot`."""
        path = Path(path)
        if path.suffix == ".dot":
            path.write_text(self.source, encoding="utf-8")
        elif path.suffix in RENDERED:
            path.write_bytes(_render(self.source, path.suffix[1:]))
        else:
            raise ValueError(f"Graph.save: {str(path)!r} must end in .dot, {', '.join(RENDERED)}")


def _render(source: str, kind: str) -> bytes:
    graphviz = require("graphviz", "graphviz", f"rendering a graph as {kind}")
    try:
        return graphviz.Source(source).pipe(format=kind)
    except graphviz.ExecutableNotFound as error:
        raise RuntimeError(
            f"rendering a graph as {kind} needs the program `dot`: install Graphviz (https://graphviz.org), "
            "or save the text to a .dot file"
        ) from error


def graph(value: Tensor) -> Graph:
    """The computation behind `value`: a box per operation with its output's shape, an ellipse per leaf.

    Inputs that need no gradient are not on the tape, and so not in the drawing.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"graph: needs a Tensor, got {type(value).__name__}")
    root = value if value._node is None else value._node
    numbers = {id(root): 0}  # by id: a shared value is drawn once
    lines, pending = [], [root]
    while pending:
        item = pending.pop()
        number = numbers[id(item)]
        lines.append(f"  n{number} [{_style(item)}];")
        for parent in item.parents if isinstance(item, Node) else ():
            if parent is None:
                continue
            if id(parent) not in numbers:
                numbers[id(parent)] = len(numbers)
                pending.append(parent)
            lines.append(f"  n{numbers[id(parent)]} -> n{number};")
    return Graph("\n".join(["digraph {", '  node [fontname="sans-serif"];', *lines, "}", ""]))


def _style(item: Node | Tensor) -> str:
    if isinstance(item, Node):
        return f'shape=box, label="{_escape([item.primitive.name, item.shape])}"'
    name = getattr(item, "name", None)
    return f'shape=ellipse, label="{_escape([*([name] if name else []), item.shape, item.dtype])}"'


def _escape(parts: Sequence[Any]) -> str:
    return "\\n".join(str(part).replace("\\", "\\\\").replace('"', '\\"') for part in parts)
