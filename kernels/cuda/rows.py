"""How the threads of rows.cuh are laid over (rows, length)."""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.cuda.launch import vector_width

THREADS = 256
WARP = 32
BYTES = 128  # of a row, in a thread's registers, at most


class Team(NamedTuple):
    width: int  # numbers in a vector
    vectors: int  # of a thread; 0 if the row is too long for registers
    threads: int  # that share a row

    @property
    def rows(self) -> int:
        """Of a block."""
        return THREADS // self.threads


def team(length: int, *arrays: Any) -> Team:
    """The threads for rows of this length of these contiguous arrays."""
    width = vector_width(length, *arrays)
    most = BYTES // max(4, arrays[0].dtype.itemsize)  # numbers in a thread
    threads = WARP if length <= WARP * most else THREADS
    each = -(-length // (width * threads))
    return Team(width, 2 ** (each - 1).bit_length() if each * width <= most else 0, threads)
