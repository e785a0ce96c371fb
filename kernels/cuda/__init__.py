"""The kernels in CUDA C++: the functions of `kernels.reference` for CuPy arrays, with the same arguments and results.

Each .cu file holds kernels, the .py file of the same name the functions that launch them; `launch.py` is how. Importing
this package imports no CuPy: that happens when the first array comes.
"""

from kernels.cuda.conv import conv, conv_transpose, conv_weight_grad
from kernels.cuda.matmul import matmul
from kernels.cuda.rearrange import upsample

__all__ = ["conv", "conv_transpose", "conv_weight_grad", "matmul", "upsample"]
