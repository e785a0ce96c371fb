"""Runs all examples at full length with `--check`, one after the other, and writes what came out to GALLERY.md.

    python examples/run_all.py                       # all that have no entry yet: hours
    python examples/run_all.py diffusion vae         # a family, and an example
    python examples/run_all.py ddpm --again          # though it has an entry

Ctrl-C stops between two steps of a training, and says how to go on from there. Each example's folder is in --out.
What is known of each is kept in gallery/results.json, and GALLERY.md is made from that: figures beside what they are
compared with, how long it took, the command, and the commit it was run at. What an example stands on, such as the
autoencoder of latent.py, it makes itself, in its own time, if that is not in --out.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PICTURES = HERE / "gallery" / "results.json", HERE / "gallery" / "pictures"
# In an order in which what an example takes over from another is there before it.
FAMILIES: dict[str, tuple[str, ...]] = {
    "autoencoders": (
        *("autoencoder", "features", "denoising", "anomaly", "vae", "vqvae", "compression", "kl_autoencoder"),
    ),
    "gans": (
        *("gan", "stacked_modes", "dcgan", "wgan_gp", "augmentation", "pix2pix", "cyclegan", "srgan", "stylegan"),
        "video_gan",
    ),
    "diffusion": (
        *("ddpm", "samplers", "conditional", "flow_matching", "inpainting", "editing", "super_resolution", "voxels"),
        *("video", "latent"),
    ),
    "text": ("clip", "text_to_image", "clip_guidance"),
    "together": ("comparison",),
}
EVERY = [name for names in FAMILIES.values() for name in names]
MORE = {name: ["--trained", "{out}/ddpm"] for name in ("samplers", "inpainting", "editing")}
MORE["text_to_image"] = ["--train"]
FIGURE = re.compile(r"(ok  |MISS) (.+): (\S+), asked ([<>]=) (\S+) \| (.*)")  # as `report` in run.py prints it
Entry = dict[str, Any]


def command(name: str, out: str) -> list[str]:
    return ["python", f"examples/{name}.py", "--check", *(a.format(out=out) for a in MORE.get(name, []))]


def run(name: str, out: Path) -> Entry | None:
    """Runs an example to its end, from where it was stopped if it was; None if it is stopped again, or fails."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    clock = folder / "clock.json"  # what earlier parts of a run that was stopped took, and the commits they were run at
    stopped, at = clock.exists(), commit()
    before, commits = json.loads(clock.read_text()) if stopped else (0, [])
    commits += [at] * (at not in commits)
    line = [sys.executable, "-u", str(HERE / f"{name}.py"), *command(name, str(out))[2:], "--out", str(folder)]
    line += ["--resume"] * stopped
    print(f"\n{name}: {' '.join(line[2:])}", flush=True)
    clock.write_text(json.dumps([before, commits]))
    started, figures, interrupts = time.monotonic(), [], []
    # of Ctrl-C the example hears, too: it saves, says so, and ends
    previous = signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    try:
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            for said in process.stdout or ():
                print(said, end="", flush=True)
                if match := FIGURE.match(said):
                    figures.append([match[1] == "ok  ", *match.groups()[1:]])
    finally:
        signal.signal(signal.SIGINT, previous)
    seconds = before + round(time.monotonic() - started)
    clock.write_text(json.dumps([seconds, commits]))
    if interrupts:
        raise KeyboardInterrupt
    if process.returncode not in (0, 1) or not figures:
        if process.returncode == 1:  # an error, such as a run that cannot be resumed: the next one is a new one
            clock.unlink()
        print(f"{name} ended with {process.returncode} and is not in the gallery", file=sys.stderr)
        return None
    clock.unlink()
    PICTURES.mkdir(exist_ok=True)
    shutil.copyfile(folder / "samples.png", PICTURES / f"{name}.png")
    return {
        "figures": figures,
        "seconds": seconds,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "command": " ".join(command(name, "runs")),
        "commit": ", ".join(commits),
    }


def commit() -> str:
    """The commit that is checked out, with a + if files differ from it, but for those written here."""
    written = [f":(exclude){path.relative_to(HERE)}" for path in (HERE / "GALLERY.md", RESULTS, PICTURES)]
    try:
        changes = ["status", "--porcelain", "--untracked-files=no", "--", ":/", *written]
        asked = (["rev-parse", "--short", "HEAD"], changes)
        head, changed = (subprocess.check_output(["git", *a], cwd=HERE, text=True).strip() for a in asked)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changed)


def title(name: str) -> str:
    """The first line of an example's docstring."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or name).split("\n")[0]


def known() -> dict[str, Entry]:
    """All entries, those of other processes that run examples of this folder included."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def write_gallery(results: dict[str, Entry]) -> None:
    lines = [
        "# All examples",
        "",
        "Made by `python examples/run_all.py` from runs of seed 0 at full length; each names the commit it was run at.",
        "Times are those of the commands; what an example stands on is in them only if it had to be made for it.",
        "",
    ]
    for family, names in FAMILIES.items():
        if any(name in results for name in names):
            lines += [f"## {'GANs' if family == 'gans' else family.capitalize()}", ""]
        lines += [line for name in names if name in results for line in section(name, results[name])]
    (HERE / "GALLERY.md").write_text("\n".join(lines))


def section(name: str, entry: Entry) -> list[str]:
    minutes, missed = entry["seconds"] / 60, sum(not figure[0] for figure in entry["figures"])
    table = [
        f"| {'' if met else '**missed** '}{what} | {value} | {relation} {bound} | {beside} |"
        for met, what, value, relation, bound, beside in entry["figures"]
    ]
    return [
        f"### `{name}.py`",
        "",
        f"{title(name)} {minutes:.0f} minutes on {entry['cores']} core{'s' * (entry['cores'] > 1)}, at "
        f"{entry['commit']}; {missed or 'no'} figure{'s' * (missed != 1)} missed.",
        "",
        f"    {entry['command']}",
        "",
        "| figure | value | asked | beside |",
        "|---|---|---|---|",
        *table,
        "",
        f"![What {name}.py made](gallery/pictures/{name}.png)",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chosen", nargs="*", metavar="name", help=f"examples, or families: {', '.join(FAMILIES)}")
    parser.add_argument("--again", action="store_true", help="those with an entry, too")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for the folders of the examples")
    args = parser.parse_args()
    chosen = {name for word in args.chosen or FAMILIES for name in FAMILIES.get(word, (word,))}
    if unknown := chosen - set(EVERY):
        parser.error(f"no examples or families: {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    results = known()
    todo = [name for name in EVERY if name in chosen and (args.again or name not in results)]
    failed = []
    for i, name in enumerate(todo):
        try:
            entry = run(name, args.out.resolve())
        except KeyboardInterrupt:
            line = ["python", *sys.argv[:1], *todo[i:], *["--again"] * args.again, "--out", str(args.out)]
            sys.exit(f"stopped; go on with: {shlex.join(line)}")
        if entry is None:
            failed.append(name)
        else:
            results = known() | {name: entry}
            unfinished = RESULTS.with_suffix(".tmp")
            unfinished.write_text(json.dumps({n: results[n] for n in EVERY if n in results}, indent=1) + "\n")
            unfinished.replace(RESULTS)
            write_gallery(results)
    left = [name for name in EVERY if name not in results]
    print(f"{len(results)} of {len(EVERY)} examples are in {HERE / 'GALLERY.md'}; left: {', '.join(left) or 'none'}")
    if failed:
        sys.exit(f"ended without figures: {', '.join(failed)}")


if __name__ == "__main__":
    main()
