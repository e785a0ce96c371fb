"""A VQ-VAE (van den Oord et al. 2017) of handwritten digits: images as 7 x 7 whole numbers, and new ones from a prior.

    python examples/vqvae.py                            # trains, then draws new digits to runs/vqvae/samples.png
    python examples/vqvae.py --resume --samples 1000    # more of them
    python examples/vqvae.py --data my_images           # a folder of images, with classes or without

The whole algorithm, in two phases. An encoder gives a vector for each 4 x 4 pixels, the nearest code of a codebook
takes its place, and a decoder makes the image of the codes. Then a transformer learns which codes follow which: it sees
the image's class and its codes so far, and says how probable each next one is. New images: draw codes, and decode them.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from common import FOR_FIGURES, arguments, in_batches, load_data, split
from run import Run, report, run_main
from tqdm import tqdm

import minigen
from minigen import F, Tensor, optim
from minigen.autoencoders import (
    CodePrior,
    Decoder,
    Encoder,
    VectorQuantizer,
    code_counts,
    dead_codes_notice,
    perplexity,
)
from minigen.data import DataLoader, Dataset, to_float, to_uint8, warp
from minigen.metrics import Reader, psnr
from minigen.nn.blocks import depth_to_space, space_to_depth
from minigen.random import Generator
from minigen.viz import save_images, save_rows

CODES, CODE_SIZE = 128, 8
PATCH = 4  # the side of the pixels that share a code
COMMITMENT = 0.25  # beta
# without residual blocks the encoder sees little beyond the patch: such codes are easier to predict
ENCODER: dict[str, Any] = dict(channels=32, multipliers=(1, 2), blocks=0, patch=2)
DECODER: dict[str, Any] = ENCODER | dict(blocks=2)
PRIOR: dict[str, Any] = dict(channels=128, heads=4, blocks=2)
WARP = dict(rotation=5.0, scale=0.05, shear=0.05, shift=0.5, elastic=0.5)  # for the prior, which else learns by heart
AUTOENCODER_SHARE = 1 / 3  # of all steps; the prior has the rest
SAMPLING_BATCH = 100
PICTURES = ("reconstructions.png", "codebook.png")


class VQVAE(minigen.nn.Module):
    def __init__(self, image_shape: tuple[int, int, int]):
        super().__init__()
        height, width, channels = image_shape
        self.map = (height // PATCH, width // PATCH)
        self.encoder = Encoder(channels, CODE_SIZE, **ENCODER)
        self.quantizer = VectorQuantizer(CODES, CODE_SIZE)
        self.decoder = Decoder(CODE_SIZE, channels, **DECODER)

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The squared error of the image, and of the encoder's vectors to their codes."""
        z = self.encoder(x)
        quantized, _ = self.quantizer(z)  # moves the codebook, too
        return F.mse_loss(self.decoder(quantized), x), F.mse_loss(z, quantized.detach())

    def encode(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, L), whole numbers."""
        return self.quantizer.nearest(self.encoder(x)).reshape(len(x), -1)

    def decode(self, codes: Tensor) -> Tensor:
        """(N, L) -> (N, H, W, C)."""
        return self.decoder(self.quantizer.embed(codes.reshape(-1, *self.map)))


def train(
    args: argparse.Namespace, images: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[Run, VQVAE, CodePrior, optim.EMA]:
    generator = minigen.manual_seed(args.seed)
    vqvae = VQVAE(images.shape[1:])
    prior = CodePrior(CODES, vqvae.map[0] * vqvae.map[1], classes, **PRIOR)
    vqvae.to(args.device)
    prior.to(args.device)
    first = round(AUTOENCODER_SHARE * args.steps)  # step of the second phase
    ema = optim.EMA(prior, decay=0.99)
    vqvae_optimizer = optim.Adam(vqvae.parameters(), lr=4e-3)
    prior_optimizer = optim.AdamW(prior.parameters(), lr=4e-3, max_norm=1.0, ema=ema)
    vqvae_schedule = optim.CosineLR(vqvae_optimizer, max(1, first), warmup_steps=min(100, first // 10))
    prior_schedule = optim.CosineLR(prior_optimizer, max(1, args.steps - first), warmup_steps=min(100, first // 10))
    batches = DataLoader(images, labels, batch_size=args.batch, seed=args.seed, device=args.device)
    parts: dict[str, Any] = dict(vqvae=vqvae, vqvae_optimizer=vqvae_optimizer, vqvae_schedule=vqvae_schedule)
    parts |= dict(prior=prior, ema=ema, prior_optimizer=prior_optimizer, prior_schedule=prior_schedule)
    run = Run(args, PICTURES, batches=batches, generator=generator, **parts)

    for step in run.steps():
        batch, y = next(batches)
        if step < first:
            reconstruction, commitment = vqvae.losses(Tensor(to_float(batch, 0, 1)))
            loss = reconstruction + COMMITMENT * commitment
            run.log(reconstruction=reconstruction.item(), commitment=commitment.item())
            optimizer, schedule = vqvae_optimizer, vqvae_schedule
        else:
            with minigen.no_grad():
                codes = vqvae.encode(Tensor(warp(batch, generator, **WARP) / 255))
            loss = prior.loss(codes, y)
            run.log(prior=loss.item())
            optimizer, schedule = prior_optimizer, prior_schedule
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    vqvae.eval()
    prior.eval()
    return run, vqvae, prior, ema


def sample(args: argparse.Namespace, vqvae: VQVAE, prior: CodePrior, classes: np.ndarray) -> np.ndarray:
    """An image of each of the `classes` (N,), uint8: codes drawn from the prior, decoded."""
    uniform = minigen.rand(len(classes), prior.length, generator=Generator(args.seed + FOR_FIGURES)).numpy()
    images = []
    with tqdm(total=len(classes), unit="image", desc="sampling") as bar:
        for i in range(0, len(classes), SAMPLING_BATCH):
            codes = prior.sample(classes[i : i + SAMPLING_BATCH], uniform[i : i + SAMPLING_BATCH])
            images.append(to_uint8(in_batches(vqvae.decode, codes, args.device), 0, 1))
            bar.update(len(codes))
    return np.concatenate(images)


def kmeans_codec(training: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Vector quantisation of the pixels: each patch becomes the nearest of CODES k-means centres.

    The classical counterpart: an image is as many numbers from 1 to CODES as that of a VQ-VAE.
    """
    from sklearn.cluster import KMeans

    known, patches = (space_to_depth(Tensor(x), PATCH).numpy() for x in (training, images))
    known, vectors = known.reshape(-1, known.shape[-1]), patches.reshape(-1, patches.shape[-1])
    kmeans = KMeans(min(CODES, len(np.unique(known, axis=0))), n_init=1, random_state=0).fit(known)
    nearest = kmeans.cluster_centers_[kmeans.predict(vectors)]
    return depth_to_space(Tensor(nearest.reshape(patches.shape)), PATCH).numpy()


def counted_nats(known: np.ndarray, known_classes: np.ndarray, codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """-log p of each code, (N, L), where p is how often it was at this place in images of this class, plus 0.1.

    The prior's counterpart without a memory: codes that know nothing of each other.
    """
    counts = np.full((max(known_classes.max(), classes.max()) + 1, codes.shape[1], CODES), 0.1)
    places = np.arange(codes.shape[1])
    np.add.at(counts, (known_classes[:, None], places, known), 1)
    p = counts / counts.sum(-1, keepdims=True)
    return -np.log(p[classes[:, None], places, codes])


def code_pictures(codes: np.ndarray, images: np.ndarray) -> np.ndarray:
    """What each code stands for: the mean 3 x 3 patches around the places that have it; the most used codes first."""
    padded = np.pad(images, [(0, 0), (PATCH, PATCH), (PATCH, PATCH), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3 * PATCH, 3 * PATCH), axis=(1, 2))
    windows = windows[:, ::PATCH, ::PATCH].reshape(codes.size, images.shape[-1], 3 * PATCH, 3 * PATCH)
    used, counts = np.unique(codes, return_counts=True)
    means = [windows[codes.ravel() == k].mean(0) for k in used[np.argsort(-counts)]]
    return np.stack(means).transpose(0, 2, 3, 1).astype(np.uint8)


def class_numbers(data: Dataset, names: np.ndarray) -> np.ndarray:
    """Which of the `names` each label is: (N,); 0 where there are no labels."""
    return np.zeros(len(data), np.int64) if data.labels is None else np.searchsorted(names, data.labels)


def evaluate(
    device: str, vqvae: VQVAE, prior: CodePrior, training: Dataset, test: Dataset, names: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray]]:
    """What held-out images, `test`, say beside baselines; their codes; and pictures of them, uint8."""
    x, known = to_float(test.images, 0, 1), to_float(training.images, 0, 1)
    codes, known_codes = (in_batches(vqvae.encode, images, device) for images in (x, known))
    classes, known_classes = (class_numbers(data, names) for data in (test, training))
    counts = code_counts(codes, CODES)
    used = counts + code_counts(known_codes, CODES)
    if notice := dead_codes_notice(used):
        print(notice)
    shuffled = np.random.default_rng(0).permuted(codes, axis=0)  # each place has its codes, but of different images
    pictures = {
        "originals": test.images,
        "VQ-VAE": to_uint8(in_batches(vqvae.decode, codes, device), 0, 1),
        "k-means": to_uint8(kmeans_codec(known, x), 0, 1),
        "independent codes": to_uint8(in_batches(vqvae.decode, shuffled, device), 0, 1),
    }
    both = np.column_stack([classes, codes])
    metrics = {
        "bits_per_image": codes.shape[1] * math.log2(CODES),
        "perplexity": perplexity(counts),
        "dead_codes": int((used == 0).sum()),
        "psnr": psnr(pictures["VQ-VAE"], test.images),
        "psnr_kmeans": psnr(pictures["k-means"], test.images),
        "nats_per_code": in_batches(lambda b: prior.loss(b[:, 1:], b[:, 0], "none"), both, device).mean().item(),
        "nats_per_code_counted": counted_nats(known_codes, known_classes, codes, classes).mean().item(),
    }
    return metrics, codes, pictures


def main() -> None:
    args = arguments("vqvae", __doc__.split("\n")[0], steps=2400, batch=64, samples=300).parse_args()
    data = load_data(args, multiple_of=PATCH)
    training, test = split(args, data)
    names = np.zeros(1) if data.labels is None else np.unique(data.labels)
    run, vqvae, prior, ema = train(args, training.images, class_numbers(training, names), len(names))

    wanted = np.arange(args.samples) % len(names)
    with ema.applied():
        images = sample(args, vqvae, prior, wanted)
        m, codes, pictures = evaluate(args.device, vqvae, prior, training, test, names)
    kmeans, counted = m["psnr_kmeans"], m["nats_per_code_counted"]
    figures = [
        ("perplexity of the codebook", m["perplexity"], ">=", 32, f"{CODES} codes, {m['dead_codes']} of them dead"),
        ("held-out PSNR, dB", m["psnr"], ">=", kmeans + 1.5, f"k-means on patches, as many bits: {kmeans:.4g}"),
        ("nats per code", m["nats_per_code"], "<=", counted - 0.9, f"by place and class alone: {counted:.3g}"),
    ]
    rows = None
    if data.labels is not None and len(names) > 1:
        reader = Reader(data.images, data.labels)
        m |= {
            "read": reader.share_read(images),
            "read_real": reader.share_read(test.images),
            "read_independent": reader.share_read(pictures["independent codes"]),
            "of_their_class": float((reader.read(images) == names[wanted]).mean()),
            "of_their_class_real": float((reader.read(test.images) == test.labels).mean()),
        }
        baseline = f"real images: {m['read_real']:.3g}, independent codes: {m['read_independent']:.3g}"
        figures += [
            ("samples read as a class with over 80% confidence", m["read"], ">=", 0.74, baseline),
            (
                "samples read as their own class",
                m["of_their_class"],
                ">=",
                0.6,
                f"real: {m['of_their_class_real']:.3g}",
            ),
        ]
        if each := min(10, args.samples // len(names)):
            rows = {str(name): images[wanted == c][:each] for c, name in enumerate(names)}
    run.write_samples(images, rows, **({} if data.labels is None else {"labels": names[wanted]}))
    beside = {name: pictures[name][:20] for name in ("originals", "VQ-VAE", "k-means")}
    save_rows(beside, run.folder / "reconstructions.png")
    save_images(code_pictures(codes, pictures["VQ-VAE"]), run.folder / "codebook.png", columns=16, scale=4)
    run.write_metrics(m)
    report(figures, args.check)


if __name__ == "__main__":
    run_main(main)
