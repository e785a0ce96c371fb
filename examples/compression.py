"""Image compression with a learned code (Balle et al. 2017, 2018): digits to bytes in a file, and back.

    python examples/compression.py                                       # trains, writes runs/compression/level*.bin
    python examples/compression.py --decode runs/compression/level3.bin  # the file back to images: level3.png
    python examples/compression.py --data my_images                      # any images whose sides are multiples of 4

The whole algorithm: an encoder makes numbers of the image; they are rounded; an entropy coder writes them, by a prior
that says how probable each number is in its place; the decoder makes the image of them. All of it descends on

    rate + lambda distortion = -log2 p(q) + lambda |x - decoder(q)|^2,    q = round(encoder(x))

One network serves several lambdas, its levels: each scales the numbers in its own way before they are rounded, and back
afterwards (gain units, Cui et al. 2021). The encoder starts as PCA, which is the baseline;
what it learns from there is what a linear code cannot do.

What counts is the size of the file in which all held-out images are, without the model: it has to be there already, as
PCA's has. JPEG and PNG, too, get one file of all images side by side, so that their headers weigh nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, fit_pca, in_batches, load_split
from run import Run, report, run_main
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
from minigen.viz import save_images, save_rate_distortion

LAMBDAS = (2.5, 6.3, 16, 40, 100, 250)  # a level of quality each; bits per squared error, of pixels in [0, 1]
PICTURED = (0, 2, 4)  # the levels in samples.png
CODE_SIZE = 128
NETWORK: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=1, patch=2)
PCA_SIZES, PCA_STEPS = (20, 30, 40, 60, 80, 100, 130, 160, 240, 320), np.geomspace(3, 0.3, 40)
JPEG_QUALITIES = range(1, 60, 3)


class Codec(nn.Module):
    """Images in [0, 1] to codes y, to be rounded, and back, by the gains g and g' and the offset b of a level:

    y = g (W (x - m) + f(x)),  x = W' z + m' + f'(z) of z = g' y + b

    f and f' are convolutional, and 0 at first; W, m are those of PCA at first.
    """

    def __init__(self, shape: tuple[int, int, int], components: np.ndarray, mean: np.ndarray):
        super().__init__()
        self.shape, size = shape, len(components)
        self.weight, self.mean = nn.Parameter(components.T.copy()), nn.Parameter(mean)
        self.weight_back, self.mean_back = nn.Parameter(components.copy()), nn.Parameter(mean)
        self.encoder, self.decoder = CodeEncoder(shape, size, **NETWORK), CodeDecoder(shape, size, **NETWORK)
        for last in (self.encoder.last, self.decoder.decoder.last):
            nn.blocks.zeroed(last)
        # a step of d has an error of d^2 / 12, and a bit more makes it a quarter: the d at which that bit is worth it
        step = np.sqrt(6 / (np.array(LAMBDAS) * np.log(2)))[:, None].repeat(size, 1).astype(np.float32)
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
    lambdas = Tensor(np.array(LAMBDAS, np.float32)).to(args.device)
    ema = optim.EMA(codec, decay=0.998)
    transforms = [p for name, p in codec.named_parameters() if not name.startswith("prior.")]
    optimizer = optim.Adam(transforms, lr=2e-3, betas=(0.9, 0.99), max_norm=5.0)
    prior_optimizer = optim.Adam(codec.prior.parameters(), lr=2e-2, betas=(0.9, 0.99))  # it has to follow the codes
    schedules = [optim.CosineLR(o, args.steps, min(100, args.steps // 10)) for o in (optimizer, prior_optimizer)]
    batches = DataLoader(images, batch_size=args.batch, seed=args.seed, device=args.device)
    run = Run(
        args,
        pictures=(
            "rate_distortion.png",
            "model.safetensors",
            *(f"level{i}.{kind}" for i in range(len(LAMBDAS)) for kind in ("bin", "npz", "png")),
        ),
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
        x = Tensor(to_float(next(batches), 0, 1))  # not warped: that blurs, and the code is to be good at what is sharp
        level = randint(0, len(LAMBDAS), (len(x),), generator, args.device)
        y = codec.encode(x, level)
        rate = codec.prior.bits(add_uniform_noise(y, generator), level)
        distortion = squared_error(codec.decode(round_straight_through(y), level), x)
        weight = lambdas[level]
        loss = (rate * weight**-0.5 + distortion * weight**0.5).mean()  # rate + lambda distortion; each level as loud
        codec.zero_grad()
        loss.backward()
        optimizer.step()
        prior_optimizer.step()
        ema.update()
        for schedule in schedules:
            schedule.step()
        run.log(bytes=rate.mean().item() / 8, distortion=distortion.mean().item())
    return run, ema


def codes_of(codec: Codec, images: np.ndarray, level: int, device: str) -> np.ndarray:
    """uint8 images (N, H, W, C) -> whole numbers (N, size)."""
    x = to_float(images, 0, 1)
    return np.rint(in_batches(lambda x: codec.encode(x, level), x, device)).astype(np.int32)


def tables_of(codec: Codec, images: np.ndarray, device: str) -> dict[int, CodingTables]:
    """For each level the prior in whole numbers, as far as the codes of training images reach."""
    limits = [1 + int(np.abs(codes_of(codec, images, level, device)).max()) for level in range(len(LAMBDAS))]
    return {level: codec.prior.tables(level, limit) for level, limit in enumerate(limits)}


def compress(codec: Codec, tables: dict[int, CodingTables], images: np.ndarray, level: int, device: str) -> bytes:
    """uint8 images (N, H, W, C) -> a byte that says the level, then what the range coder makes of the codes."""
    limit = tables[level].limit
    return bytes([level]) + tables[level].encode(codes_of(codec, images, level, device).clip(-limit, limit))


def decompress(codec: Codec, tables: dict[int, CodingTables], stream: bytes, device: str) -> np.ndarray:
    """The images of `compress`, as good as its level makes them: uint8 (N, H, W, C)."""
    level = stream[0] if stream else -1
    if level not in tables:
        raise ValueError("this is not a file of the model beside it")
    codes = tables[level].decode(stream[1:]).astype(np.float32)
    return to_uint8(in_batches(lambda y: codec.decode(y, level), codes, device), 0, 1)


def save_model(path: Path, codec: Codec, tables: dict[int, CodingTables]) -> None:
    counts = {str(level): t.counts for level, t in tables.items()}
    minigen.save({"shape": np.array(codec.shape), "codec": codec.state_dict(), "counts": counts}, path)


def load_model(path: Path, device: str) -> tuple[Codec, dict[int, CodingTables]]:
    state = minigen.load(path)
    weights = state["codec"]
    codec = Codec(tuple(state["shape"].tolist()), weights["weight_back"], weights["mean"])
    codec.load_state_dict(weights)
    codec.to(device)
    return codec, {int(level): CodingTables(counts) for level, counts in state["counts"].items()}


def decode_file(path: Path, device: str) -> None:
    """Makes images of a file, with the model beside it and nothing else."""
    try:
        codec, tables = load_model(path.with_name("model.safetensors"), device)
        images = decompress(codec, tables, path.read_bytes(), device)
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"--decode {path}: {error}")
    np.savez_compressed(path.with_suffix(".npz"), images=images)
    save_images(images[:100], path.with_suffix(".png"))
    print(f"{len(images)} images of {path.stat().st_size} bytes: wrote {path.with_suffix('.npz')} and the like as .png")


class PCACodec:
    """The baseline: the first `size` numbers of PCA, rounded to multiples of `step`, in files of the same coder.

    Its prior is a factorised one, too: how often each number occurred among the training images.
    """

    def __init__(self, pca: Any, training: np.ndarray, test: np.ndarray):
        self.pca, self.shape = pca, test.shape[1:]
        self.training, self.test = (pca.transform(to_float(x.reshape(len(x), -1), 0, 1)) for x in (training, test))

    def file(self, size: int, step: float) -> tuple[float, np.ndarray]:
        """Bytes per test image, and the images that come back: uint8 (N, H, W, C)."""
        training, test = (np.rint(z[:, :size] / step).astype(np.int32) for z in (self.training, self.test))
        tables = CodingTables.from_codes(training, limit=1 + np.abs(training).max())
        stream = tables.encode(test.clip(-tables.limit, tables.limit))
        decoded = tables.decode(stream) * step @ self.pca.components_[:size] + self.pca.mean_
        return len(stream) / len(test), to_uint8(decoded, 0, 1).reshape(-1, *self.shape)


def write_files(folder: Path, test: np.ndarray, device: str) -> list[tuple[float, np.ndarray]]:
    """A file of all test images for each level: bytes per image, and the images that reading it gives."""
    codec, tables = load_model(folder / "model.safetensors", device)
    files = []
    for level in tqdm(tables, unit="file", desc="our files"):
        path = folder / f"level{level}.bin"
        path.write_bytes(compress(codec, tables, test, level, device))
        files.append((path.stat().st_size / len(test), decompress(codec, tables, path.read_bytes(), device)))
    return files


def side_by_side(ours: list[Any], by_pca: PCACodec, pca_points: dict[tuple[int, float], Any]) -> dict[str, np.ndarray]:
    """Rows for samples.png: at some levels our images, and the best that PCA makes of as many bytes."""
    rows = {}
    for size, images in (ours[level] for level in PICTURED):
        rows[f"ours, {size:.1f} bytes"] = images
        affordable = [s for s, (other, _) in pca_points.items() if other <= 1.05 * size] or list(pca_points)
        size, images = by_pca.file(*max(affordable, key=lambda s: pca_points[s][1]))
        rows[f"PCA, {size:.1f} bytes"] = images
    return rows


def main() -> None:
    parser = arguments("compression", __doc__.split("\n")[0], steps=2000, batch=64, samples=100)
    parser.add_argument("--decode", type=Path, help="do nothing but turn this file back into images, beside it")
    args = parser.parse_args()
    if args.decode is not None:
        return decode_file(args.decode, args.device)
    training, test = (part.images for part in load_split(args, multiple_of=4))

    generator = minigen.manual_seed(args.seed)
    pca = fit_pca(to_float(training, 0, 1), max(PCA_SIZES))
    codec = Codec(training.shape[1:], pca.components_[:CODE_SIZE], pca.mean_)
    codec.to(args.device)
    run, ema = train(args, training, codec, generator)
    with ema.applied():
        save_model(run.folder / "model.safetensors", codec, tables_of(codec, training, args.device))

    def points(files: Iterable[tuple[float, np.ndarray]]) -> list[tuple[float, float]]:
        return [(size, psnr(images, test)) for size, images in files]

    ours, by_pca = write_files(run.folder, test, args.device), PCACodec(pca, training, test)
    settings = [(size, step) for size in PCA_SIZES for step in PCA_STEPS]
    pca_points = points(by_pca.file(*s) for s in tqdm(settings, unit="file", desc="PCA's files"))
    by_jpeg = [jpeg(test, quality) for quality in JPEG_QUALITIES]
    all_points = {"autoencoder": points(ours), "PCA": pca_points, "JPEG": points(by_jpeg)}
    curves = {name: best_points(p) for name, p in all_points.items()}
    png = png_bytes(test)
    save_rate_distortion(curves, run.folder / "rate_distortion.png", training[0].size, {"PNG, without loss": png})

    smallest, images = min(by_jpeg, key=lambda file: file[0])
    rows = {
        "original": test,
        **side_by_side(ours, by_pca, dict(zip(settings, pca_points, strict=True))),
        f"JPEG, {smallest:.1f} bytes": images,
    }
    shown, ten = slice(args.samples), slice(min(10, args.samples))
    rows = {name: images[ten] for name, images in rows.items()}
    run.write_samples(ours[PICTURED[1]][1][shown], rows, originals=test[shown])

    gains = {name: psnr_gain(curves["autoencoder"], curves[name]) for name in ("PCA", "JPEG")}
    run.write_metrics(
        {
            "held_out_images": len(test),
            "levels_bytes_psnr": all_points["autoencoder"],
            "curves_bytes_psnr": {name: curve.tolist() for name, curve in curves.items()},
            "png_bytes": png,
            "gain_least_and_mean": {name: [None if np.isnan(g) else g for g in gains[name]] for name in gains},
            "model_bytes_not_counted": (run.folder / "model.safetensors").stat().st_size,
        }
    )
    for level, (size, quality) in enumerate(all_points["autoencoder"]):
        print(f"level {level}: {size:.1f} bytes an image, {quality:.1f} dB")
    figures = []
    for (name, (least, mean)), bound in zip(gains.items(), (1.0, 0.0), strict=True):
        low = max(curves[kind][0, 0] for kind in ("autoencoder", name))
        high = min(curves[kind][-1, 0] for kind in ("autoencoder", name))
        what = f"PSNR above {name}'s at equal bytes, dB, least from {low:.0f} to {high:.0f} bytes an image"
        figures.append((what, least, ">=", bound, f"mean: {mean:.3g} dB"))
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
