"""Batches on a GPU: the next one is copied there while the network works on the present one.

    CPU          gather batch 1 into pinned memory | start copy 1 | (train on batch 0) | gather batch 2 | ...
    copy stream                                     |==== copy 1 ====|                  |=== copy 2 ===|
    GPU          |======================== training step on batch 0 =================| training step on 1 ...

A copy from pinned memory (which the system cannot move) needs neither the CPU nor the GPU's cores. Two events keep the
order: what computes waits for the copy of its batch, and a copy waits for what was launched before it, since it may
write to memory that an earlier batch was in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import Array, using


class Uploads:
    """The batch at a position, of each of the arrays, as CuPy arrays on `device`; `chosen` gives its indices.

    Asked for one after the other, each batch is on its way when its turn comes. Any position may be asked for.
    """

    def __init__(self, arrays: Sequence[np.ndarray], chosen: Callable[[int], np.ndarray], device: str):
        self.arrays, self.chosen, self.device = arrays, chosen, device
        with using(device):
            import cupy

            self.stream = cupy.cuda.Stream(non_blocking=True)
            self.slots = [_Slot(), _Slot()]  # pinned memory of the batch on its way, and of the one before
        self.ahead: tuple[int, tuple[Array, ...]] | None = None  # a position, and the batch on its way

    def batch(self, position: int) -> tuple[Array, ...]:
        import cupy

        with using(self.device):
            if self.ahead is None or self.ahead[0] != position:
                self.ahead = position, self._start(position)
            _, batch = self.ahead
            cupy.cuda.get_current_stream().wait_event(self.slots[position % 2].copied)
            self.ahead = position + 1, self._start(position + 1)
        return batch

    def _start(self, position: int) -> tuple[Array, ...]:
        """Starts copying a batch; gives the arrays in which it will be."""
        import cupy

        slot, chosen = self.slots[position % 2], self.chosen(position)
        slot.copied.synchronize()  # its pinned memory is free again
        computing = cupy.cuda.get_current_stream().record()
        self.stream.wait_event(computing)
        with self.stream:  # memory that is allocated here is used again by later batches only
            batch = tuple(cupy.empty((len(chosen), *a.shape[1:]), a.dtype) for a in self.arrays)
        for array, memory, x in zip(self.arrays, slot.pinned(batch), batch, strict=True):
            np.take(array, chosen, axis=0, out=memory, mode="clip")  # of "raise", NumPy would make another copy
            x.set(memory, stream=self.stream)
        self.stream.record(slot.copied)
        return batch


class _Slot:
    """Pinned memory for one batch, and the event after which it may be overwritten."""

    def __init__(self) -> None:
        import cupy

        self.copied = cupy.cuda.Event(disable_timing=True)
        self._pinned: list[np.ndarray] = []

    def pinned(self, batch: Sequence[Any]) -> list[np.ndarray]:
        """NumPy arrays like those of the batch, in pinned memory."""
        if not self._pinned:
            import cupy

            allocate = cupy.cuda.alloc_pinned_memory
            self._pinned = [np.ndarray(x.shape, x.dtype, allocate(max(x.nbytes, 1))) for x in batch]
        return self._pinned
