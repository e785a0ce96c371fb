"""What all examples share: the command line, data, what trains and draws. The training run itself is in run.py."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

import minigen
from minigen import Tensor, optim
from minigen.data import Dataset, held_out, load, to_uint8
from minigen.metrics import frechet_distance, kernel_distance
from minigen.nn import Module

FOR_FIGURES = 2**63  # added to a seed for what is measured and drawn: numbers that no training has seen


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of a whole-number argument of a command line."""

    def whole_number(text: str) -> int:
        if int(text) < smallest:
            raise argparse.ArgumentTypeError(f"must be at least {smallest}, got {text}")
        return int(text)

    return whole_number


def arguments(
    name: str,
    description: str,
    steps: int,
    batch: int,
    samples: int,
    data: str = "digits",
    choices: tuple[str, ...] | None = None,
) -> Any:
    """The command line of every example, as an argparse parser; an example may add to it.

    `choices` are all that --data may be, for an example that makes its data itself.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    files = "'digits', 'photos', 'shapes', a folder of images, or an .npz, MNIST or CIFAR file"
    parser.add_argument("--data", default=data, choices=choices, help="what to learn" if choices else files)
    parser.add_argument("--steps", type=at_least(1), default=steps, help="training steps")
    parser.add_argument("--batch", type=at_least(1), default=batch, help="images in a step")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="'cuda' is a GPU, by way of CuPy")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for everything that is written")
    parser.add_argument("--samples", type=at_least(1), default=samples, help="images to make or keep at the end")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the figures at the end fall short")
    return parser


def use_device(args: argparse.Namespace) -> None:
    """A --device that is not there ends the program with one sentence. On a GPU, tensor cores may round."""
    try:
        minigen.tensor(0.0, device=args.device)
    except RuntimeError as error:
        sys.exit(str(error))
    if args.device == "cuda":
        minigen.float32_matmul_precision("high")


def load_data(args: argparse.Namespace, multiple_of: int = 1) -> Dataset:
    """The images that --data names, whose sides must be multiples of that.

    Bad input, or a --device that is not there, ends the program with one sentence.
    Adds `args.digest`, which tells whether a run is resumed on the same images.
    """
    use_device(args)
    try:
        data = load(args.data)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(str(error))
    if args.batch > len(data):
        sys.exit(f"--batch {args.batch} is more than the {len(data)} images of {args.data}")
    if any(side % multiple_of for side in data.images.shape[1:3]):
        sides = data.images.shape[1:3]
        sys.exit(f"{args.data}: the sides of the images must be multiples of {multiple_of}, got {sides}")
    if data.images.shape[-1] not in (1, 3):
        sys.exit(f"{args.data}: the images must have 1 or 3 channels, got {data.images.shape[-1]}")
    args.digest = f"{zlib.crc32(data.images.tobytes()):08x}"
    return data


def split(args: argparse.Namespace, data: Dataset, share: float = 0.2) -> tuple[Dataset, Dataset]:
    """`held_out(data, share)`; too few images, for that or for a batch, end the program with one sentence."""
    if len(data) < 2:
        sys.exit(f"{args.data}: needs at least two images, since one is held out, got {len(data)}")
    training, test = held_out(data, share)
    if args.batch > len(training):
        sys.exit(f"--batch {args.batch} is more than the {len(training)} images of {args.data} to train on")
    return training, test


def split_for_distances(args: argparse.Namespace, data: Dataset) -> tuple[Dataset, Dataset]:
    """`split` with two held-out images or more: the distance of a distribution to one image says nothing."""
    training, test = split(args, data)
    if len(test) < 2:
        sys.exit(f"--data: needs at least 8 images, so that two are held out, got {len(data)}")
    return training, test


def load_split(args: argparse.Namespace, multiple_of: int = 1, share: float = 0.2) -> tuple[Dataset, Dataset]:
    """The images that --data names, as `load_data` and `split` give them."""
    return split(args, load_data(args, multiple_of), share)


def descend(optimizer: optim.Optimizer, loss: Tensor) -> float:
    """A step down the loss's gradient; gives the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class Learner:
    """A network, and what trains it in so many steps: Adam, a rate that falls as a cosine, and a moving average."""

    def __init__(
        self,
        args: argparse.Namespace,
        network: Module,
        steps: int,
        lr: float = 2e-3,
        decay: float = 0.998,
        betas: tuple[float, float] = (0.9, 0.99),
    ):
        self.network = network
        network.to(args.device)
        self.ema = optim.EMA(network, decay)
        self.optimizer = optim.Adam(network.parameters(), lr, betas, max_norm=1.0, ema=self.ema)
        self.schedule = optim.CosineLR(self.optimizer, max(steps, 1), warmup_steps=min(100, steps // 10))

    def parts(self, name: str = "") -> dict[str, Any]:
        """For a `Run`; the name tells several learners apart."""
        own = ("network", "ema", "optimizer", "schedule")
        return {f"{name} {part}".strip(): getattr(self, part) for part in own}

    def descend(self, loss: Tensor) -> float:
        value = descend(self.optimizer, loss)
        self.schedule.step()
        return value


def draw_in_batches(
    draw: Callable[[int, int], Tensor], n: int, size: int = 100, unit: str = "image", show: bool = True
) -> np.ndarray:
    """n samples, uint8: draw(first, count) gives `count` of them in [-1, 1], from number `first` on."""
    from tqdm import tqdm

    made = []
    with tqdm(total=n, unit=unit, desc="sampling", disable=None if show else True) as bar:
        for first in range(0, n, size):
            made.append(to_uint8(draw(first, min(size, n - first)).numpy()))
            bar.update(len(made[-1]))
    return np.concatenate(made)


def has_classes(labels: np.ndarray | None) -> TypeGuard[np.ndarray]:
    """Whether there are labels, of two kinds or more."""
    return labels is not None and len(np.unique(labels)) > 1


def need_classes(args: argparse.Namespace, labels: np.ndarray | None) -> np.ndarray:
    """The labels of --data; if they are not of two classes or more, the program ends with one sentence."""
    if not has_classes(labels):
        sys.exit(f"--data: needs labelled images of two classes or more; {args.data} has fewer")
    return np.asarray(labels)


def in_batches(function: Callable[[Tensor], Tensor], x: np.ndarray, device: str = "cpu", size: int = 250) -> np.ndarray:
    """function(x) of many items, without a tape, `size` at a time: (N, ...) -> (N, ...), both NumPy."""
    with minigen.no_grad():
        return np.concatenate([function(Tensor(x[i : i + size]).to(device)).numpy() for i in range(0, len(x), size)])


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """The Frechet distance of features (M, d) and (N, d); nan for fewer samples than it takes."""
    enough = min(len(real), len(made)) >= max(2, real.shape[1])
    return frechet_distance(real, made) if enough else math.nan


def kid(real: np.ndarray, made: np.ndarray) -> float:
    """The kernel distance of features (M, d) and (N, d); nan for fewer samples than it takes."""
    return kernel_distance(real, made)[0] if min(len(real), len(made)) >= 3 else math.nan


def fit_pca(training: np.ndarray, components: int, svd_solver: str = "auto") -> Any:
    """scikit-learn's PCA of images (N, H, W, C), with that many components, or as many as there are."""
    from sklearn.decomposition import PCA

    flat = training.reshape(len(training), -1)
    return PCA(min(components, *flat.shape), svd_solver=svd_solver, random_state=0).fit(flat)


def through_pca(training: np.ndarray, x: np.ndarray, components: int, svd_solver: str = "auto") -> np.ndarray:
    """x (N, H, W, C), squeezed into that many numbers and back by the linear maps that are best on `training`."""
    pca = fit_pca(training, components, svd_solver)
    return pca.inverse_transform(pca.transform(x.reshape(len(x), -1))).reshape(x.shape)


def made_by(example: str, name: str, given: Path | None, args: argparse.Namespace, more: list[str] | None) -> Path:
    """A file that another example writes: `given`, or the one of that name in its folder beside --out.

    If the latter is not there yet, that example is run with `more` arguments; with None the program ends.
    Its digest is added to `args.digest`, so that a run is not resumed with another.
    """
    path = given or args.out.parent / example / name
    if not path.exists():
        if given is not None or more is None:
            sys.exit(f"{path} is not there: examples/{example}.py writes it")
        _run_first(example, path, args, more)
    args.digest += f" {zlib.crc32(path.read_bytes()):08x}"
    return path


def _run_first(example: str, path: Path, args: argparse.Namespace, more: list[str]) -> None:
    print(f"{path} is not there yet: running {example}.py", flush=True)
    script = [sys.executable, str(Path(__file__).with_name(f"{example}.py")), *more]
    line = [*script, "--data", args.data, "--device", args.device, "--out", str(path.parent), "--resume"]
    with subprocess.Popen(line, stdout=sys.stderr) as process:  # its figures are not those of this example
        try:
            process.wait()
        finally:
            process.wait()  # Ctrl-C reaches it, too: it saves, and ends
    if process.returncode:
        sys.exit(process.returncode)
