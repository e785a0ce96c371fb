"""Image compression with a learned code (Balle et al. 2017, 2018): digits to bytes in a file, and back.

    python examples/compression.py                                    # trains, writes runs/compression/level*.bin
    python examples/compression.py --decode runs/compression/level3.bin    # the file back to images: level3.png

The whole algorithm: an encoder makes numbers of the image; they are rounded; an entropy coder writes them, by a prior
that says how probable each number is in its place; the decoder makes the image of them. All of it descends on

    rate + lambda distortion = -log2 p(q) + lambda |x - decoder(q)|^2,    q = round(encoder(x))

One network serves several lambdas, its levels: each scales the numbers in its own way before they are rounded, and back
afterwards (gain units, Cui et al. 2021). The encoder starts as PCA, and so as the baseline, which is the best that a
linear code can do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Run, arguments, held_out, in_batches, load_data, report, run_main
from tqdm import tqdm

import minigen
from minigen import Tensor, nn, ops, optim
from minigen.autoencoders import (
    CodeDecoder,
    CodeEncoder,
    CodingTables,
    FactorizedPrior,
    add_uniform_noise,
    round_straight_through,
    squared_error,
)
from minigen.data import DataLoader, to_float, to_uint8
from minigen.metrics import best_points, jpeg, png_bytes, psnr, psnr_gain
from minigen.random import randint
from minigen.viz import save_images

LAMBDAS = np.geomspace(2.5, 250, 6)  # bits per squared error, of pixels in [0, 1]
CODE_SIZE = 128
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, patch=2)
PCA_SIZES, PCA_STEPS = (20, 40, 60, 80, 120, 160, 240, 320), np.geomspace(3, 0.3, 20)
JPEG_QUALITIES = range(1, 60, 3)
SHOWN = 3  # level of the images in samples.npz


class Codec(nn.Module):
    """Images in [0, 1] to codes y, to be rounded, and back: y = g (W (x - m) + f(x)), x = W'(y / g' + b) + m' + f'(...).

    f and f' are convolutional; W, m are PCA's at the start; the gains g, g' and b have a row for each level.
    """

    def __init__(self, shape: tuple[int, int, int], components: np.ndarray, mean: np.ndarray):
        super().__init__()
        self.shape, size = shape, len(components)
        self.weight, self.mean = nn.Parameter(components.T.copy()), nn.Parameter(mean)
        self.weight_back, self.mean_back = nn.Parameter(components.copy()), nn.Parameter(mean)
        self.encoder, self.decoder = CodeEncoder(shape, size, **NETWORK), CodeDecoder(shape, size, **NETWORK)
        for last in (self.encoder.last, self.decoder.decoder.last):
            nn.blocks.zeroed(last)
        # rounding to steps of d has an error of d^2 / 12, and a bit more makes it a quarter: the best d is this
        step = np.sqrt(6 / (LAMBDAS * np.log(2)))[:, None].repeat(size, 1).astype(np.float32)
        self.log_gain, self.log_gain_back = nn.Parameter(-np.log(step)), nn.Parameter(np.log(step))
        self.offset = nn.Parameter(np.zeros_like(step))
        self.prior = FactorizedPrior(size, len(LAMBDAS))

    def encode(self, x: Tensor, level: Any) -> Tensor:
        """(N, H, W, C) and a level, or one for each image -> (N, size)."""
        linear = ops.matmul(x.reshape(len(x), -1) - self.mean, self.weight)
        return (linear + self.encoder(x)) * ops.exp(self.log_gain[level])

    def decode(self, y: Tensor, level: Any) -> Tensor:
        z = y * ops.exp(self.log_gain_back[level]) + self.offset[level]
        return (ops.matmul(z, self.weight_back) + self.mean_back).reshape(-1, *self.shape) + self.decoder(z)


def train(args: argparse.Namespace, images: np.ndarray, codec: Codec, generator: Any) -> tuple[Run, optim.EMA]:
    lambdas = Tensor(LAMBDAS.astype(np.float32)).to(args.device)
    ema = optim.EMA(codec, decay=0.998)
    of_prior = {id(p) for p in codec.prior.parameters()}
    transforms = [p for p in codec.parameters() if id(p) not in of_prior]
    optimizer = optim.Adam(transforms, lr=2e-3, betas=(0.9, 0.99), max_norm=5.0)
    prior_optimizer = optim.Adam(codec.prior.parameters(), lr=2e-2, betas=(0.9, 0.99))  # it has to follow the codes
    schedules = [optim.CosineLR(o, args.steps, min(100, args.steps // 10)) for o in (optimizer, prior_optimizer)]
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        pictures=("rate_distortion.png", "model.safetensors", *(f"level{i}.bin" for i in range(len(LAMBDAS)))),
        codec=codec,
        ema=ema,
        optimizer=optimizer,
        prior_optimizer=prior_optimizer,
        schedule=schedules[0],
        prior_schedule=schedules[1],
        batches=batches,
        generator=generator,
    )
    for _ in run.steps():
        x = Tensor(to_float(next(batches), 0, 1))
        level = randint(0, len(LAMBDAS), (len(x),), generator, args.device)
        y = codec.encode(x, level)
        rate = codec.prior.bits(add_uniform_noise(y, generator), level)
        distortion = squared_error(codec.decode(round_straight_through(y), level), x)
        weight = lambdas[level]
        loss = (rate * weight**-0.5 + distortion * weight**0.5).mean()  # rate + lambda distortion; each level as loud
        for o in (optimizer, prior_optimizer):
            o.zero_grad()
        loss.backward()
        for o in (optimizer, prior_optimizer, *schedules, ema):
            o.update() if o is ema else o.step()
        run.log(bytes=rate.mean().item() / 8, distortion=distortion.mean().item())
    return run, ema


def compress(codec: Codec, tables: CodingTables, images: np.ndarray, level: int, device: str) -> bytes:
    """uint8 images (N, H, W, C) -> a byte with the level, and the range coder's."""
    codes = np.rint(in_batches(lambda x: codec.encode(x, level), to_float(images, 0, 1), device)).astype(np.int32)
    return bytes([level]) + tables.encode(codes.clip(-tables.limit, tables.limit))


def decompress(codec: Codec, tables: dict[int, CodingTables], stream: bytes, device: str) -> np.ndarray:
    level = stream[0]
    codes = tables[level].decode(stream[1:]).astype(np.float32)
    return to_uint8(in_batches(lambda y: codec.decode(y, level), codes, device), 0, 1)


def tables_of(codec: Codec, images: np.ndarray, device: str) -> dict[int, CodingTables]:
    """For each level the prior in whole numbers, as far as the codes of training images reach."""
    x = to_float(images, 0, 1)
    reach = [np.abs(in_batches(lambda x: codec.encode(x, i), x, device)).max() for i in range(len(LAMBDAS))]
    return {level: codec.prior.tables(level, 1 + int(limit)) for level, limit in enumerate(reach)}


def save_model(path: Path, codec: Codec, tables: dict[int, CodingTables]) -> None:
    counts = {str(level): t.counts for level, t in tables.items()}
    minigen.save({"shape": np.array(codec.shape), "codec": codec.state_dict(), "counts": counts}, path)


def load_model(path: Path) -> tuple[Codec, dict[int, CodingTables]]:
    state = minigen.load(path)
    weights = state["codec"]
    codec = Codec(tuple(state["shape"].tolist()), weights["weight_back"], weights["mean"])
    codec.load_state_dict(weights)
    return codec, {int(level): CodingTables(counts) for level, counts in state["counts"].items()}


def decode_file(path: Path, device: str) -> None:
    """Needs the file, and model.safetensors beside it; nothing else."""
    codec, tables = load_model(path.with_name("model.safetensors"))
    images = decompress(codec.to(device), tables, path.read_bytes(), device)
    np.savez_compressed(path.with_suffix(".npz"), images=images)
    save_images(images[:100], path.with_suffix(".png"))
    print(f"{len(images)} images of {path.stat().st_size} bytes: wrote {path.with_suffix('.npz')} and a .png")


class PCACodec:
    """The baseline: the first `size` numbers of PCA, rounded to steps, in the same coder."""

    def __init__(self, pca: Any, training: np.ndarray, test: np.ndarray):
        self.pca, self.shape = pca, test.shape[1:]
        self.z, self.z_test = (pca.transform(to_float(x.reshape(len(x), -1), 0, 1)) for x in (training, test))

    def images(self, size: int, step: float) -> tuple[float, np.ndarray]:
        """Bytes per image and the decoded test images."""
        codes, test_codes = (np.rint(z[:, :size] / step).astype(np.int32) for z in (self.z, self.z_test))
        tables = CodingTables.from_codes(codes, limit=1 + np.abs(codes).max())
        stream = tables.encode(test_codes.clip(-tables.limit, tables.limit))
        decoded = tables.decode(stream) * step @ self.pca.components_[:size] + self.pca.mean_
        return len(stream) / len(test_codes), to_uint8(decoded, 0, 1).reshape(-1, *self.shape)


def draw(path: Path, curves: dict[str, np.ndarray], png: float, pixels: int) -> None:
    """PSNR over bytes per image, and bits per pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xscale="log", xlabel="bytes per image, of the file of all held-out images")
    axes.set_ylabel("PSNR in dB")
    for name, curve in curves.items():
        axes.plot(*curve.T, marker="o", markersize=4, label=name)
    axes.axvline(png, color="black", linestyle=":", label="PNG (without loss)")
    top = axes.secondary_xaxis("top", functions=(lambda b: 8 * b / pixels, lambda bits: bits * pixels / 8))
    top.set_xlabel("bits per pixel")
    for axis in (axes.xaxis, top.xaxis):
        axis.set_major_formatter(ScalarFormatter())
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = arguments("compression", __doc__.split("\n")[0], steps=2400, batch=64, samples=10)
    parser.add_argument("--decode", type=Path, help="only turn this file back into images, beside it")
    args = parser.parse_args()
    if args.decode is not None:
        return decode_file(args.decode, args.device)
    data = load_data(args)
    if any(side % 4 for side in data.images.shape[1:3]):
        sys.exit(f"--data: the sides of the images must be multiples of 4, got {data.images.shape[1:3]}")
    training, test = (part.images for part in held_out(data))

    from sklearn.decomposition import PCA

    generator = minigen.manual_seed(args.seed)
    pixels = training.reshape(len(training), -1)
    pca = PCA(min(max(PCA_SIZES), *pixels.shape), random_state=0).fit(to_float(pixels, 0, 1))
    codec = Codec(training.shape[1:], pca.components_[:CODE_SIZE], pca.mean_).to(args.device)
    run, ema = train(args, training, codec, generator)

    with ema.applied():
        save_model(run.folder / "model.safetensors", codec, tables_of(codec, training, args.device))
    codec, tables = load_model(run.folder / "model.safetensors")
    codec.to(args.device)
    ours, decoded = [], []
    for level in tqdm(tables, unit="level", desc="our files"):
        path = run.folder / f"level{level}.bin"
        path.write_bytes(compress(codec, tables[level], test, level, args.device))
        decoded.append(decompress(codec, tables, path.read_bytes(), args.device))
        ours.append((path.stat().st_size / len(test), psnr(decoded[-1], test)))
    baseline = PCACodec(pca, training, test)
    settings = [(size, step) for size in PCA_SIZES for step in PCA_STEPS]
    by_pca = [baseline.images(*s) for s in tqdm(settings, unit="file", desc="PCA's files")]
    by_jpeg = [jpeg(test, quality) for quality in tqdm(JPEG_QUALITIES, unit="file", desc="JPEG's files")]
    curves = {"ours": best_points(ours)}
    for name, files in (("PCA", by_pca), ("JPEG", by_jpeg)):
        curves[name] = best_points([(size, psnr(images, test)) for size, images in files])
    png = png_bytes(test)
    draw(run.folder / "rate_distortion.png", curves, png, pixels.shape[1])
    shown = test[: args.samples]
    rows = {"original": shown[:10]}
    for level in (0, 2, 4):
        size, _ = ours[level]
        rival = min(by_pca, key=lambda file: (abs(np.log(file[0] / size)) > 0.05, -psnr(file[1], test)))
        rows[f"ours, {size:.1f} bytes"] = decoded[level][: len(shown[:10])]
        rows[f"PCA, {rival[0]:.1f} bytes"] = rival[1][: len(shown[:10])]
    smallest = min(by_jpeg, key=lambda file: file[0])
    rows[f"JPEG, {smallest[0]:.1f} bytes"] = smallest[1][: len(shown[:10])]
    run.write_samples(decoded[SHOWN][: args.samples], rows, originals=shown)

    gains = {name: psnr_gain(curves["ours"], curves[name]) for name in ("PCA", "JPEG")}
    run.write_metrics(
        {
            "held_out_images": len(test),
            "curves_bytes_psnr": {name: curve.round(3).tolist() for name, curve in curves.items()},
            "levels_bytes_psnr": ours,
            "png_bytes": png,
            "gain_least_mean": gains,
            "model_bytes_not_counted": (run.folder / "model.safetensors").stat().st_size,
        }
    )
    print("\n".join(f"level {i}: {size:.2f} bytes an image, {quality:.2f} dB" for i, (size, quality) in enumerate(ours)))
    low, high = curves["ours"][[0, -1], 0]
    between = f"at {low:.0f} to {high:.0f} bytes an image"
    report(
        [
            (f"least dB above PCA {between}", gains["PCA"][0], ">=", 1.0, f"mean {gains['PCA'][1]:.3g}"),
            ("least dB above JPEG at equal bytes", gains["JPEG"][0], ">=", 0.0, f"mean {gains['JPEG'][1]:.3g}"),
        ],
        args.check,
    )


if __name__ == "__main__":
    run_main(main)
