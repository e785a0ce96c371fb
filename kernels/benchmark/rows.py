"""All rows of the benchmark, with the ratios that they must at least have on two AVX-512 cores against PyTorch 2.13."""

from __future__ import annotations

from functools import partial

from kernels.benchmark import cases, models, processes
from kernels.benchmark.row import Case, Measured

# ---- kernels -------------------------------------------------------------------------------------------


def convolution(
    name: str, sizes: tuple[int, int, int, int], window: tuple[int, int, int], floors: tuple[float, float]
) -> list[Case]:
    """Forward, and with both gradients. sizes: batch, side, channels in and out; window: kernel, stride, padding."""
    n, side, channels, columns = sizes
    name = f"{name} {n}x{side}x{side}x{channels} -> {columns}"
    forward, both = (partial(cases.conv, *sizes, *window, passes) for passes in ("forward", "both"))
    return [
        Case("convolution", name, ("conv",), forward, floors[0]),
        Case("convolution", f"{name}, +backward", ("conv", "conv_transpose", "conv_weight_grad"), both, floors[1]),
    ]


def attention(n: int, length: int, heads: int, d: int) -> list[Case]:
    name = f"attention {n}x{length}x{heads}x{d}"
    kernels = ("attention", "attention_backward")
    forward, both = (partial(cases.attention, n, length, heads, d, backward) for backward in (False, True))
    return [
        Case("attention", name, kernels[:1], forward),
        Case("attention", f"{name}, +backward", kernels, both, 1.0),
    ]


NORM = ("group_norm", "group_norm_backward")
PIXELS = (32, 32, 32, 64)  # (N,H,W,C)
MILLION = 2**20

KERNEL_ROWS = [
    Case("matrix product", "matmul 1024x1024x1024", ("matmul",), partial(cases.matmul, 1024, 1024, 1024)),
    Case("matrix product", "matmul 8192x256x256", ("matmul",), partial(cases.matmul, 8192, 256, 256)),
    Case("matrix product", "matmul 64x256x256", ("matmul",), partial(cases.matmul, 64, 256, 256)),
    *convolution("3x3", (32, 32, 64, 64), (3, 1, 1), (2.0, 1.6)),
    *[
        Case("convolution", f"3x3 32x32x32x64 -> 64, {what} gradient", (kernel,),
             partial(cases.conv, 32, 32, 64, 64, 3, 1, 1, what))
        for what, kernel in (("input", "conv_transpose"), ("weight", "conv_weight_grad"))
    ],
    *convolution("3x3", (32, 16, 128, 128), (3, 1, 1), (1.5, 1.3)),
    *convolution("3x3", (32, 8, 256, 256), (3, 1, 1), (1.2, 1.1)),
    *convolution("1x1", (32, 16, 128, 128), (1, 1, 0), (0.9, 0.9)),
    *convolution("4x4 stride 2", (32, 32, 64, 128), (4, 2, 1), (0.9, 0.9)),
    *convolution("3x3", (32, 32, 3, 64), (3, 1, 1), (0.9, 0.9)),
    *convolution("3x3", (32, 32, 64, 3), (3, 1, 1), (0.9, 0.9)),
    Case("convolution", "transposed 4x4 stride 2 32x16x16x128 -> 64", ("conv_transpose",),
         partial(cases.conv_transpose, 32, 16, 128, 64, 4, "forward"), 0.9),
    Case("convolution", "transposed 4x4 stride 2 32x16x16x128 -> 64, +backward",
         ("conv_transpose", "conv", "conv_weight_grad"),
         partial(cases.conv_transpose, 32, 16, 128, 64, 4, "both"), 0.9),
    *[
        Case("modulation", f"modulated 3x3 {n}x{side}x{side}x{channels}, noise, bias, leaky ReLU, +backward",
             ("modulate", "modulate_backward"), partial(cases.modulated, n, side, channels))
        for n, side, channels in ((32, 32, 64), (32, 16, 128), (32, 8, 256))
    ],
    *attention(16, 256, 4, 32),
    *attention(2, 1024, 8, 64),
    Case("norm", "group norm + SiLU 32x32x32x64", NORM[:1], partial(cases.group_norm, PIXELS, 8, True, False)),
    Case("norm", "group norm + SiLU 32x32x32x64, +backward", NORM,
         partial(cases.group_norm, PIXELS, 8, True, True), 1.5),
    Case("norm", "group norm 32x32x32x64, +backward", NORM, partial(cases.group_norm, PIXELS, 8, False, True)),
    Case("norm", "layer norm 8192x512, +backward", NORM, partial(cases.layer_norm, 8192, 512)),
    Case("norm", "softmax 4096x1000, +backward", ("softmax", "softmax_backward"), partial(cases.softmax, 4096, 1000)),
    Case("noise", "philox, a million words", ("philox",), partial(cases.random_numbers, "philox", MILLION)),
    Case("noise", "uniform, a million", ("uniform",), partial(cases.random_numbers, "uniform", MILLION)),
    Case("noise", "normal, a million", ("normal",), partial(cases.random_numbers, "normal", MILLION)),
    Case("noise", "forward noising 128x32x32x3", ("add_noise",), partial(cases.add_noise, (128, 32, 32, 3)), 3.0),
    Case("noise", "DDPM step with guidance 128x32x32x3", ("ddpm_step",),
         partial(cases.denoising_step, "ddpm_step", (128, 32, 32, 3))),
    Case("noise", "DDIM step with guidance 128x32x32x3", ("ddim_step",),
         partial(cases.denoising_step, "ddim_step", (128, 32, 32, 3)), 2.0),
    Case("noise", "linear step of 4 arrays 128x32x32x3", ("linear_step",),
         partial(cases.linear_step, (128, 32, 32, 3))),
    Case("noise", "step of learned variance 128x32x32x3", ("gaussian_step",),
         partial(cases.gaussian_step, (128, 32, 32, 3))),
    Case("optimiser", "Adam, 10 M parameters", ("adam_",), partial(cases.adam, 10, 1000, False), 1.0),
    Case("optimiser", "clipping + Adam + average, 10 M", ("adam_", "global_norm"), partial(cases.adam, 10, 1000, True)),
    Case("optimiser", "norm of 10 M gradients", ("global_norm",), partial(cases.over_arrays, "global_norm", 10, 1000)),
    Case("optimiser", "scale_ 10 M", ("scale_",), partial(cases.over_arrays, "scale_", 10, 1000)),
    Case("optimiser", "lerp_ 10 M", ("lerp_",), partial(cases.over_arrays, "lerp_", 10, 1000)),
    Case("optimiser", "add_ 10 M", ("add_",), partial(cases.over_arrays, "add_", 10, 1000)),
    *[
        Case("elementwise", f"{name} 32x32x32x64, +backward", ("activation", "activation_backward"),
             partial(cases.activation, name, True))
        for name in ("silu", "gelu", "softplus")
    ],
    Case("elementwise", "silu 32x32x32x64", ("activation",), partial(cases.activation, "silu", False)),
    Case("elementwise", "add 32x32x32x64", ("arithmetic",), partial(cases.add, PIXELS, PIXELS)),
    Case("elementwise", "add 32x1x1x64 to 32x32x32x64", ("arithmetic",), partial(cases.add, PIXELS, (32, 1, 1, 64))),
    Case("elementwise", "sum over 32 x 1024 positions x 64", ("sum_positions",),
         partial(cases.sum_positions, 32, 1024, 64)),
    *[
        Case("elementwise", f"{name} 16x32x32x64", (kernel,), partial(cases.rearrange, kernel))
        for name, kernel in (("swap H and W,", "copy"), ("join two", "join"), ("upsample to", "upsample"),
                             ("2x2 sums of", "sum_blocks"))
    ],
    Case("elementwise", "FIR, 16x32x32x64 twice as large", ("upfirdn2d",), partial(cases.resample, 2, 1)),
    Case("elementwise", "FIR, 16x32x32x64 half as large", ("upfirdn2d",), partial(cases.resample, 1, 2)),
    Case("elementwise", "sum 16384 rows of 256 into 4096", ("index_add",),
         partial(cases.index_add, 4096, 16384, 256)),
]  # fmt: skip

# ---- models --------------------------------------------------------------------------------------------

MODEL_ROWS = [
    Case("model", "U-Net 6.5 M, 16x32x32x3, forward", (), partial(models.unet, 16, False), 1.8),
    Case("model", "U-Net 6.5 M, 16x32x32x3, training step", (), partial(models.unet, 16, True), 1.5),
    Case("model", "examples/ddpm.py, 64x28x28x1, training step", (), partial(models.example, 64)),
]
MEASURED_ROWS = [
    Measured("model", "U-Net 6.5 M, training step, peak memory", processes.peak_memory, unit="B"),
    Measured("start", "tape: a b + c of 1,000 numbers, +backward", models.tape),
    Measured("start", "examples/ddpm.py, cold start (all kernels compiled)", processes.cold_start),
    Measured("start", "examples/ddpm.py, first step, kernels on disk", processes.warm_start),
]
# Networks first, in memory as a training run finds it: after the other rows the heap is in pieces, which takes longer.
ROWS: list[Case | Measured] = [*MODEL_ROWS, *KERNEL_ROWS, *MEASURED_ROWS]
