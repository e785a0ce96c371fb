"""How fast the kernels are: against PyTorch, and against this machine.

    python -m kernels.benchmark                        all rows; some minutes
    python -m kernels.benchmark --only conv --quick    rows whose name or kind contains "conv"; rough figures
    python -m kernels.benchmark --check                exits with 1 if a row is below its floor
    python -m kernels.benchmark --device cuda          on the first GPU: exactly, in TF32 and in float16

A row is timed in one process, ours and each peer in turn, again and again (`timing.py`; on a GPU, `events.py`). Its
columns:

    ours, peer    median times; of the peers (PyTorch with channels last and first, NumPy or CuPy) the fastest is shown
    ratio         the median over the rounds of the peer's time / ours: above 1, ours is faster
    floor         what the ratio must at least be; marked where it is not
    rate          GFLOP/s or GB/s of ours, whichever is closer to what the machine can do
    of limit      the time in which this machine's measured peaks would let the row be done / our time. What is
                  counted are the operations of the definition: Winograd's convolution does with a quarter of them, and
                  may exceed 100%

`cases.py` has the kernels' rows, `models.py` those of whole networks, `table.py` prints, `picture.py` draws; `cpu.py`
and `gpu.py` say what there is to time on either. In a GPU's rows that are marked TF32, PyTorch multiplies in TF32 too.
"""
