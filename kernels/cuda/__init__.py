"""The kernels in CUDA C++: the functions of `kernels.reference` for CuPy arrays, with the same arguments and results.

Each .cu file holds kernels, the .py file of the same name the functions that launch them; `launch.py` is how. Importing
this package imports no CuPy: that happens when the first array comes.
"""

from kernels.cuda.norm import group_norm, group_norm_backward
from kernels.cuda.rearrange import upsample
from kernels.cuda.softmax import softmax, softmax_backward
from kernels.cuda.sums import sum_positions

__all__ = ["group_norm", "group_norm_backward", "softmax", "softmax_backward", "sum_positions", "upsample"]
