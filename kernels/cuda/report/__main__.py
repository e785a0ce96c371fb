from __future__ import annotations

import argparse
import sys
import time

from kernels.cuda.report import __doc__ as description
from kernels.cuda.report import gate


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.cuda.report", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels with this in their file or name")
    parser.add_argument("--check", action="store_true", help="the gate: exit with 1 if a kernel spills registers")
    return parser.parse_args()


def check(only: str) -> None:
    """The gate, over all instances with `only` in their names."""
    started = time.perf_counter()
    chosen = [v for v in gate.variants() if only in f"{v.file} {v.kernel}"]
    codes = gate.compile_all(chosen)
    findings = [line for variant, code in zip(chosen, codes) for line in gate.findings(variant, code)]
    print(*findings, sep="\n")
    kinds = ", ".join(f"sm_{arch}" for arch in gate.ARCHS)
    seconds = time.perf_counter() - started
    print(f"{len(chosen)} instances for {kinds} compiled in {seconds:.0f} s: {len(findings)} findings")
    sys.exit(bool(findings))


def main() -> None:
    args = arguments()
    try:
        if args.check:
            check(args.only)
    except RuntimeError as error:
        sys.exit(f"python -m kernels.cuda.report: {error}")


if __name__ == "__main__":
    main()
