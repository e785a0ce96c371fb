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
    """The threads for rows of this length of these contiguous arrays. Few kinds: each is compiled by itself."""
    width = vector_width(length, *arrays)
    most = BYTES // max(4, arrays[0].dtype.itemsize)  # numbers in a thread
    for threads, numbers in ((WARP, most // 4), (WARP, most), (THREADS, most)):
        if length <= threads * numbers:
            return Team(width, numbers // width, threads)
    return Team(width, 0, THREADS)
