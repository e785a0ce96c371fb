"""What the rows of kernels run: a kernel, or a kernel with its backward pass, and the same in PyTorch, NumPy or CuPy.

Each function makes the arrays on a device, and says what is to be run on them and what the least work for it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kernels.benchmark.device import Array, Device
from kernels.benchmark.peers import (
    conv_weight,
    forward,
    forward_and_backward,
    image,
    in_both_layouts,
    in_torch,
    leaves,
    tensor,
    torch,
)
from kernels.benchmark.row import Run, Work

SMOOTH = 20  # flops for an exponential and what is around it


def size_of(*arrays: Array) -> int:
    """Bytes."""
    return sum(a.nbytes for a in arrays)


# ---- matrix products -----------------------------------------------------------------------------------


def matmul(m: int, k: int, n: int, on: Device) -> Work:
    a, b = on.normal(m, k), on.normal(k, n)
    peers = on.in_library(lambda: a @ b) | in_torch(on, lambda: partial(torch.matmul, tensor(a), tensor(b)))
    return Work(lambda: on.kernels.matmul(a, b), peers, 2 * m * k * n, size_of(a, b) + a.itemsize * m * n)


# ---- convolution ---------------------------------------------------------------------------------------


def conv(
    n: int, size: int, channels: int, columns: int, k: int, stride: int, padding: int, passes: str, on: Device
) -> Work:
    """passes: 'forward', 'both' ways, the 'input' gradient or the 'weight' gradient alone."""
    x, w = on.normal(n, size, size, channels), on.normal(k, k, channels, columns)
    settings: Any = dict(stride=stride, padding=padding)
    y = on.kernels.conv(x, w, **settings)
    g = on.normal(*y.shape)
    unread = (size + 2 * padding - k) % stride
    parts: dict[str, Run] = {
        "forward": lambda: on.kernels.conv(x, w, **settings),
        "input": lambda: on.kernels.conv_transpose(g, w.swapaxes(-1, -2), output_padding=unread, **settings),
        "weight": lambda: on.kernels.conv_weight_grad(x, g, (k, k), **settings),
    }
    chosen = list(parts) if passes == "both" else [passes]

    def peer(layout: Any) -> Run:
        tx, tw, tg = image(x, layout, True), conv_weight(w, layout), image(g, layout)
        if passes in ("input", "weight"):
            spatial = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1
            wanted = [passes == "input", passes == "weight", False]
            return forward(lambda: torch.ops.aten.convolution_backward(tg, tx, tw, None, *spatial, wanted))
        call = partial(torch.nn.functional.conv2d, tx, tw, **settings)
        return forward(call) if passes == "forward" else forward_and_backward(call, [tx, tw], tg)

    flops = 2 * y.size * k * k * channels * len(chosen)
    return Work(all_of(parts, chosen), in_both_layouts(on, peer), flops, len(chosen) * size_of(x, w, y))


def conv_transpose(n: int, size: int, channels: int, columns: int, k: int, passes: str, on: Device) -> Work:
    """Stride 2 and padding (k - 2) / 2: twice the size."""
    x, w = on.normal(n, size, size, channels), on.normal(k, k, channels, columns)
    g = on.normal(n, 2 * size, 2 * size, columns)
    settings: Any = dict(stride=2, padding=(k - 2) // 2)
    parts: dict[str, Run] = {
        "forward": lambda: on.kernels.conv_transpose(x, w, **settings),
        "input": lambda: on.kernels.conv(g, w.swapaxes(-1, -2), **settings),
        "weight": lambda: on.kernels.conv_weight_grad(g, x, (k, k), **settings),
    }
    chosen = list(parts) if passes == "both" else [passes]

    def peer(layout: Any) -> Run:
        tx, tw = image(x, layout, True), conv_weight(w, layout, transposed=True)
        call = partial(torch.nn.functional.conv_transpose2d, tx, tw, **settings)
        return forward(call) if passes == "forward" else forward_and_backward(call, [tx, tw], image(g, layout))

    flops = 2 * x.size * k * k * columns * len(chosen)
    return Work(all_of(parts, chosen), in_both_layouts(on, peer), flops, len(chosen) * size_of(x, w, g))


def modulated(n: int, size: int, channels: int, on: Device) -> Work:
    """A layer of StyleGAN 2, forwards and with the gradients of its six arguments: 3x3, noise, bias and leaky ReLU.

    PyTorch scales channels as we do, or convolves each image by itself with its own weight, as groups.
    """
    x, g, w = (
        on.normal(n, size, size, channels),
        on.normal(n, size, size, channels),
        on.normal(3, 3, channels, channels),
    )
    style, bias, noise = 1 + on.normal(n, channels) / 4, on.normal(channels), on.normal(n, size, size, 1)
    slope, eps = 0.2, 1e-8

    def ours() -> None:
        kernels, squared = on.kernels, np.einsum("hwio,hwio->io", w, w)
        rstd = ((style * style) @ squared + eps) ** -0.5
        scaled = kernels.modulate(x, style)
        y = kernels.conv(scaled, w, padding=1)
        kernels.modulate(y, rstd, noise, bias, slope)

        dy, drstd, _, _ = kernels.modulate_backward(g, y, rstd, noise, bias, slope)
        dw = kernels.conv_weight_grad(scaled, dy, (3, 3), padding=1)
        dscaled = kernels.conv_transpose(dy, w.swapaxes(-1, -2), padding=1)
        _, dstyle, _, _ = kernels.modulate_backward(dscaled, x, style)
        dsum = drstd * rstd**3  # -2 times the gradient of the sum under the root
        dw -= w * ((style * style).T @ dsum)
        dstyle -= style * (dsum @ squared.T)

    def peer(layout: Any, grouped: bool = False) -> Run:
        tx, tw, tn = image(x, layout, True), conv_weight(w, layout), image(noise, layout, True)
        ts, tb = leaves(style, bias)
        functional = torch.nn.functional

        def call() -> Any:
            if grouped:
                of_image = tw * ts[:, None, :, None, None]
                of_image = of_image * (of_image.square().sum((2, 3, 4), keepdim=True) + eps).rsqrt()
                together, weight = tx.reshape(1, -1, size, size), of_image.reshape(-1, channels, 3, 3)
                y = functional.conv2d(together, weight, padding=1, groups=n).reshape(tx.shape)
            else:
                y = functional.conv2d(tx * ts[:, :, None, None], tw, padding=1)
                rstd = (ts.square() @ tw.square().sum((2, 3)).T + eps).rsqrt()
                y = y * rstd[:, :, None, None]
            return functional.leaky_relu(y + tn + tb[:, None, None], slope)

        return forward_and_backward(call, [tx, tw, ts, tb, tn], image(g, layout))

    peers = in_both_layouts(on, peer) | in_torch(on, lambda: peer(torch.contiguous_format, True), "torch groups")
    return Work(ours, peers, 3 * 18 * x.size * channels, 14 * x.nbytes)


def all_of(parts: dict[str, Run], chosen: list[str]) -> Run:
    def run() -> None:
        for name in chosen:
            parts[name]()

    return run


# ---- attention -----------------------------------------------------------------------------------------


def attention(n: int, length: int, heads: int, d: int, backward: bool, on: Device) -> Work:
    q, k, v, g = on.normal(4, n, length, heads, d)

    def ours() -> None:
        out, lse = on.kernels.attention(q, k, v)
        if backward:
            on.kernels.attention_backward(g, out, lse, q, k, v)

    def peer(layout: Any) -> Run:
        swapped = [tensor(a).transpose(1, 2) for a in (q, k, v, g)]
        if layout is torch.contiguous_format:
            swapped = [t.contiguous() for t in swapped]
        *inputs, tg = swapped
        inputs = [t.requires_grad_() for t in inputs]
        call = partial(torch.nn.functional.scaled_dot_product_attention, *inputs)
        return forward_and_backward(call, inputs, tg) if backward else forward(call)

    products = 7 if backward else 2  # of the size of q k^T; the backward pass makes the scores again
    exponentials = 10 * (2 if backward else 1)
    flops = n * heads * length * length * (2 * products * d + exponentials)
    return Work(ours, in_both_layouts(on, peer), flops, q.nbytes * (12 if backward else 4))


# ---- normalisation -------------------------------------------------------------------------------------


def group_norm(shape: tuple[int, ...], groups: int, silu: bool, backward: bool, on: Device) -> Work:
    x, g = on.normal(*shape), on.normal(*shape)
    w, b = on.normal(2, shape[-1])

    def ours() -> None:
        _, mean, rstd = on.kernels.group_norm(x, groups, w, b, silu=silu)
        if backward:
            on.kernels.group_norm_backward(g, x, w, b, mean, rstd, groups, silu)

    def peer(layout: Any) -> Run:
        functional, (tw, tb) = torch.nn.functional, leaves(w, b)
        tx, tg = image(x, layout, True), image(g, layout)

        def call() -> Any:
            y = functional.group_norm(tx, groups, tw, tb)
            return functional.silu(y) if silu else y

        return forward_and_backward(call, [tx, tw, tb], tg) if backward else forward(call)

    flops = x.size * ((8 + SMOOTH * silu) + backward * (16 + SMOOTH * silu))
    return Work(ours, in_both_layouts(on, peer), flops, x.nbytes * (5 if backward else 2))


def layer_norm(rows: int, channels: int, on: Device) -> Work:
    x, g = on.normal(2, rows, channels)
    w, b = on.normal(2, channels)

    def ours() -> None:
        _, mean, rstd = on.kernels.group_norm(x, 1, w, b)
        on.kernels.group_norm_backward(g, x, w, b, mean, rstd, 1)

    def peer() -> Run:
        inputs = leaves(x, w, b)
        call = partial(torch.nn.functional.layer_norm, inputs[0], (channels,), *inputs[1:])
        return forward_and_backward(call, inputs, tensor(g))

    return Work(ours, in_torch(on, peer), 24 * x.size, 5 * x.nbytes)


def softmax(rows: int, length: int, on: Device) -> Work:
    x, g = on.normal(2, rows, length)

    def ours() -> Array:
        return on.kernels.softmax_backward(g, on.kernels.softmax(x))

    def peer() -> Run:
        inputs = leaves(x)
        return forward_and_backward(partial(torch.softmax, *inputs, -1), inputs, tensor(g))

    return Work(ours, in_torch(on, peer), (8 + SMOOTH) * x.size, 5 * x.nbytes)


# ---- noise ---------------------------------------------------------------------------------------------

ROUNDS = 60  # operations for a number of Philox: ten rounds of 24 give four
GAUSS = 40  # and to make it normal


def random_numbers(draw: str, n: int, on: Device) -> Work:
    generator = np.random.Generator(np.random.SFC64(0))
    ours: dict[str, Run] = {
        "philox": lambda: on.kernels.philox(0, 0, 0, n // 4),
        "uniform": lambda: on.kernels.uniform((1, n), 0, 0),
        "normal": lambda: on.kernels.normal((1, n), 0, 0),
    }
    numpy: dict[str, Run] = {
        "philox": lambda: generator.bytes(4 * n),
        "uniform": lambda: generator.random(n, np.float32),
        "normal": lambda: generator.standard_normal(n, np.float32),
    }
    peers = {"numpy": numpy[draw]} if on.library is np else {}
    if draw != "philox":
        peers |= in_torch(on, lambda: partial({"uniform": torch.rand, "normal": torch.randn}[draw], n))
    return Work(ours[draw], peers, n * (ROUNDS + GAUSS * (draw == "normal")), 4 * n)


def add_noise(shape: tuple[int, ...], on: Device) -> Work:
    alpha_bar = np.linspace(0.1, 0.9, shape[0], dtype=np.float32)
    x0, levels, sigma = on.normal(*shape), on.array(alpha_bar), on.array(np.sqrt(1 - alpha_bar**2))

    def peer() -> Run:
        tx, t = tensor(x0), tensor(levels).reshape(-1, 1, 1, 1)
        signal, noise = t.sqrt(), (1 - t).sqrt()

        def run() -> Any:
            z = torch.randn_like(tx)
            return signal * tx + noise * z, z

        return run

    flops = x0.size * (ROUNDS + GAUSS + 3)
    return Work(lambda: on.kernels.add_noise(x0, levels, sigma, 0, 0), in_torch(on, peer), flops, 3 * x0.nbytes)


def denoising_step(kernel: str, shape: tuple[int, ...], on: Device) -> Work:
    """With guidance and clipping."""
    x, out, uncond = on.normal(3, *shape)
    bar, previous, guidance = 0.5, 0.6, 3.0
    settings: Any = dict(seed=0, draw=0, out_uncond=uncond, guidance=guidance, clip=1.0)
    step = getattr(on.kernels, kernel)

    def peer() -> Run:
        tx, to, tu = map(tensor, (x, out, uncond))

        def ddim() -> Any:
            eps = tu + guidance * (to - tu)
            x0 = ((tx - (1 - bar) ** 0.5 * eps) / bar**0.5).clamp(-1, 1)
            eps = (tx - bar**0.5 * x0) / (1 - bar) ** 0.5
            return previous**0.5 * x0 + (1 - previous) ** 0.5 * eps

        def ddpm() -> Any:
            eps = tu + guidance * (to - tu)
            x0 = ((tx - (1 - bar) ** 0.5 * eps) / bar**0.5).clamp(-1, 1)
            beta = 1 - bar / previous
            mean = previous**0.5 * beta / (1 - bar) * x0 + (1 - beta) ** 0.5 * (1 - previous) / (1 - bar) * tx
            return mean + ((1 - previous) / (1 - bar) * beta) ** 0.5 * torch.randn_like(tx)

        return ddim if kernel == "ddim_step" else ddpm

    flops = x.size * (10 + (ROUNDS + GAUSS + 2) * (kernel == "ddpm_step"))
    return Work(lambda: step(x, out, bar, previous, **settings), in_torch(on, peer), flops, 4 * x.nbytes)


def linear_step(shape: tuple[int, ...], on: Device) -> Work:
    """As Heun's method takes it, with clipping."""
    arrays, coefficients = on.normal(4, *shape), (0.5, 0.25, -0.5, 0.75)

    def peer() -> Run:
        tensors = [tensor(a) for a in arrays]
        return lambda: sum(c * a for c, a in zip(coefficients, tensors)).clamp(-1, 1)

    step = on.kernels.linear_step
    flops, moved = 9 * arrays[0].size, 5 * arrays[0].nbytes
    return Work(lambda: step(arrays, coefficients, clip=1.0), in_torch(on, peer), flops, moved)


def gaussian_step(shape: tuple[int, ...], on: Device) -> Work:
    mean, log_variance = on.normal(2, *shape)

    def peer() -> Run:
        tm, tv = tensor(mean), tensor(log_variance)
        return lambda: tm + (tv / 2).exp() * torch.randn_like(tm)

    flops = mean.size * (ROUNDS + GAUSS + 13)
    return Work(lambda: on.kernels.gaussian_step(mean, log_variance, 0, 0), in_torch(on, peer), flops, 3 * mean.nbytes)


# ---- the optimiser -------------------------------------------------------------------------------------


def adam(arrays: int, side: int, around: bool, on: Device) -> Work:
    """`around`: with gradient clipping and a moving average of the parameters."""
    p, g, m, average = [list(on.normal(arrays, side, side)) for _ in range(4)]
    v = list(on.array(np.ones((arrays, side, side), np.float32)))
    step, settings = [0], (1e-3, (0.9, 0.999), 1e-8)

    def ours() -> None:
        step[0] += 1
        more: Any = (
            dict(scale=1 / max(1.0, on.kernels.global_norm(g)), averages=average, average_decay=0.999) if around else {}
        )
        on.kernels.adam_(p, g, m, v, step * arrays, *settings, **more)

    def peer() -> Run:
        tp, ta = leaves(*p), [tensor(a) for a in average]
        for t, a in zip(tp, g):
            t.grad = tensor(a)
        optimizer = torch.optim.Adam(tp, fused=True)

        def run() -> None:
            if around:
                torch.nn.utils.clip_grad_norm_(tp, 1.0)
            optimizer.step()
            if around:
                with torch.no_grad():
                    torch._foreach_lerp_(ta, tp, 1e-3)

        return run

    numbers = arrays * side * side
    return Work(ours, in_torch(on, peer), numbers * (12 + 5 * around), 4 * numbers * (7 + 3 * around))


def over_arrays(kernel: str, arrays: int, side: int, on: Device) -> Work:
    a, b = list(on.normal(arrays, side, side)), list(on.normal(arrays, side, side))
    numbers = arrays * side * side
    ours: Run = {
        "global_norm": lambda: on.kernels.global_norm(a),
        "scale_": lambda: on.kernels.scale_(a, 1.0),
        "lerp_": lambda: on.kernels.lerp_(a, b, 0.01),
        "add_": lambda: on.kernels.add_(a, b),
    }[kernel]

    def peer() -> Run:
        ta, tb = [tensor(x) for x in a], [tensor(x) for x in b]
        return {
            "global_norm": lambda: torch.stack(torch._foreach_norm(ta)).norm().item(),
            "scale_": lambda: torch._foreach_mul_(ta, 1.0),
            "lerp_": lambda: torch._foreach_lerp_(ta, tb, 0.01),
            "add_": lambda: torch._foreach_add_(ta, tb),
        }[kernel]

    flops, arrays_moved = {"global_norm": (2, 1), "scale_": (1, 2), "lerp_": (3, 3), "add_": (1, 3)}[kernel]
    return Work(ours, in_torch(on, peer), flops * numbers, 4 * arrays_moved * numbers)


# ---- element by element ----------------------------------------------------------------------------------


def activation(name: str, backward: bool, on: Device) -> Work:
    x, g = on.normal(2, 32, 32, 32, 64)

    def peer() -> Run:
        tx, tg = tensor(x, requires_grad=True), tensor(g)
        call = partial(getattr(torch.nn.functional, name), tx)
        return forward_and_backward(call, [tx], tg) if backward else forward(call)

    def ours() -> None:
        on.kernels.activation(x, name)
        if backward:
            on.kernels.activation_backward(g, x, name)

    return Work(ours, in_torch(on, peer), x.size * SMOOTH * (1 + backward), x.nbytes * (5 if backward else 2))


def add(shape: tuple[int, ...], other: tuple[int, ...], on: Device) -> Work:
    a, b = on.normal(*shape), on.normal(*other)
    peers = on.in_library(lambda: a + b) | in_torch(on, lambda: partial(torch.add, tensor(a), tensor(b)))
    return Work(lambda: on.kernels.arithmetic(a, b, "add"), peers, a.size, 2 * a.nbytes + b.nbytes)


def sum_positions(n: int, positions: int, channels: int, on: Device) -> Work:
    x = on.normal(n, positions, channels)
    peers = on.in_library(lambda: x.sum(1)) | in_torch(on, lambda: partial(torch.sum, tensor(x), 1))
    return Work(lambda: on.kernels.sum_positions(x), peers, x.size, x.nbytes)


def rearrange(name: str, on: Device) -> Work:
    """Kernels that only move numbers, or add blocks of four: 16x32x32x64."""
    x, small, factors = on.normal(16, 32, 32, 64), on.normal(16, 16, 16, 64), (2, 2)
    as_nchw = (0, 3, 1, 2)
    if name == "copy":
        view = x.swapaxes(1, 2)
        peers = on.in_library(view.copy) | in_torch(on, lambda: tensor(x).transpose(1, 2).contiguous)
        return Work(lambda: on.kernels.copy(view), peers, 0, 2 * x.nbytes)
    if name == "join":
        peers = on.in_library(lambda: on.library.concatenate([x, x], -1)) | in_torch(
            on, lambda: partial(torch.cat, [tensor(x), tensor(x)], -1)
        )
        return Work(lambda: on.kernels.join([x, x]), peers, 0, 4 * x.nbytes)
    if name == "upsample":
        peers = in_torch(
            on, lambda: partial(torch.nn.functional.interpolate, tensor(small.transpose(as_nchw)), scale_factor=2)
        )
        return Work(lambda: on.kernels.upsample(small, factors), peers, 0, small.nbytes + x.nbytes)
    peers = in_torch(on, lambda: partial(torch.nn.functional.avg_pool2d, tensor(x.transpose(as_nchw)), 2))
    return Work(lambda: on.kernels.sum_blocks(x, factors), peers, x.size, small.nbytes + x.nbytes)


def resample(up: int, down: int, on: Device) -> Work:
    """upfirdn2d of 16x32x32x64 with StyleGAN's four taps; PyTorch's convolution of each channel by itself."""
    x, taps = on.normal(16, 32, 32, 64), on.array(np.array([1, 3, 3, 1], np.float32) / 8)
    settings: Any = dict(up=up, down=down, padding=(2, 1) if up > 1 else (1, 1))
    y = on.kernels.upfirdn2d(x, taps, **settings)

    def peer(layout: Any) -> Run:
        filters = (tensor(taps)[:, None] * tensor(taps)).expand(x.shape[-1], 1, -1, -1)
        convolve = torch.nn.functional.conv_transpose2d if up > 1 else torch.nn.functional.conv2d
        return forward(partial(convolve, image(x, layout), filters, None, up * down, padding=1, groups=x.shape[-1]))

    in_between = y.size * x.shape[1] // y.shape[1]  # numbers after one axis
    flops = 2 * taps.size // up * (y.size + in_between)
    peers = in_both_layouts(on, peer)
    return Work(lambda: on.kernels.upfirdn2d(x, taps, **settings), peers, flops, size_of(x, y))


def index_add(places: int, count: int, channels: int, on: Device) -> Work:
    indices, g = np.random.default_rng(0).integers(0, places, count), on.normal(count, channels)
    at = on.array(indices)

    def peer() -> Run:
        y, ti, tg = torch.zeros(places, channels), tensor(indices), tensor(g)
        return lambda: y.zero_().index_add_(0, ti, tg)

    moved = 4 * places * channels + 3 * g.nbytes
    return Work(lambda: on.kernels.index_add((places, channels), at, g), in_torch(on, peer), g.size, moved)
