"""The kernels in CUDA C++: the functions of `kernels.reference` for CuPy arrays, with the same arguments and results.

Each .cu file holds kernels, the .py file of the same name the functions that launch them; `launch.py` is how. Importing
this package imports no CuPy: that happens when the first array comes.
"""

from kernels.cuda.noise import add_noise, ddim_step, ddpm_step
from kernels.cuda.optimizer import adam_, add_, global_norm, lerp_, scale_
from kernels.cuda.philox import normal, philox, uniform
from kernels.cuda.rearrange import upsample
from kernels.cuda.scatter import index_add

__all__ = [
    "adam_",
    "add_",
    "add_noise",
    "ddim_step",
    "ddpm_step",
    "global_norm",
    "index_add",
    "lerp_",
    "normal",
    "philox",
    "scale_",
    "uniform",
    "upsample",
]
