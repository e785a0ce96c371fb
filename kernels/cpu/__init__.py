"""The kernels in Numba: the functions of `kernels.reference`, with the same arguments and results.

Results depend neither on the number of threads nor, but for what sums over samples, on the other samples of a batch.

The first call of each with a dtype compiles it, which takes seconds; the machine code is kept in __pycache__.
"""

from kernels.cpu.activation import activation, activation_backward
from kernels.cpu.attention import attention, attention_backward
from kernels.cpu.conv import conv, conv_transpose, conv_weight_grad
from kernels.cpu.elementwise import arithmetic, sum_positions
from kernels.cpu.matmul import matmul
from kernels.cpu.modulate import modulate, modulate_backward
from kernels.cpu.noise import add_noise, ddim_step, ddpm_step, gaussian_step, linear_step
from kernels.cpu.norm import group_norm, group_norm_backward
from kernels.cpu.optimizer import adam_, add_, global_norm, lerp_, scale_
from kernels.cpu.philox import normal, philox, uniform
from kernels.cpu.rearrange import copy, join, sum_blocks, upsample
from kernels.cpu.resample import upfirdn2d
from kernels.cpu.scatter import index_add
from kernels.cpu.softmax import softmax, softmax_backward

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
