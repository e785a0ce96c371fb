"""Measuring rows, and printing them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kernels.benchmark.device import Device
from kernels.benchmark.peers import precision
from kernels.benchmark.row import Case, Measured
from kernels.benchmark.timing import Machine, compare


@dataclass
class Result:
    """A measured row. Times are in seconds, and memory in bytes (`unit` "B")."""

    kind: str
    name: str
    ours: float
    peer: float | None
    peer_name: str
    ratio: float | None
    floor: float | None
    unit: str = "s"
    flops: float = 0
    moved: float = 0
    limit: float = 0  # the least seconds that this machine needs
    limited_by: str = ""  # "flops" or "bytes"

    @property
    def short(self) -> bool:
        """Whether the row is below its floor; without a peer, it cannot be."""
        return self.ratio is not None and self.floor is not None and self.ratio < self.floor

    @property
    def share(self) -> float:
        """Of what this machine could do."""
        return self.limit / self.ours

    @property
    def rate(self) -> str:
        if not self.limited_by:
            return ""
        work, unit = (self.flops, "GFLOP/s") if self.limited_by == "flops" else (self.moved, "GB/s")
        return f"{work / self.ours / 1e9:.0f} {unit}"

    @property
    def cells(self) -> list[str]:
        return [
            self.name,
            quantity(self.ours, self.unit),
            "" if self.peer is None else f"{quantity(self.peer, self.unit)} {self.peer_name}",
            "" if self.ratio is None else f"{self.ratio:.2f}x",
            "" if self.floor is None else f"{self.floor:.2f}x{' SHORT' if self.short else ''}",
            self.rate,
            f"{self.share:.0%}" if self.limited_by else "",
        ]


def quantity(value: float, unit: str) -> str:
    """1.23 ms, 45.6 µs, 789 MB: three digits."""
    prefixes = [(1e9, "G"), (1e6, "M"), (1e3, "k")] if unit == "B" else [(1, ""), (1e-3, "m"), (1e-6, "µ")]
    factor, prefix = next(((f, p) for f, p in prefixes if value >= f), prefixes[-1])
    digits = value / factor
    return f"{digits:.{0 if digits >= 100 else 1 if digits >= 10 else 2}f} {prefix}{unit}"


def measure(row: Case | Measured, on: Device, machine: Machine, rounds: int) -> Result:
    if isinstance(row, Measured):
        return Result(row.kind, row.name, *row.measure(rounds), row.floor, row.unit)
    with precision(on):
        work = row.build(on)
        compared = compare(on.alternate({"ours": work.ours, **work.peers}, rounds))
    limit = machine.limit(work.flops, work.moved, on.numbers)
    return Result(row.kind, on.named(row.name), *compared, row.floor, "s", work.flops, work.moved, *limit)


# ---- print ---------------------------------------------------------------------------------------------

TITLES = ["", "ours", "peer", "ratio", "floor", "rate", "of limit"]
WIDTHS = [54, 9, 20, 8, 13, 14, 10]


def machine_lines(machine: Machine, about: dict[str, str]) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in about.items())
    copies = ", ".join(f"{gbytes:.0f} GB/s in {size / 2**20:.0f} MB" for size, gbytes in machine.gbytes.items())
    products = ", ".join(
        f"{gflops:.0f} GFLOP/s in a matrix product{'' if numbers == 'float32' else f' of {numbers}'}"
        for numbers, gflops in machine.gflops.items()
    )
    yield f"at most: {products}, copies at {copies}"


def plain_line(cells: list[str]) -> str:
    name, *others = cells
    return f"{name:{WIDTHS[0]}}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, WIDTHS[1:]))


def markdown(results: list[Result], machine: Machine, about: dict[str, str]) -> Iterator[str]:
    first, second = machine_lines(machine, about)
    yield f"{first}; {second}."
    yield ""
    yield f"| {' | '.join(TITLES)} |"
    yield f"|---|{'---:|' * (len(TITLES) - 1)}"
    for result in results:
        yield f"| {' | '.join(result.cells)} |"


# ---- keep ----------------------------------------------------------------------------------------------


def save(path: Path, results: list[Result], machine: Machine, about: dict[str, str]) -> None:
    rows = [asdict(r) | dict(short=r.short, share=r.share) for r in results]
    figures = dict(gflops=machine.gflops, gbytes={str(size): value for size, value in machine.gbytes.items()})
    path.write_text(json.dumps(dict(about=about, machine=figures, rows=rows), indent=1) + "\n")


def load(path: Path) -> tuple[list[Result], Machine, dict[str, str]]:
    kept = json.loads(path.read_text())
    results = [Result(**{k: v for k, v in row.items() if k not in ("short", "share")}) for row in kept["rows"]]
    gbytes = {int(size): value for size, value in kept["machine"]["gbytes"].items()}
    return results, Machine(kept["machine"]["gflops"], gbytes), kept["about"]
