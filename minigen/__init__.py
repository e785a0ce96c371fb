"""minigen: a small autograd engine on NumPy and CuPy arrays, with hand-written kernels, for generative models.

Where to start reading: `tensor.py` and `autograd.py` (the engine), `ops/` (one rule below each operation),
`nn/` (layers), `diffusion/` (a model family on top).
"""

import importlib.util as _util

_spec = _util.find_spec("kernels")
if _spec is None or _util.find_spec("kernels.reference") is None:
    raise ImportError(
        "minigen needs its own package 'kernels', but "
        + (f"another one is found first, in {_spec.origin}" if _spec else "it is not installed")
        + "; install minigen with pip, in an environment without that package"
    )

from kernels.precision import float32_matmul_precision

from . import autograd, nn, ops, optim, random
from .autograd import detect_anomaly, enable_grad, grad, is_grad_enabled, no_grad
from .backend import get_num_threads, release_memory, set_num_threads
from .nn import functional as F
from .ops import *
from .random import manual_seed, rand, randint, randn
from .recompute import checkpoint
from .serialization import load, save
from .tensor import Tensor, tensor

__version__ = "0.1.0"

__all__ = [
    "F",
    "Tensor",
    "autograd",
    "checkpoint",
    "detect_anomaly",
    "enable_grad",
    "float32_matmul_precision",
    "get_num_threads",
    "grad",
    "is_grad_enabled",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "rand",
    "randint",
    "randn",
    "random",
    "release_memory",
    "save",
    "set_num_threads",
    "tensor",
]
__all__ += ops.__all__
