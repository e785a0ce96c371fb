from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from types import ModuleType

# NumPy's BLAS lets its threads wait awake for 0.1 s after a product: in the rows after it, they would hold our cores.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2^20 cycles, 0.4 ms

import kernels.benchmark.peers  # noqa: F401 -- PyTorch, before our kernels: see there

# isort: split

from kernels.benchmark import __doc__ as description
from kernels.benchmark import cpu, gpu, table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.benchmark", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="what to run on")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their name or kind")
    parser.add_argument("--quick", action="store_true", help="few rounds: rough figures")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a row is below its floor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures here")
    parser.add_argument("--load", type=Path, metavar="FILE", help="measure nothing: take the figures that --json kept")
    parser.add_argument("--markdown", action="store_true", help="print the whole table in Markdown, at the end")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the kernels under this machine's roofline")
    return parser.parse_args()


def measured(device: ModuleType, only: str, quick: bool, show: bool) -> tuple:
    """(results, machine, about): every row is printed when it is done, with `show` on stdout."""
    everything = device.rows()
    rows = [(row, on) for row, on in everything if only.lower() in f"{row.kind} {on.named(row.name)}".lower()]
    if not rows:
        kinds = sorted({row.kind for row, _ in everything})
        sys.exit(f"--only {only}: no row has this in its name or kind; the kinds are {kinds}")
    machine, machine_about, results = device.measure_machine(quick), device.about(), []
    if show:
        print(*table.machine_lines(machine, machine_about), "", table.plain_line(table.TITLES), sep="\n", flush=True)
    for row, on in rows:
        time.sleep(0.2)
        results.append(table.measure(row, on, machine, rounds=3 if quick else 9))
        print(table.plain_line(results[-1].cells), file=sys.stdout if show else sys.stderr, flush=True)
    return results, machine, machine_about


def main() -> None:
    args = arguments()
    if args.load:
        kept = table.load(args.load)
    else:
        device = gpu if args.device == "cuda" else cpu
        kept = measured(device, args.only, args.quick, show=not args.markdown)
    if args.markdown:
        print(*table.markdown(*kept), sep="\n")
    if args.json:
        table.save(args.json, *kept)
    if args.picture:
        from kernels.benchmark.picture import draw

        draw(args.picture, *kept[:2])
    short = [f"{r.name} ({r.ratio:.2f}x of {r.floor:.2f}x)" for r in kept[0] if r.short]
    print(f"\nbelow their floors: {'; '.join(short) or 'none'}", file=sys.stderr if args.markdown else sys.stdout)
    sys.exit(bool(short) if args.check else 0)


if __name__ == "__main__":
    main()
