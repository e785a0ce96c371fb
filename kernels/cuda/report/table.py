"""The report's two tables: of instances of kernels, and of the benchmark's rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from kernels.benchmark.table import quantity
from kernels.cuda.report.instances import ARCHS, Instance
from kernels.cuda.report.rows import A100, H100, Row

GPUS = (A100, H100)
SHOWN = ("HMMA", "LDGSTS.128", "LDG.128", "STG.128", "FFMA", "BAR")

Table = list[list[str]]  # the first row has the titles


def of_instances(instances: Iterable[Instance]) -> Table:
    """One line for a kernel's name expression, with its figures for each kind of GPU."""
    both = " ".join(str(arch) for arch in ARCHS)
    titles = ["kernel", "threads", f"registers {both}", "shared", f"occupancy {both}", "limit", *SHOWN]
    lines = [titles]
    by_name: dict[tuple[str, str], dict[int, Instance]] = {}
    for i in instances:
        by_name.setdefault((i.file, i.kernel), {})[i.arch] = i
    for (_, kernel), of in sorted(by_name.items()):
        first, kinds = of[min(of)], [of[arch] for arch in ARCHS if arch in of]
        shared = f"{first.static_shared}+{first.dynamic_shared}"
        lines.append([
            kernel, str(first.threads), " ".join(f"{i.registers}{' SPILLS' * bool(i.spilled)}" for i in kinds), shared,
            " ".join(f"{i.occupancy:.0%}" for i in kinds), first.limit,
            *[str(first.instructions[name]) for name in SHOWN],
        ])  # fmt: skip
    return lines


def of_rows(rows: Iterable[Row]) -> Table:
    """One line for a row; the blocks of its launches and the bytes of their arrays, one after another."""
    titles = ["row", "launches", "blocks", "MB of their arrays", "MB", "GFLOP", "FLOP/byte"]
    lines = [[*titles, *[f"{gpu.name}, at least" for gpu in GPUS]]]
    for row in rows:
        blocks = " + ".join(str(math.prod(launch.grid)) for launch in row.launches)
        arrays = " + ".join(f"{launch.moved / 1e6:.1f}" for launch in row.launches)
        bounds = [f"{quantity(seconds, 's')} ({what})" for seconds, what in map(row.bound, GPUS)]
        work = f"{row.moved / 1e6:.1f}", f"{row.flops / 1e9:.2f}", f"{row.intensity:.1f}"
        lines.append([row.name, str(len(row.launches)) if row.launches else "CuPy's", blocks, arrays, *work, *bounds])
    return lines


def plain(table: Table) -> Iterator[str]:
    """Aligned: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        yield "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()


def markdown(table: Table) -> Iterator[str]:
    titles, *lines = table
    yield f"| {' | '.join(titles)} |"
    yield f"|---|{'---:|' * (len(titles) - 1)}"
    for line in lines:
        yield f"| `{line[0]}` | {' | '.join(line[1:])} |"


def figures(instances: Iterable[Instance], rows: Iterable[Row]) -> dict[str, Any]:
    """Everything, for --json."""
    return {
        "kernels": [asdict(i) for i in instances],
        "rows": [
            asdict(row)
            | {"launches": [launch._asdict() for launch in row.launches]}
            | {"at least": {gpu.name: row.bound(gpu)[0] for gpu in GPUS}}
            for row in rows
        ],
        "peaks": [gpu._asdict() for gpu in GPUS],
    }
