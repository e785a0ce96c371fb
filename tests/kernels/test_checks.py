"""What the kernels refuse, in both implementations, and that they say what was given and what is needed."""

import re

import numpy as np
import pytest

from kernels import cpu, reference

f32, f64 = np.float32, np.float64


def zeros(*shape, dtype=f32):
    return np.zeros(shape, dtype)


IMAGE, WEIGHT = zeros(8, 32, 32, 3), zeros(3, 3, 3, 64)
Q = zeros(2, 5, 4, 8)  # (N,L,H,D)
NORM = dict(g=zeros(2, 7, 6), x=zeros(2, 7, 6), weight=None, bias=None, mean=zeros(2, 3), rstd=zeros(2, 3))
BACK = dict(g=Q, out=Q, lse=zeros(2, 4, 5), q=Q, k=Q, v=Q)
STEP = dict(x=zeros(2, 3), out=zeros(2, 3), alpha_bar=0.5, alpha_bar_prev=0.6, seed=0, draw=0)
NOISE = dict(x0=zeros(2, 3), alpha=zeros(2), sigma=zeros(2), seed=0, draw=0)


def conv(**given):
    return "conv", dict(x=IMAGE, weight=WEIGHT) | given


def conv_transpose(**given):
    return "conv_transpose", dict(x=IMAGE, weight=WEIGHT) | given


def weight_grad(**given):
    return "conv_weight_grad", dict(x=IMAGE, g=zeros(8, 30, 30, 64), kernel_size=3) | given


def norm(**given):
    return "group_norm", dict(x=zeros(2, 7, 6), num_groups=3) | given


def norm_backward(**given):
    return "group_norm_backward", NORM | dict(num_groups=3) | given


def attention(**given):
    return "attention", dict(q=Q, k=Q, v=Q) | given


def attention_backward(**given):
    return "attention_backward", BACK | given


def ddpm(**given):
    return "ddpm_step", STEP | given


def ddim(**given):
    return "ddim_step", STEP | given


def linear(**given):
    return "linear_step", dict(arrays=[zeros(2, 3), zeros(2, 3)], coefficients=[0.5, 0.6], seed=0, draw=0) | given


def add_noise(**given):
    return "add_noise", NOISE | given


def uniform(**given):
    return "uniform", dict(shape=(2, 3), seed=0, draw=0) | given


def index_add(**given):
    return "index_add", dict(shape=(5, 2), indices=zeros(4, dtype=int), g=zeros(4, 2)) | given


def adam(**given):
    lists = {argument: [zeros(2, 3)] for argument in ("parameters", "gradients", "means", "squares")}
    return "adam_", lists | dict(updates=[1], lr=0.1, betas=(0.9, 0.99), eps=1e-8) | given


def upfirdn(**given):
    return "upfirdn2d", dict(x=zeros(2, 5, 5, 3), taps=zeros(4)) | given


def modulate(**given):
    return "modulate", dict(x=zeros(2, 5, 4, 3)) | given


def modulate_backward(**given):
    return "modulate_backward", dict(g=zeros(2, 5, 4, 3), x=zeros(2, 5, 4, 3)) | given


REFUSED = [
    # convolution: channels, ranks, shapes
    (
        conv(weight=zeros(3, 3, 4, 64)),
        "conv2d: x has 3 channels (last axis of (8, 32, 32, 3)) but weight (3, 3, 4, 64) takes 4",
    ),
    (conv(x=zeros(2, 9, 3), weight=zeros(3, 2, 5)), "conv1d: x has 3 channels"),
    (conv(x=zeros(2, 9, 9, 9, 3), weight=zeros(3, 3, 3, 2, 5)), "conv3d: x has 3 channels"),
    (conv(x=zeros(32, 3)), "conv: x needs 3, 4 or 5 axes (N, *spatial, C) but has shape (32, 3)"),
    (conv(weight=zeros(3, 3, 64)), "conv2d: weight needs 4 axes (*kernel, in / groups, out)"),
    (conv(weight=zeros(3, 0, 3, 64)), "conv2d: weight (3, 0, 3, 64) has an empty axis"),
    (conv(bias=zeros(3)), "conv2d: bias has shape (3,) but needs (64,) for weight (3, 3, 3, 64)"),
    (conv(groups=2), "conv2d: x has 3 channels (last axis of (8, 32, 32, 3)) but weight (3, 3, 3, 64) takes 6"),
    (conv(groups=5), "conv2d: groups=5 does not divide the 64 output channels of weight (3, 3, 3, 64)"),
    (conv(groups=0), "conv2d: groups must be a whole number of at least 1; got 0"),
    # convolution: the window
    (conv(stride=0), "conv2d: stride must be at least 1; got 0"),
    (conv(stride=(1, -1)), "conv2d: stride must be at least 1; got (1, -1)"),
    (conv(stride=1.5), TypeError("conv2d: stride must be an int or a tuple of ints; got 1.5")),
    (conv(dilation=0), "conv2d: dilation must be at least 1"),
    (conv(padding=-1), "conv2d: padding must be at least 0; got -1"),
    (conv(padding=(1, 1, 1)), "padding (1, 1, 1) has 3 numbers but there are 2 spatial axes"),
    (
        conv(x=zeros(1, 4, 9, 3), dilation=3, padding=(1, 0)),
        "conv2d: the kernel spans (7, 7) (size (3, 3), dilation (3, 3)) but x (1, 4, 9, 3) is only (6, 9) "
        "with padding (1, 0)",
    ),
    # dtypes
    (conv(x=IMAGE.astype(int)), TypeError("conv2d: x is int64; it must be float32 or float64")),
    (conv(x=IMAGE.astype(np.float16)), TypeError("conv2d: x is float16; it must be float32 or float64")),
    (
        conv(weight=WEIGHT.astype(f64)),
        TypeError("conv2d: x is float32 but weight is float64; give both one dtype (there is no silent promotion)"),
    ),
    (conv(bias=zeros(64, dtype=f64)), TypeError("conv2d: x is float32 but bias is float64")),
    (conv(x=[[1.0]]), TypeError("conv: x must be an array; got list")),
    # transposed convolution
    (conv_transpose(weight=zeros(3, 3, 64, 3)), "conv_transpose2d: x has 3 channels"),
    (
        conv_transpose(output_padding=1),
        "conv_transpose2d: output_padding (1, 1) must be smaller than stride (1, 1)",
    ),
    (conv_transpose(groups=2), "groups=2 does not divide the 3 input channels of weight (3, 3, 3, 64)"),
    (conv_transpose(groups=3, bias=zeros(64)), "bias has shape (64,) but needs (192,)"),
    (conv_transpose(padding=17), "the output would have spatial size (0, 0): padding (17, 17) is too large"),
    (conv_transpose(x=zeros(1, 0, 2, 3)), "conv_transpose2d: x (1, 0, 2, 3) has an empty spatial axis"),
    # weight gradient
    (
        weight_grad(g=zeros(8, 31, 30, 64)),
        "conv2d_weight_grad: g has shape (8, 31, 30, 64) but the convolution of x (8, 32, 32, 3) gives "
        "(8, 30, 30, out)",
    ),
    (weight_grad(groups=2), "conv2d_weight_grad: groups=2 does not divide the 3 channels of x"),
    (weight_grad(groups=3), "conv2d_weight_grad: groups=3 does not divide the 64 channels of g"),
    (weight_grad(kernel_size=(3, 0)), "conv2d_weight_grad: kernel_size must be at least 1"),
    (weight_grad(x=zeros(2, 3)), "conv_weight_grad: x needs 3, 4 or 5 axes"),
    # normalisation
    (norm(num_groups=4), "group_norm: num_groups=4 does not divide the 6 channels of x (2, 7, 6)"),
    (norm(num_groups=0), "group_norm: num_groups must be a whole number of at least 1"),
    (norm(x=zeros(6)), "group_norm: x needs 2 or more axes (N, *spatial, C) but has shape (6,)"),
    (norm(x=zeros(2, 0, 6)), "group_norm: x (2, 0, 6) has nothing to normalise in a sample"),
    (norm(weight=zeros(3)), "group_norm: weight has shape (3,) but needs (6,)"),
    (norm(bias=zeros(6, dtype=f64)), TypeError("group_norm: x is float32 but bias is float64")),
    (norm(eps=-1.0), "group_norm: eps must not be negative; got -1.0"),
    (norm_backward(g=zeros(2, 6, 6)), "group_norm_backward: g has shape (2, 6, 6) but needs (2, 7, 6) like x"),
    (norm_backward(mean=zeros(2, 6)), "mean has shape (2, 6) but needs (2, 3) for x (2, 7, 6) in 3 groups"),
    (norm_backward(rstd=zeros(2, 3, dtype=f64)), TypeError("rstd is float64; it must be float32")),
    # softmax
    (("softmax", dict(x=zeros())), "softmax: x needs at least 1 axis but has shape ()"),
    (
        ("softmax", dict(x=zeros(2, dtype=np.float16))),
        TypeError("softmax: x is float16; it must be float32 or float64"),
    ),
    (("softmax_backward", dict(g=zeros(2), y=zeros(3))), "softmax_backward: g has shape (2,) but needs (3,) like y"),
    # attention
    (attention(q=zeros(2, 5, 8)), "attention: q needs 4 axes (N, length, heads, d) but has shape (2, 5, 8)"),
    (attention(k=zeros(3, 5, 4, 8)), "q (2, 5, 4, 8) has 2 samples (axis 0) but k (3, 5, 4, 8) has 3"),
    (attention(v=zeros(2, 5, 1, 8)), "q (2, 5, 4, 8) has 4 heads (axis 2) but v (2, 5, 1, 8) has 1"),
    (attention(k=zeros(2, 5, 4, 9)), "q (2, 5, 4, 8) has head size 8 (last axis) but k (2, 5, 4, 9) has 9"),
    (attention(v=zeros(2, 6, 4, 8)), "k (2, 5, 4, 8) has 5 keys (axis 1) but v (2, 6, 4, 8) has 6 values"),
    (attention(v=zeros(2, 5, 4, 0)), "need a head size (last axis) of at least 1"),
    (attention(v=Q.astype(f64)), TypeError("attention: q is float32 but v is float64")),
    (attention(mask=zeros(5, 6)), "mask (5, 6) does not broadcast to (N, heads, L, S) = (2, 4, 5, 5)"),
    (attention(mask=zeros(3, 2, 4, 5, 5)), "does not broadcast"),
    (attention(mask=zeros(5, 5, dtype=int)), TypeError("attention: mask is int64; it must be bool")),
    (attention(mask=zeros(5, 5, dtype=f64)), TypeError("mask is float64; it must be bool (True attends) or float32")),
    (attention_backward(g=zeros(2, 5, 4, 7)), "attention_backward: g has shape (2, 5, 4, 7) but needs (2, 5, 4, 8)"),
    (attention_backward(lse=zeros(2, 5, 4)), "lse has shape (2, 5, 4) but needs (2, 4, 5)"),
    (attention_backward(out=Q.astype(f64)), TypeError("g is float32 but out is float64")),
    (attention_backward(k=zeros(3, 5, 4, 8)), "attention_backward: q (2, 5, 4, 8) has 2 samples"),
    # random numbers
    (uniform(seed=-1), "uniform: seed must lie in [0, 2**64); got -1"),
    (uniform(draw=2**64), "uniform: draw must lie in [0, 2**64)"),
    (uniform(first_row=2**32), "uniform: row must lie in [0, 2**32)"),
    (uniform(first_row=2**32 - 1), "rows 4294967295 to 4294967297 go beyond the 2**32 of a draw"),
    (uniform(shape=()), "uniform: shape needs one or more axes (rows, ...), none negative; got ()"),
    (uniform(shape=(2, -1)), "none negative; got (2, -1)"),
    (uniform(dtype=np.int32), TypeError("uniform: dtype must be float32 or float64; got int32")),
    (("normal", dict(shape=(2,), seed=2**64, draw=0)), "normal: seed must lie in [0, 2**64)"),
    (("philox", dict(seed=0, draw=0, row=0, blocks=-1)), "philox: a row has at most 2**32 blocks of 4 words; got -1"),
    # diffusion
    (add_noise(alpha=zeros(3)), "add_noise: alpha has shape (3,) but needs (2,) one per sample of x0 (2, 3)"),
    (add_noise(sigma=zeros(2, dtype=f64)), TypeError("add_noise: x0 is float32 but sigma is float64")),
    (add_noise(x0=zeros(2, 3, dtype=int)), TypeError("add_noise: x0 is int64")),
    (ddpm(prediction="noise"), "ddpm_step: prediction must be one of 'eps', 'x0', 'v'; got 'noise'"),
    (ddim(prediction="noise"), "ddim_step: prediction must be one of 'eps', 'x0', 'v'; got 'noise'"),
    (ddpm(out=zeros(2, 4)), "ddpm_step: out has shape (2, 4) but needs (2, 3) like x"),
    (ddpm(out_uncond=zeros(3)), "ddpm_step: out_uncond has shape (3,) but needs (2, 3) like x"),
    (ddpm(out=zeros(2, 3, dtype=f64)), TypeError("ddpm_step: x is float32 but out is float64")),
    (ddpm(alpha_bar=0.0), "ddpm_step: at alpha_bar 0 x is all noise, so that a prediction of eps says nothing of x0"),
    (ddpm(alpha_bar=1.0), "alpha_bar must lie in [0, 1)"),
    (ddpm(alpha_bar_prev=1.1), "ddpm_step: alpha_bar_prev must lie in (0, 1]; got 1.1"),
    (ddpm(alpha_bar_prev=float("nan")), "alpha_bar_prev must lie in (0, 1]; got nan"),
    (ddpm(alpha_bar_prev=0.4), "ddpm_step: alpha_bar_prev 0.4 is smaller than alpha_bar 0.5"),
    (ddim(alpha_bar_prev=0.4, eta=0.5), "ddim_step: alpha_bar_prev 0.4 is smaller than alpha_bar 0.5"),
    (ddim(eta=1.5), "ddim_step: eta must lie in [0, 1]; got 1.5"),
    (ddim(guidance=3.0), "ddim_step: guidance 3.0 needs out_uncond"),
    (ddim(clip=0.0), "ddim_step: clip must be positive; got 0.0"),
    (ddim(first_row=-1), "ddim_step: row must lie in [0, 2**32); got -1"),
    (linear(arrays=[]), "linear_step: needs 1 to 5 arrays and a coefficient for each; got 0 and 2"),
    (linear(coefficients=[1.0]), "linear_step: needs 1 to 5 arrays and a coefficient for each; got 2 and 1"),
    (linear(arrays=[zeros(2, 3), zeros(2, 4)]), "linear_step: array 1 has shape (2, 4) but needs (2, 3) like array 0"),
    (
        linear(arrays=[zeros(2, 3), zeros(2, 3, dtype=f64)]),
        TypeError("linear_step: array 0 is float32 but array 1 is float64"),
    ),
    (linear(coefficients=[1.0, float("inf")]), "linear_step: the coefficients must be finite; got [1.0, inf]"),
    (linear(deviation=-1.0), "linear_step: deviation must be finite and at least 0; got -1.0"),
    (linear(clip=0.0), "linear_step: clip must be positive; got 0.0"),
    (linear(first_row=-1), "linear_step: row must lie in [0, 2**32); got -1"),
    (
        ("gaussian_step", dict(mean=zeros(2, 3), log_variance=zeros(2), seed=0, draw=0)),
        "log_variance has shape (2,) but needs",
    ),
    (
        ("gaussian_step", dict(mean=zeros(2, 3), log_variance=zeros(2, 3), seed=-1, draw=0)),
        "gaussian_step: seed must lie in",
    ),
    # optimisers
    (adam(gradients=[zeros(3)]), "adam_: gradients[0] must be (2, 3) float32; got (3,) float32"),
    (adam(gradients=[None]), "adam_: gradients[0] must be (2, 3) float32; got NoneType"),
    (adam(squares=[]), "adam_: needs squares for 1 arrays; got 0"),
    (adam(updates=[]), "adam_: needs updates for 1 arrays; got 0"),
    (adam(averages=[None, None]), "adam_: needs averages for 1 arrays; got 2"),
    (adam(averages=[zeros(2, 3, dtype=f64)]), "adam_: averages[0] must be (2, 3) float32; got (2, 3) float64"),
    (adam(updates=[0]), "adam_: updates must count from 1; got [0]"),
    (adam(parameters=[zeros(3, 2).T]), "adam_: parameters[0] is changed in place: it must be contiguous and writable"),
    (adam(means=[zeros(3, 2).T]), "adam_: means[0] is changed in place: it must be contiguous and writable"),
    (adam(parameters=[zeros(2, dtype=int)]), TypeError("adam_: parameters[0] must be a float32 or float64 array")),
    (
        ("global_norm", dict(arrays=[1.0])),
        TypeError("global_norm: arrays[0] must be a float32 or float64 array; got f"),
    ),
    (("scale_", dict(arrays=[zeros(4)[::2]], factor=2.0)), "scale_: arrays[0] is changed in place"),
    (("lerp_", dict(arrays=[zeros(2)], targets=[zeros(3)], weight=0.5)), "lerp_: targets[0] must be (2,) float32"),
    (("lerp_", dict(arrays=[zeros(4)[::2]], targets=[zeros(2)], weight=0.5)), "lerp_: arrays[0] is changed in place"),
    (("add_", dict(arrays=[zeros(2)], others=[zeros(3)])), "add_: others[0] must be (2,) float32"),
    (("add_", dict(arrays=[np.broadcast_to(zeros(1), 2)], others=[zeros(2)])), "add_: arrays[0] is changed in place"),
    # elementwise
    (
        ("activation", dict(x=zeros(2, dtype=int), name="erf")),
        TypeError("activation: x is int64; it must be float32 or float64"),
    ),
    (("activation", dict(x=zeros(2), name="cosh")), "activation: name 'cosh' is unknown: choose from relu, "),
    (("activation", dict(x=zeros(2), name="relu", slope=0.1)), "leaky_relu needs a slope, and nothing else has one"),
    (
        ("activation_backward", dict(g=zeros(3), v=zeros(2), name="relu")),
        "activation_backward: g has shape (3,) but needs (2,) like v",
    ),
    (("arithmetic", dict(a=zeros(2), b=zeros(2), name="divide")), "arithmetic: name 'divide' is unknown"),
    (
        ("arithmetic", dict(a=zeros(1), b=zeros(2), name="add")),
        "arithmetic: b (2,) does not broadcast to the shape of a (1,)",
    ),
    (("sum_positions", dict(x=zeros(2, 3))), "sum_positions: x needs 3 axes (N, M, C) but has shape (2, 3)"),
    # resampling
    (upfirdn(x=zeros(5, 5, 3)), "upfirdn2d: x needs 4 axes (N, H, W, C), H and W not empty, but has shape (5, 5, 3)"),
    (upfirdn(x=zeros(2, 0, 5, 3)), "H and W not empty, but has shape (2, 0, 5, 3)"),
    (upfirdn(taps=zeros(2, 2)), "upfirdn2d: taps needs 1 axis, not empty, but has shape (2, 2)"),
    (upfirdn(taps=zeros(0)), "taps needs 1 axis, not empty, but has shape (0,)"),
    (upfirdn(taps=zeros(4, dtype=f64)), TypeError("upfirdn2d: x is float32 but taps is float64")),
    (upfirdn(up=0), "upfirdn2d: up must be at least 1; got 0"),
    (upfirdn(down=(1, 2, 2)), "upfirdn2d: down (1, 2, 2) has 3 numbers but there are 2 spatial axes"),
    (upfirdn(padding=1), TypeError("padding must be two ints (before, after), or a pair of these; got 1")),
    (
        upfirdn(padding=(1, 0.5)),
        TypeError("padding must be two ints (before, after), or a pair of these; got (1, 0.5)"),
    ),
    (
        upfirdn(padding=((0, 0), (-1, -1))),
        "upfirdn2d: 4 taps do not fit x (2, 5, 5, 3), which is only (5, 3) with up (1, 1) "
        "and padding ((0, 0), (-1, -1))",
    ),
    # modulation
    (modulate(x=zeros(3)), "modulate: x needs 2 or more axes (N, *spatial, C) but has shape (3,)"),
    (modulate(scale=zeros(3)), "modulate: scale has shape (3,) but needs (2, 3) for x (2, 5, 4, 3)"),
    (modulate(noise=zeros(1, 5, 4, 1)), "modulate: noise has shape (1, 5, 4, 1) but needs (2, 5, 4, 1) for x (2, 5, 4"),
    (modulate(bias=zeros(2)), "modulate: bias has shape (2,) but needs (3,) for x (2, 5, 4, 3)"),
    (modulate(bias=zeros(3, dtype=f64)), TypeError("modulate: x is float32 but bias is float64")),
    (modulate(slope=-0.1), "modulate: slope must not be negative; got -0.1"),
    (
        modulate_backward(g=zeros(2, 5, 4, 1)),
        "modulate_backward: g has shape (2, 5, 4, 1) but needs (2, 5, 4, 3) like x",
    ),
    (modulate_backward(g=zeros(2, 5, 4, 3, dtype=f64)), TypeError("modulate_backward: g is float64 but x is float32")),
    (modulate_backward(scale=zeros(2, 1)), "modulate_backward: scale has shape (2, 1) but needs (2, 3)"),
    (index_add(indices=zeros(4)), TypeError("index_add: indices is float32; it must be int64 or int32")),
    (index_add(indices=zeros(2, 2, dtype=int)), "index_add: indices needs 1 axis (M,) but has shape (2, 2)"),
    (index_add(g=zeros(3, 2)), "index_add: g has shape (3, 2) but needs (4, 2) for indices (4,) and shape (5, 2)"),
    (index_add(shape=(5,)), "index_add: shape needs two axes (V, C), none negative; got (5,)"),
]


@pytest.mark.parametrize("module", [reference, cpu])
@pytest.mark.parametrize(
    "call,error", REFUSED, ids=lambda value: str(value)[:60] if not isinstance(value, tuple) else ""
)
def test_refused(module, call, error):
    name, arguments = call
    kind, message = (type(error), str(error)) if isinstance(error, Exception) else (ValueError, error)
    with pytest.raises(kind, match=re.escape(message)):
        getattr(module, name)(**arguments)


@pytest.mark.parametrize("module", [reference, cpu])
def test_an_int_stands_for_every_axis(module):
    x, weight = np.random.default_rng(0).standard_normal((2, 9, 8, 3)), zeros(3, 3, 3, 2, dtype=f64) + 1
    one = module.conv(x, weight, stride=2, padding=1, dilation=2)
    np.testing.assert_array_equal(one, module.conv(x, weight, None, (2, 2), [1, 1], (2, np.int64(2))))
