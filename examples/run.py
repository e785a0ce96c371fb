"""A training run: it can be interrupted and resumed, keeps its curves and figures, and is checked at its end."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigen
from minigen.serialization import CheckpointError
from minigen.viz import save_curves, save_images, save_rows

SAVE_EVERY_SECONDS = 30
# between a run and its continuation
FREE_TO_CHANGE = (
    *("out", "device", "samples", "resume", "check", "trained", "autoencoder", "clip"),
    *("train", "sentence", "negative", "scale"),
)


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
            changed = [
                f"--{key.replace('_', '-')} {settings.get(key)}, not {value}"
                if key != "digest"
                else "other data, or another network that it stands on"
                for key, value in self.settings.items()
                if settings.get(key) != value
            ]
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
