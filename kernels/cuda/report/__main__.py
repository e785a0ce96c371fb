from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from kernels.cuda.report import __doc__ as description
from kernels.cuda.report import gate, table
from kernels.cuda.report.calls import launched_by_calls
from kernels.cuda.report.instances import ARCHS, instances
from kernels.cuda.report.rows import rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.cuda.report", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels and rows with this in their names")
    parser.add_argument("--all", action="store_true", help="all instances of kernels, not only those of the rows")
    parser.add_argument("--check", action="store_true", help="the gate: exit with 1 if a kernel spills registers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures here")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    return parser.parse_args()


def check(only: str) -> None:
    """The gate, over all instances with `only` in their names; what it finds is printed at once."""
    started = time.perf_counter()
    chosen = [v for v in gate.variants() if only in f"{v.file} {v.kernel}"]
    found = 0
    for line in gate.all_findings(chosen, [v for v in gate.variants(gate.LIKE_80) if only in f"{v.file} {v.kernel}"]):
        print(line, flush=True)
        found += 1
    seconds = time.perf_counter() - started
    compiled, like_80 = (", ".join(f"sm_{arch}" for arch in archs) for archs in (gate.ARCHS, gate.LIKE_80))
    print(f"{len(chosen)} instances for {compiled} compiled in {seconds:.0f} s, and launches on {like_80} checked:")
    print(f"{found} findings")
    sys.exit(bool(found))


def report(args: argparse.Namespace) -> None:
    every_row = list(rows())
    shown_rows = [row for row in every_row if args.only in f"{row.kind} {row.name}"]
    shown = []
    for arch in ARCHS:
        launches = launched_by_calls(arch) if args.all else [launch for row in every_row for launch in row.launches]
        shown += instances([launch for launch in launches if args.only in f"{launch.file} {launch.kernel}"], arch)
    style = table.markdown if args.markdown else table.plain
    print("Instructions and limits are those on sm_80; shared memory is static + dynamic, in bytes of a block.\n")
    print(*style(table.of_instances(shown)), sep="\n")
    print("\nBounds by the data sheets' peaks, not measurements:\n")
    print(*style(table.of_rows(shown_rows)), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(table.figures(shown, shown_rows), indent=1) + "\n")


def main() -> None:
    args = arguments()
    try:
        check(args.only) if args.check else report(args)
    except RuntimeError as error:
        sys.exit(f"python -m kernels.cuda.report: {error}")


if __name__ == "__main__":
    main()
