"""The kernels in CUDA C++: the functions of `kernels.reference` for CuPy arrays, with the same arguments and results.

Each .cu file holds kernels, the .py file of the same name the functions that launch them; `launch.py` is how. Importing
this package imports no CuPy: that happens when the first array comes.
"""

from kernels.cuda.activation import activation, activation_backward
from kernels.cuda.elementwise import arithmetic
from kernels.cuda.rearrange import copy, join, sum_blocks, upsample
from kernels.cuda.resample import upfirdn2d

__all__ = ["activation", "activation_backward", "arithmetic", "copy", "join", "sum_blocks", "upfirdn2d", "upsample"]
