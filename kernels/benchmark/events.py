"""Times on a GPU, taken by the GPU itself: `alternate` does what that of timing.py does on a CPU.

A GPU works off a queue. An event in the queue is stamped with the time when the GPU comes to it, so two of them give
the time of what lies between, without that of Python, provided that all of it is in the queue when the GPU comes there.

    queue   | fill a large buffer | start | the run's kernels | end |

The buffer takes longer to fill than most runs take to be queued; and its numbers drive those that the last run left out
of the second-level cache: each run finds its inputs in memory, as in a network, where other layers ran since.
"""

from __future__ import annotations

import gc

from kernels.benchmark.row import Run, in_turn

FLUSHED = 2**29  # bytes: ten times an H100's second-level cache, a quarter of a millisecond
WARM_UP = 3  # runs before the first that counts: kernels are compiled, and cuDNN tries its algorithms
MOST_ROUNDS = 101


def alternate(runs: dict[str, Run], rounds: int, seconds: float = 1.0) -> dict[str, list[float]]:
    """Seconds for each run in each round: all take their turn in every round. At least `rounds` rounds, and more while
    they fit into `seconds`."""
    import cupy

    buffer = cupy.empty(FLUSHED, "uint8")
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in in_turn(runs, rounds, seconds, MOST_ROUNDS):
        times[name].append(timed(run, buffer))
    return times


def timed(run: Run, buffer: object) -> float:
    """Seconds between the events around a run. CuPy and PyTorch put their work into the same queue, the null stream."""
    from cupy import cuda

    start, end = cuda.Event(), cuda.Event()
    gc.disable()
    buffer.fill(0)  # type: ignore[attr-defined]
    start.record()
    run()
    end.record()
    end.synchronize()
    gc.enable()
    return cuda.get_elapsed_time(start, end) / 1e3
