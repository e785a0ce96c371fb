"""How the blocks of columns.cuh are laid over (samples, positions, channels)."""

from __future__ import annotations

from typing import NamedTuple

THREADS = 256
WIDEST = 32  # vectors side by side: a warp's
MOST_UNITS = 1024  # of a sample


class Tiling(NamedTuple):
    columns: int  # vectors of channels in a block
    vectors: int  # in a position
    unit: int  # positions in a block
    units: int  # in a sample; the last may be smaller


def tiling(positions: int, vectors: int, each: int) -> Tiling:
    """Blocks in which a thread takes `each` positions: more only where a sample would be cut into too many units.

    This depends on the sizes alone, and on it depends the order of sums.
    """
    columns = -(-vectors // max(1, -(-vectors // WIDEST)))
    rows = THREADS // max(1, columns)
    unit = rows * max(each, -(-positions // (rows * MOST_UNITS)))
    return Tiling(columns, vectors, unit, max(1, -(-positions // unit)))
