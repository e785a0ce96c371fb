"""The kernels in CUDA C++: the functions of `kernels.reference` for CuPy arrays, with the same arguments and results.

Each .cu file holds kernels, the .py file of the same name the functions that launch them; `launch.py` is how. Importing
this package imports no CuPy: that happens when the first array comes.
"""

from kernels.cuda.activation import activation, activation_backward
from kernels.cuda.attention import attention, attention_backward
from kernels.cuda.conv import conv, conv_transpose, conv_weight_grad
from kernels.cuda.elementwise import arithmetic
from kernels.cuda.matmul import matmul
from kernels.cuda.modulate import modulate, modulate_backward
from kernels.cuda.noise import add_noise, ddim_step, ddpm_step, gaussian_step, linear_step
from kernels.cuda.norm import group_norm, group_norm_backward
from kernels.cuda.optimizer import adam_, add_, global_norm, lerp_, scale_
from kernels.cuda.philox import normal, philox, uniform
from kernels.cuda.rearrange import copy, join, sum_blocks, upsample
from kernels.cuda.resample import upfirdn2d
from kernels.cuda.scatter import index_add
from kernels.cuda.softmax import softmax, softmax_backward
from kernels.cuda.sums import sum_positions

__all__ = [
    "activation",
    "activation_backward",
    "adam_",
    "add_",
    "add_noise",
    "arithmetic",
    "attention",
    "attention_backward",
    "conv",
    "conv_transpose",
    "conv_weight_grad",
    "copy",
    "ddim_step",
    "ddpm_step",
    "gaussian_step",
    "global_norm",
    "group_norm",
    "group_norm_backward",
    "index_add",
    "join",
    "lerp_",
    "linear_step",
    "matmul",
    "modulate",
    "modulate_backward",
    "normal",
    "philox",
    "scale_",
    "softmax",
    "softmax_backward",
    "sum_blocks",
    "sum_positions",
    "uniform",
    "upfirdn2d",
    "upsample",
]
