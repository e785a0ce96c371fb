"""What the compiler makes of the CUDA kernels, and what a GPU could make of that. No GPU is needed.

    python -m kernels.cuda.report                     every kernel, and every row of the benchmark
    python -m kernels.cuda.report --only conv         some of them
    python -m kernels.cuda.report --all               also instances that no row of the benchmark launches
    python -m kernels.cuda.report --check             the gate: exits with 1 if a kernel spills registers
    python -m kernels.cuda.report --json FILE         keeps the figures
    python -m kernels.cuda.report --markdown          for kernels/README.md

The compiler is NVRTC, as CuPy uses it: pip install -e ".[report]". Nothing here is a measurement. A row's time is what
the definition's bytes and flops take at least at a GPU's peak rates: a bound from below on any kernel's time.
"""
