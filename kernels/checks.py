"""Argument validation shared by all implementations of the kernels.

Each public kernel calls its check once, first; the bodies then trust their arguments. Only `.shape`, `.ndim`,
`.dtype` and `.flags` are looked at, so NumPy and CuPy arrays are alike here. A wrong type or dtype is a TypeError,
anything else a ValueError; both say what was given and what is needed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Ints = tuple[int, ...]
IntOrInts = int | Sequence[int]

PREDICTIONS = ("eps", "x0", "v")
ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "exp", "erf", "silu", "softplus", "gelu", "gelu_tanh")
ARITHMETIC = ("add", "subtract", "multiply")
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
HALF_TOO = (np.dtype(np.float16), *FLOATS)  # what the CUDA kernels of convolution, norm and attention take


class Window(NamedTuple):
    """How a kernel slides over the spatial axes: one number per axis in each field."""

    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    out: Ints  # spatial size of the result (of `g` for a weight gradient)


class Resampling(NamedTuple):
    """What `upfirdn2d` does along one axis."""

    up: int
    down: int
    before: int  # zeros in front; what is cropped, if negative
    after: int
    out: int  # size of the result


# ---- matrix products -----------------------------------------------------------------------------------


def matmul(a, b, bias, dtypes=FLOATS) -> None:
    """a (M,K), b (K,N), bias (N,) or None."""
    one_dtype("matmul", dtypes, a=a, b=b, bias=bias)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: needs a (M, K) and b (K, N), got {a.shape} and {b.shape}")
    _has_shape("matmul", "bias", bias, (b.shape[1],), "for b {}", b.shape)


# ---- convolution ---------------------------------------------------------------------------------------


def conv(x, weight, bias, stride, padding, dilation, groups, slope, dtypes=FLOATS) -> Window:
    """x (N,*S,C), weight (*K, C/groups, O), bias (O,) or None; gives the window with the output size."""
    name = conv_name("conv", x)
    if not slope >= 0:
        raise ValueError(f"{name}: slope must not be negative; got {slope}")
    one_dtype(name, dtypes, x=x, weight=weight, bias=bias)
    kernel = _kernel_of(name, x, weight, "(*kernel, in / groups, out)")
    per_group, out_channels = weight.shape[-2:]
    _divides(name, "groups", groups, out_channels, "output channels of weight", weight)
    _channels_match(name, x, weight, per_group * groups)
    _has_shape(name, "bias", bias, (out_channels,), "for weight {}", weight.shape)
    window = _window(name, kernel, stride, padding, dilation)
    return window._replace(out=_conv_out(name, x, window))


def conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups, dtypes=FLOATS) -> Window:
    """x (N,*Q,C), weight (*K, C, O/groups), bias (O,) or None; gives the window with the output size."""
    name = conv_name("conv_transpose", x)
    one_dtype(name, dtypes, x=x, weight=weight, bias=bias)
    kernel = _kernel_of(name, x, weight, "(*kernel, in, out / groups)")
    in_channels, per_group = weight.shape[-2:]
    _divides(name, "groups", groups, in_channels, "input channels of weight", weight)
    _channels_match(name, x, weight, in_channels)
    _has_shape(name, "bias", bias, (per_group * groups,), "for weight {} and groups={}", weight.shape, groups)
    window = _window(name, kernel, stride, padding, dilation)
    extra = per_axis(name, "output_padding", output_padding, len(kernel), minimum=0)
    if any(e >= s for e, s in zip(extra, window.stride)):
        raise ValueError(f"{name}: output_padding {extra} must be smaller than stride {window.stride}")
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{name}: x {x.shape} has an empty spatial axis")
    out = tuple(
        (q - 1) * s - 2 * p + d * (k - 1) + 1 + e for q, k, s, p, d, e in zip(x.shape[1:-1], *window[:4], extra)
    )
    if min(out) < 1:
        raise ValueError(f"{name}: the output would have spatial size {out}: padding {window.padding} is too large")
    return window._replace(out=out)


def conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups, dtypes=FLOATS) -> Window:
    """x (N,*S,C) and g (N,*So,O), the gradient of the output of the convolution whose window is returned."""
    name = conv_name("conv", x, "_weight_grad")
    one_dtype(name, dtypes, x=x, g=g)
    kernel = per_axis(name, "kernel_size", kernel_size, x.ndim - 2, minimum=1)
    window = _window(name, kernel, stride, padding, dilation)
    window = window._replace(out=_conv_out(name, x, window))
    if g.ndim != x.ndim or g.shape[:-1] != (x.shape[0], *window.out):
        needed = f"({x.shape[0]}, {', '.join(map(str, window.out))}, out)"
        raise ValueError(f"{name}: g has shape {g.shape} but the convolution of x {x.shape} gives {needed}")
    _divides(name, "groups", groups, x.shape[-1], "channels of x", x)
    _divides(name, "groups", groups, g.shape[-1], "channels of g", g)
    return window


def conv_name(base: str, x, suffix: str = "") -> str:
    """The name that errors use, by the rank of x: `conv2d` for (N,H,W,C)."""
    _is_array(base + suffix, "x", x)
    if x.ndim not in (3, 4, 5):
        raise ValueError(f"{base + suffix}: x needs 3, 4 or 5 axes (N, *spatial, C) but has shape {x.shape}")
    return f"{base}{x.ndim - 2}d{suffix}"


def per_axis(name: str, argument: str, value: IntOrInts, axes: int, minimum: int) -> Ints:
    """An int, or a sequence with one int per spatial axis, as a tuple: `stride=2` -> `(2, 2)`."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{name}: {argument} {values} has {len(values)} numbers but there are {axes} spatial axes")
    try:
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an int or a tuple of ints; got {value!r}") from None
    if min(values) < minimum:
        raise ValueError(f"{name}: {argument} must be at least {minimum}; got {value}")
    return values


def _kernel_of(name: str, x, weight, layout: str) -> Ints:
    if weight.ndim != x.ndim:
        raise ValueError(f"{name}: weight needs {x.ndim} axes {layout} but has shape {weight.shape}")
    if 0 in weight.shape:
        raise ValueError(f"{name}: weight {weight.shape} has an empty axis")
    return tuple(weight.shape[:-2])


def _channels_match(name: str, x, weight, takes: int) -> None:
    if x.shape[-1] != takes:
        raise ValueError(
            f"{name}: x has {x.shape[-1]} channels (last axis of {x.shape}) but weight {weight.shape} takes {takes}"
        )


def _window(name: str, kernel: Ints, stride: IntOrInts, padding: IntOrInts, dilation: IntOrInts) -> Window:
    axes = len(kernel)
    return Window(
        kernel=kernel,
        stride=per_axis(name, "stride", stride, axes, minimum=1),
        padding=per_axis(name, "padding", padding, axes, minimum=0),
        dilation=per_axis(name, "dilation", dilation, axes, minimum=1),
        out=(),
    )


def _conv_out(name: str, x, window: Window) -> Ints:
    padded = tuple(size + 2 * p for size, p in zip(x.shape[1:-1], window.padding))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilation))
    if any(e > size for e, size in zip(extent, padded)):
        raise ValueError(
            f"{name}: the kernel spans {extent} (size {window.kernel}, dilation {window.dilation}) "
            f"but x {x.shape} is only {padded} with padding {window.padding}"
        )
    return tuple((size - e) // s + 1 for size, e, s in zip(padded, extent, window.stride))


# ---- normalisation -------------------------------------------------------------------------------------


def group_norm(x, num_groups, weight, bias, eps, dtypes=FLOATS) -> None:
    """x (N,*S,C) with any number of spatial axes, weight and bias (C,) or None."""
    _group_norm("group_norm", x, num_groups, weight, bias, dtypes)
    if not eps >= 0:
        raise ValueError(f"group_norm: eps must not be negative; got {eps}")


def group_norm_backward(g, x, weight, bias, mean, rstd, num_groups, dtypes=FLOATS) -> None:
    """g like x (N,*S,C); mean and rstd (N, num_groups) as group_norm returned them."""
    name = "group_norm_backward"
    one_dtype(name, dtypes, g=g, x=x, weight=weight, bias=bias)
    one_dtype(name, (statistics_dtype(x),), mean=mean, rstd=rstd)
    _group_norm(name, x, num_groups, weight, bias, dtypes)
    _has_shape(name, "g", g, tuple(x.shape), "like x")
    for statistic, array in (("mean", mean), ("rstd", rstd)):
        _has_shape(name, statistic, array, (x.shape[0], num_groups), "for x {} in {} groups", x.shape, num_groups)


def _group_norm(name: str, x, num_groups, weight, bias, dtypes) -> None:
    one_dtype(name, dtypes, x=x, weight=weight, bias=bias)
    if x.ndim < 2:
        raise ValueError(f"{name}: x needs 2 or more axes (N, *spatial, C) but has shape {x.shape}")
    if 0 in x.shape[1:]:
        raise ValueError(f"{name}: x {x.shape} has nothing to normalise in a sample")
    channels = x.shape[-1]
    _divides(name, "num_groups", num_groups, channels, "channels of x", x)
    for argument, array in (("weight", weight), ("bias", bias)):
        _has_shape(name, argument, array, (channels,), "for the {} channels of x {}", channels, x.shape)


# ---- softmax -------------------------------------------------------------------------------------------


def softmax(x, dtypes=FLOATS) -> None:
    """x (*S,L)."""
    one_dtype("softmax", dtypes, x=x)
    _has_last_axis("softmax", "x", x)


def softmax_backward(g, y, dtypes=FLOATS) -> None:
    """g like y (*S,L)."""
    one_dtype("softmax_backward", dtypes, g=g, y=y)
    _has_last_axis("softmax_backward", "y", y)
    _has_shape("softmax_backward", "g", g, tuple(y.shape), "like y")


def _has_last_axis(name: str, argument: str, array) -> None:
    if array.ndim == 0:
        raise ValueError(f"{name}: {argument} needs at least 1 axis but has shape ()")


# ---- attention -----------------------------------------------------------------------------------------


def attention(q, k, v, mask, scale, name: str = "attention", dtypes=FLOATS) -> float:
    """q (N,L,H,D), k (N,S,H,D), v (N,S,H,E), mask broadcasting to (N,H,L,S); gives the scale to use."""
    one_dtype(name, dtypes, q=q, k=k, v=v)
    for argument, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim != 4:
            raise ValueError(f"{name}: {argument} needs 4 axes (N, length, heads, d) but has shape {array.shape}")
    for axis, what in ((0, "samples"), (2, "heads")):
        for argument, array in (("k", k), ("v", v)):
            if array.shape[axis] != q.shape[axis]:
                raise ValueError(
                    f"{name}: q {q.shape} has {q.shape[axis]} {what} (axis {axis}) "
                    f"but {argument} {array.shape} has {array.shape[axis]}"
                )
    if q.shape[3] != k.shape[3]:
        raise ValueError(f"{name}: q {q.shape} has head size {q.shape[3]} (last axis) but k {k.shape} has {k.shape[3]}")
    if k.shape[1] != v.shape[1]:
        raise ValueError(f"{name}: k {k.shape} has {k.shape[1]} keys (axis 1) but v {v.shape} has {v.shape[1]} values")
    if q.shape[3] == 0 or v.shape[3] == 0:
        raise ValueError(f"{name}: q {q.shape} and v {v.shape} need a head size (last axis) of at least 1")
    if mask is not None:
        _mask(name, mask, q.dtype, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]))
    return 1.0 / math.sqrt(q.shape[3]) if scale is None else float(scale)


def attention_backward(g, out, lse, q, k, v, mask, scale, dtypes=FLOATS) -> float:
    """g and out (N,L,H,E) and lse (N,H,L) belong to attention(q, k, v, ...); gives the scale to use."""
    name = "attention_backward"
    one_dtype(name, dtypes, g=g, out=out, q=q, k=k, v=v)
    one_dtype(name, (statistics_dtype(q),), lse=lse)
    scale = attention(q, k, v, mask, scale, name, dtypes)
    samples, length, heads, _ = q.shape
    reason = "for q {} and v {}", q.shape, v.shape
    _has_shape(name, "g", g, (samples, length, heads, v.shape[3]), *reason)
    _has_shape(name, "out", out, (samples, length, heads, v.shape[3]), *reason)
    _has_shape(name, "lse", lse, (samples, heads, length), *reason)
    return scale


def _mask(name: str, mask, dtype, scores: Ints) -> None:
    _is_array(name, "mask", mask)
    if mask.dtype not in (np.dtype(bool), dtype):
        raise TypeError(f"{name}: mask is {mask.dtype}; it must be bool (True attends) or {dtype} like q (added)")
    try:
        fits = np.broadcast_shapes(mask.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: mask {mask.shape} does not broadcast to (N, heads, L, S) = {scores}")


# ---- noise ---------------------------------------------------------------------------------------------


def random(name: str, shape: Sequence[int], seed: int, draw: int, first_row: int, dtype) -> None:
    """shape (rows, ...): the words that its elements take must exist in draw `draw` of seed `seed`."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"{name}: dtype must be float32 or float64; got {np.dtype(dtype)}")
    if len(shape) < 1 or min(shape) < 0:
        raise ValueError(f"{name}: shape needs one or more axes (rows, ...), none negative; got {tuple(shape)}")
    philox(seed, draw, first_row, -(-math.prod(shape[1:]) // 4), name)
    if first_row + shape[0] > 2**32:
        raise ValueError(f"{name}: rows {first_row} to {first_row + shape[0]} go beyond the 2**32 of a draw")


def philox(seed: int, draw: int, row: int, blocks: int, name: str = "philox") -> None:
    """The four integers that address Philox blocks: 64, 64, 32 and 32 bits wide."""
    for argument, value, bits in (("seed", seed, 64), ("draw", draw, 64), ("row", row, 32)):
        if not 0 <= operator.index(value) < 2**bits:
            raise ValueError(f"{name}: {argument} must lie in [0, 2**{bits}); got {value}")
    if not 0 <= operator.index(blocks) <= 2**32:
        raise ValueError(f"{name}: a row has at most 2**32 blocks of 4 words; got {blocks}")


def add_noise(x0, alpha, sigma, seed, draw, first_row) -> None:
    """x0 (N, ...), alpha and sigma (N,)."""
    one_dtype("add_noise", x0=x0, alpha=alpha, sigma=sigma)
    random("add_noise", x0.shape, seed, draw, first_row, x0.dtype)
    for argument, array in (("alpha", alpha), ("sigma", sigma)):
        _has_shape("add_noise", argument, array, (x0.shape[0],), "one per sample of x0 {}", x0.shape)


def denoising_step(
    name: str, x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta
) -> tuple[float, float, float, float | None, float]:
    """x, out and out_uncond (N, ...) of one shape; signal levels alpha_bar (now) and alpha_bar_prev (next).

    Gives the five numbers back as Python floats, which, unlike NumPy's, leave float32 arrays float32.
    """
    one_dtype(name, x=x, out=out, out_uncond=out_uncond)
    _has_shape(name, "out", out, tuple(x.shape), "like x")
    _has_shape(name, "out_uncond", out_uncond, tuple(x.shape), "like x")
    if prediction not in PREDICTIONS:
        allowed = ", ".join(map(repr, PREDICTIONS))
        raise ValueError(f"{name}: prediction must be one of {allowed}; got {prediction!r}")
    if not 0 <= alpha_bar < 1:
        raise ValueError(f"{name}: alpha_bar must lie in [0, 1): the step starts from noise; got {alpha_bar}")
    if alpha_bar == 0 and prediction == "eps":
        raise ValueError(f"{name}: at alpha_bar 0 x is all noise, so that a prediction of eps says nothing of x0")
    if not 0 < alpha_bar_prev <= 1:
        raise ValueError(f"{name}: alpha_bar_prev must lie in (0, 1]; got {alpha_bar_prev}")
    if not 0 <= eta <= 1:
        raise ValueError(f"{name}: eta must lie in [0, 1]; got {eta}")
    if eta > 0 and alpha_bar_prev < alpha_bar:
        raise ValueError(
            f"{name}: alpha_bar_prev {alpha_bar_prev} is smaller than alpha_bar {alpha_bar}, "
            "but a random step goes towards less noise"
        )
    if out_uncond is None and guidance != 1:
        raise ValueError(f"{name}: guidance {guidance} needs out_uncond, the output without the condition")
    return float(alpha_bar), float(alpha_bar_prev), float(guidance), _clip(name, clip), float(eta)


def _clip(name: str, clip: float | None) -> float | None:
    if clip is not None and not clip > 0:
        raise ValueError(f"{name}: clip must be positive; got {clip}")
    return None if clip is None else float(clip)


def linear_step(arrays, coefficients, seed, draw, first_row, deviation, clip) -> tuple[list, float, float]:
    """1 to 5 arrays (N, ...) of one shape, with a coefficient each.

    Gives the coefficients, the deviation and the bound (infinite for none) back as Python floats.
    """
    name = "linear_step"
    if not 1 <= len(arrays) <= 5 or len(arrays) != len(coefficients):
        raise ValueError(
            f"{name}: needs 1 to 5 arrays and a coefficient for each; got {len(arrays)} and {len(coefficients)}"
        )
    one_dtype(name, **{f"array {i}": array for i, array in enumerate(arrays)})
    for i, array in enumerate(arrays):
        _has_shape(name, f"array {i}", array, tuple(arrays[0].shape), "like array 0")
    random(name, arrays[0].shape, seed, draw, first_row, arrays[0].dtype)
    numbers = [float(c) for c in coefficients]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}: the coefficients must be finite; got {numbers}")
    if not 0 <= deviation < math.inf:
        raise ValueError(f"{name}: deviation must be finite and at least 0; got {deviation}")
    return numbers, float(deviation), _clip(name, clip) or math.inf


def gaussian_step(mean, log_variance, seed, draw, first_row) -> None:
    """mean and log_variance (N, ...) of one shape."""
    one_dtype("gaussian_step", mean=mean, log_variance=log_variance)
    _has_shape("gaussian_step", "log_variance", log_variance, tuple(mean.shape), "like mean")
    random("gaussian_step", mean.shape, seed, draw, first_row, mean.dtype)


# ---- optimisers ----------------------------------------------------------------------------------------


def adam(parameters, gradients, means, squares, updates, averages) -> None:
    """Lists with an array for each parameter; those that are changed must be contiguous. An average may be None."""
    for argument, values in (("updates", updates), ("averages", averages)):
        if values is not None and len(values) != len(parameters):
            raise ValueError(f"adam_: needs {argument} for {len(parameters)} arrays; got {len(values)}")
    changed = {"parameters": parameters, "means": means, "squares": squares}
    if averages is not None:
        changed["averages"] = [p if a is None else a for p, a in zip(parameters, averages)]
    for argument, arrays in changed.items():
        changeable("adam_", argument, arrays)
    for argument, arrays in {**changed, "gradients": gradients}.items():
        _like("adam_", argument, arrays, parameters)
    if min(updates, default=1) < 1:
        raise ValueError(f"adam_: updates must count from 1; got {updates}")


def lerp(arrays, targets) -> None:
    changeable("lerp_", "arrays", arrays)
    _like("lerp_", "targets", targets, arrays)


def add(arrays, others) -> None:
    """Arrays of any layout, writable."""
    floats("add_", "arrays", arrays)
    for i, array in enumerate(arrays):
        if not getattr(array.flags, "writeable", True):  # an array of CuPy always is
            raise ValueError(f"add_: arrays[{i}] is changed in place: it must be writable")
    _like("add_", "others", others, arrays)


def changeable(name: str, argument: str, arrays) -> None:
    """Arrays that a kernel changes in place must be contiguous and writable."""
    floats(name, argument, arrays)
    for i, array in enumerate(arrays):
        if not getattr(array.flags, "carray", array.flags.c_contiguous):
            raise ValueError(f"{name}: {argument}[{i}] is changed in place: it must be contiguous and writable")


def floats(name: str, argument: str, arrays) -> None:
    """A list of arrays, each float32 or float64."""
    for i, array in enumerate(arrays):
        if not hasattr(array, "dtype") or array.dtype not in FLOATS:
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name}: {argument}[{i}] must be a float32 or float64 array; got {found}")


def _like(name: str, argument: str, arrays, models) -> None:
    """For each of the models, an array of its shape and dtype."""
    if len(arrays) != len(models):
        raise ValueError(f"{name}: needs {argument} for {len(models)} arrays; got {len(arrays)}")
    for i, (array, model) in enumerate(zip(arrays, models)):
        if getattr(array, "shape", None) != model.shape or array.dtype != model.dtype:
            found = f"{array.shape} {array.dtype}" if hasattr(array, "dtype") else type(array).__name__
            raise ValueError(f"{name}: {argument}[{i}] must be {model.shape} {model.dtype}; got {found}")


# ---- elementwise ---------------------------------------------------------------------------------------


def activation(x, name, slope) -> None:
    """x of any shape; slope for leaky_relu and for no other."""
    one_dtype("activation", x=x)
    _activation_name("activation", name, slope)


def activation_backward(g, v, name, slope) -> None:
    """g like v, of any shape."""
    one_dtype("activation_backward", g=g, v=v)
    _has_shape("activation_backward", "g", g, tuple(v.shape), "like v")
    _activation_name("activation_backward", name, slope)


def _activation_name(kernel: str, name: str, slope: float | None) -> None:
    if name not in ACTIVATIONS:
        raise ValueError(f"{kernel}: name {name!r} is unknown: choose from {', '.join(ACTIVATIONS)}")
    if (slope is None) == (name == "leaky_relu"):
        raise ValueError(f"{kernel}: leaky_relu needs a slope, and nothing else has one; {name} was given {slope}")


def arithmetic(a, b, name) -> None:
    """b broadcasts to the shape of a."""
    one_dtype("arithmetic", a=a, b=b)
    if name not in ARITHMETIC:
        raise ValueError(f"arithmetic: name {name!r} is unknown: choose from {', '.join(ARITHMETIC)}")
    if np.broadcast_shapes(a.shape, b.shape) != tuple(a.shape):
        raise ValueError(f"arithmetic: b {b.shape} does not broadcast to the shape of a {a.shape}")


def sum_positions(x) -> None:
    """x (N,M,C)."""
    one_dtype("sum_positions", x=x)
    if x.ndim != 3:
        raise ValueError(f"sum_positions: x needs 3 axes (N, M, C) but has shape {x.shape}")


def copy(x) -> None:
    one_dtype("copy", x=x)


def join(xs) -> None:
    """Arrays (..., C_i) whose other axes agree."""
    if not xs:
        raise ValueError("join: needs at least one array")
    one_dtype("join", **{f"xs[{i}]": x for i, x in enumerate(xs)})
    for i, x in enumerate(xs):
        if x.ndim == 0 or x.shape[:-1] != xs[0].shape[:-1]:
            raise ValueError(f"join: xs[{i}] {x.shape} and xs[0] {xs[0].shape} must agree in all axes but the last")


def upsample(x, factors, name: str = "upsample") -> None:
    """x (N,*S,C) with one to three spatial axes, and a factor for each."""
    one_dtype(name, x=x)
    if not isinstance(factors, Sequence):
        raise TypeError(f"{name}: factors must be a sequence with one for each spatial axis; got {factors!r}")
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{name}: x needs 3, 4 or 5 axes (N, *spatial, C) but has shape {x.shape}")
    per_axis(name, "factors", factors, x.ndim - 2, minimum=1)


def sum_blocks(x, factors) -> None:
    """x (N,*S,C) with one to three spatial axes, which the factors divide."""
    upsample(x, factors, "sum_blocks")
    if any(n % f for n, f in zip(x.shape[1:-1], factors)):
        raise ValueError(f"sum_blocks: factors {tuple(factors)} do not divide the spatial axes of x {x.shape}")


def index_add(shape, indices, g) -> None:
    """shape (V, C), indices (M,) and g (M, C). Whether the indices lie in [0, V) is not looked at."""
    one_dtype("index_add", g=g)
    _is_array("index_add", "indices", indices)
    if indices.dtype not in (np.int64, np.int32):
        raise TypeError(f"index_add: indices is {indices.dtype}; it must be int64 or int32")
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"index_add: shape needs two axes (V, C), none negative; got {tuple(shape)}")
    if indices.ndim != 1:
        raise ValueError(f"index_add: indices needs 1 axis (M,) but has shape {indices.shape}")
    _has_shape("index_add", "g", g, (len(indices), shape[1]), "for indices {} and shape {}", indices.shape, shape)


# ---- resampling ----------------------------------------------------------------------------------------


def upfirdn2d(x, taps, up, down, padding) -> tuple[Resampling, Resampling]:
    """x (N,H,W,C), taps (k,), padding (before, after) or a pair of these; gives what happens along H and along W."""
    name = "upfirdn2d"
    one_dtype(name, x=x, taps=taps)
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"{name}: x needs 4 axes (N, H, W, C), H and W not empty, but has shape {x.shape}")
    if taps.ndim != 1 or taps.size == 0:
        raise ValueError(f"{name}: taps needs 1 axis, not empty, but has shape {taps.shape}")
    up, down = per_axis(name, "up", up, 2, minimum=1), per_axis(name, "down", down, 2, minimum=1)
    before, after = zip(*_pairs(name, "padding", padding))
    padded = tuple(n * u + b + a for n, u, b, a in zip(x.shape[1:3], up, before, after))
    if any(n < taps.size for n in padded):
        raise ValueError(
            f"{name}: {taps.size} taps do not fit x {x.shape}, which is only {padded} with up {up} "
            f"and padding {padding}"
        )
    out = [(n - taps.size) // d + 1 for n, d in zip(padded, down)]
    rows, columns = map(Resampling, up, down, before, after, out)
    return rows, columns


def _pairs(name: str, argument: str, value) -> tuple[Ints, Ints]:
    """(before, after), or one of these for each of two axes, as the latter."""
    try:
        pairs = tuple(value) if isinstance(value[0], Sequence) else (value, value)
        (b0, a0), (b1, a1) = pairs
        return (operator.index(b0), operator.index(a0)), (operator.index(b1), operator.index(a1))
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: {argument} must be two ints (before, after), or a pair of these; got {value!r}"
        ) from None


# ---- modulation ----------------------------------------------------------------------------------------


def modulate(x, scale, noise, bias, slope, name: str = "modulate") -> None:
    """x (N,*S,C) with any number of spatial axes; scale (N,C), noise (N,*S,1) and bias (C,) or None."""
    one_dtype(name, x=x, scale=scale, noise=noise, bias=bias)
    if x.ndim < 2:
        raise ValueError(f"{name}: x needs 2 or more axes (N, *spatial, C) but has shape {x.shape}")
    _has_shape(name, "scale", scale, (x.shape[0], x.shape[-1]), "for x {}", x.shape)
    _has_shape(name, "noise", noise, (*x.shape[:-1], 1), "for x {}", x.shape)
    _has_shape(name, "bias", bias, (x.shape[-1],), "for x {}", x.shape)
    if not slope >= 0:
        raise ValueError(f"{name}: slope must not be negative; got {slope}")


def modulate_backward(g, x, scale, noise, bias, slope) -> None:
    """g like x (N,*S,C), the others as for `modulate`."""
    name = "modulate_backward"
    one_dtype(name, g=g, x=x)
    modulate(x, scale, noise, bias, slope, name)
    _has_shape(name, "g", g, tuple(x.shape), "like x")


# ---- shared --------------------------------------------------------------------------------------------


def one_dtype(name: str, dtypes: Sequence[np.dtype] = FLOATS, **arrays: Any) -> None:
    """All arrays (None is skipped) have one dtype, which is one of `dtypes`."""
    found = {getattr(array, "dtype", None) for array in arrays.values() if array is not None}
    if len(found) == 1 and found.issubset(dtypes):
        return
    given = {argument: array for argument, array in arrays.items() if array is not None}
    for argument, array in given.items():
        _is_array(name, argument, array)
        if array.dtype not in dtypes:
            raise TypeError(f"{name}: {argument} is {array.dtype}; it must be {' or '.join(map(str, dtypes))}")
    (first, array), *others = given.items()
    for argument, other in others:
        if other.dtype != array.dtype:
            raise TypeError(
                f"{name}: {first} is {array.dtype} but {argument} is {other.dtype}; give both one dtype "
                "(there is no silent promotion)"
            )


def statistics_dtype(x) -> np.dtype:
    """The dtype of sums over numbers of x that are kept for the backward pass: that of x, but float32 for float16."""
    return np.dtype(np.float32) if x.dtype == np.float16 else x.dtype


def _is_array(name: str, argument: str, value) -> None:
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise TypeError(f"{name}: {argument} must be an array; got {type(value).__name__}")


def _has_shape(name: str, argument: str, array, shape: Ints, reason: str, *about: Any) -> None:
    if array is not None and tuple(array.shape) != shape:
        raise ValueError(f"{name}: {argument} has shape {array.shape} but needs {shape} {reason.format(*about)}")


def _divides(name: str, argument: str, divisor: int, number: int, what: str, array) -> None:
    if not isinstance(divisor, (int, np.integer)) or divisor < 1:
        raise ValueError(f"{name}: {argument} must be a whole number of at least 1; got {divisor}")
    if number % divisor:
        raise ValueError(f"{name}: {argument}={divisor} does not divide the {number} {what} {array.shape}")
