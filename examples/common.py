"""What all examples share: the command line, and a training run that can be interrupted and resumed."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

import minigen
from minigen import Tensor, optim
from minigen.data import Dataset, held_out, load, to_uint8
from minigen.metrics import frechet_distance, kernel_distance
from minigen.nn import Module
from minigen.serialization import CheckpointError
from minigen.viz import save_curves, save_images, save_rows

SAVE_EVERY_SECONDS = 30
FOR_FIGURES = 2**63  # added to a seed for what is measured and drawn: numbers that no training has seen
# between a run and its continuation
FREE_TO_CHANGE = (
    *("out", "device", "samples", "resume", "check", "trained", "autoencoder", "clip"),
    *("train", "sentence", "negative", "scale"),
)


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


class Run:
    """A training run in a folder.

    `parts` are the things with a state (network, optimiser, ...). `steps()` counts the training steps, shows the
    progress bar and saves every part now and then, at the end, and on Ctrl-C: always between two steps, so that a
    run which was stopped, by whatever, and resumed ends with the same bits as one that was not.

    `pictures` are the files that an example writes beyond those of all examples. If the folder `trained` holds a
    finished run with the same settings, of an example that trains the same, the run begins where that one ended.
    """

    def __init__(
        self, args: argparse.Namespace, pictures: tuple[str, ...] = (), trained: Path | None = None, **parts: Any
    ):
        self.args, self.parts, self.pictures = args, parts, pictures
        self.folder = args.out.resolve()
        self.path = self.folder / "checkpoint.safetensors"
        self.step, self.seconds = 0, 0.0
        self.curves: dict[str, list[tuple[int, float]]] = {}  # (step, value) of each point
        self.settings = {key: value for key, value in vars(args).items() if key not in FREE_TO_CHANGE}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            sys.exit(f"--out {args.out}: cannot make this folder ({error})")
        for unfinished in self.folder.glob(f".{self.path.name}.*.tmp"):  # a kill while saving leaves one
            unfinished.unlink()
        if args.resume and self.path.exists():
            self._load()
        else:
            if args.resume:
                print(f"{self.path} does not exist yet: starting from the first step")
            self._keep_earlier_run()
            if trained is not None:
                self._take_over(trained / self.path.name)

    def _keep_earlier_run(self) -> None:
        """Moves the files of a run that is there already to a folder beside it."""
        if not self.path.exists():
            return
        number = 1
        while (kept := self.folder.with_name(f"{self.folder.name}.{number}")).exists():
            number += 1
        kept.mkdir()
        files = ("checkpoint.safetensors", "samples.png", "samples.npz", "curves.png", "metrics.json")
        for name in (*files, *self.pictures):
            if (self.folder / name).exists():
                (self.folder / name).rename(kept / name)
        print(f"kept the earlier run as {kept}; --resume would have continued it")

    def _take_over(self, trained: Path) -> None:
        """Copies the checkpoint of a finished run, if it is one and has the same settings."""
        try:
            state = minigen.load(trained)
            settings = dict(state["settings"])
            same = all(settings.get(key) == value for key, value in self.settings.items())
            finished = int(state["step"]) == self.args.steps
        except (CheckpointError, KeyError, TypeError, ValueError):
            return  # then it is trained here
        if same and finished and trained != self.path:
            shutil.copyfile(trained, self.path)
            self._load()
            print(f"took over the network that was trained in {trained.parent}")

    def _load(self) -> None:
        try:
            state = minigen.load(self.path)
            settings = dict(state["settings"])
            changed = [f"--{k} {settings.get(k)}, not {v}" for k, v in self.settings.items() if settings.get(k) != v]
            if changed:
                sys.exit(f"cannot resume: the run in {self.folder} was started with {', '.join(changed)}")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.curves = {name: [(int(i), v) for i, v in points] for name, points in state["curves"].items()}
        except CheckpointError as error:
            sys.exit(f"cannot resume: {error}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            sys.exit(f"cannot resume: {self.path} was not written by this version of this script ({error})")

    def save(self) -> None:
        curves = {name: np.array(points) for name, points in self.curves.items()}
        own = {"settings": self.settings, "step": self.step, "seconds": self.seconds, "curves": curves}
        minigen.save({**own, **{name: part.state_dict() for name, part in self.parts.items()}}, self.path)

    def log(self, **values: float) -> None:
        """Adds a point to each named curve."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append((self.step, value))

    def steps(self) -> Iterator[int]:
        """Yields the number of each step still to be done."""
        from tqdm import tqdm

        interrupted: list[int] = []

        def stop_after_this_step(number: int, frame: Any) -> None:
            interrupted.append(number)
            print("\nfinishing this step, then saving; Ctrl-C again stops at once, without saving", file=sys.stderr)
            signal.signal(signal.SIGINT, previous)  # the next Ctrl-C stops at once

        previous = signal.signal(signal.SIGINT, stop_after_this_step)
        saved, started, before = time.monotonic(), time.monotonic(), self.seconds
        bar = tqdm(total=self.args.steps, initial=self.step, unit="step", desc="training", mininterval=0.5)
        try:
            while self.step < self.args.steps and not interrupted:
                yield self.step
                self._stop_if_diverged()
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - started
                speed = f"{self.step * self.args.batch / self.seconds:.0f} images/s"
                bar.set_postfix_str(", ".join([*self._recent(), speed, *self._memory()]), refresh=False)
                bar.update()
                if now - saved > SAVE_EVERY_SECONDS:
                    self.save()
                    saved = now
            self.save()
        finally:
            bar.close()
            signal.signal(signal.SIGINT, previous)
        if interrupted:
            print(f"stopped and saved after step {self.step} of {self.args.steps}; {how_to_resume()}")
            sys.exit(130)

    def _stop_if_diverged(self) -> None:
        """Before anything of this step is saved."""
        for name, points in self.curves.items():
            if not math.isfinite(points[-1][1]):
                kept = f"; what was saved before is kept in {self.path}" if self.path.exists() else ""
                sys.exit(
                    f"the run diverged: '{name}' is {points[-1][1]} at step {self.step}. The likely cause is a "
                    f"learning rate that is too high: halve it, or clip gradients; in a GAN, give D a penalty{kept}"
                )

    def _recent(self) -> list[str]:
        """The mean of each of the first three curves over its last 100 points."""
        first = list(self.curves.items())[:3]
        return [f"{name} {np.mean([value for _, value in points[-100:]]):.4f}" for name, points in first]

    def _memory(self) -> list[str]:
        """What CuPy's memory pool holds: in arrays, and in all."""
        if self.args.device == "cpu":
            return []
        import cupy

        pool = cupy.get_default_memory_pool()
        return [f"{pool.used_bytes() / 2**20:.0f} of {pool.total_bytes() / 2**20:.0f} MiB"]

    def write_samples(self, images: np.ndarray, rows: dict[str, np.ndarray] | None = None, **also: Any) -> None:
        """Writes samples.png (the first 100, or named `rows`), samples.npz (all, uint8, and `also`) and curves.png."""
        if rows is None:
            save_images(images[:100], self.folder / "samples.png")
        else:
            save_rows(rows, self.folder / "samples.png")
        np.savez_compressed(self.folder / "samples.npz", images=images, **also)
        save_curves({name: tuple(zip(*p)) for name, p in self.curves.items()}, self.folder / "curves.png")

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes metrics.json: the run's settings and time, and `metrics`."""
        own = {"steps": self.step, "training_seconds": round(self.seconds, 1), **self.settings}
        text = json.dumps(in_json({**own, **metrics}), indent=2, allow_nan=False)
        (self.folder / "metrics.json").write_text(text + "\n")
        print(f"wrote samples.png, samples.npz, curves.png and metrics.json to {self.folder}")


def in_json(value: Any) -> Any:
    """The value, with null for numbers that are not finite: JSON has no others, and strict readers refuse NaN."""
    if isinstance(value, dict):
        return {key: in_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def how_to_resume() -> str:
    return "continue with: python " + shlex.join([*(a for a in sys.argv if a != "--resume"), "--resume"])


def run_main(main: Callable[[], None]) -> None:
    """Runs an example; Ctrl-C outside of training, or a file that is no checkpoint, ends it with a sentence."""
    try:
        main()
    except CheckpointError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print(f"stopped; what was saved, if anything, is kept: {how_to_resume()}")
        sys.exit(130)


def report(figures: list[tuple[str, float, str, float, str]], check: bool) -> None:
    """Prints (what in which unit, value, '>=' or '<=', bound, what to compare it with) lines.

    With `check`, exits with 1 if a bound is missed.
    """
    missed = 0
    for name, value, relation, bound, baseline in figures:
        met = value >= bound if relation == ">=" else value <= bound
        missed += not met
        print(f"{'ok  ' if met else 'MISS'} {name}: {value:.4g}, asked {relation} {bound:.4g} | {baseline}")
    if check and missed:
        sys.exit(1)
