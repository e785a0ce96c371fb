"""A sample comes out the same, to the bit, alone or in any batch, at any place in it, on one thread or on many.

For every kernel of samples: rows a to b alone against rows a to b of the whole. Sizes lie around those of register
tiles, vectors and units, and on both sides of where another way is taken.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import checks, cpu
from kernels.cpu import jit
from kernels.cpu.gemm import panels_of, product
from kernels.cpu.small import product_of_few, small_product

from .kernel_calls import out_size

BATCHES = [1, 2, 5, 6, 7, 12, 13, 14, 33, 65]
SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65]
sampled_from, booleans, integers = st.sampled_from, st.booleans, st.integers


class Arrays:
    """Draws arrays of one dtype; `n` is the number of samples."""

    def __init__(self, draw):
        self.draw = draw
        self.n = draw(sampled_from(BATCHES))
        self.dtype = np.dtype(draw(sampled_from(["float32", "float64"])))
        self.rng = np.random.default_rng(draw(integers(0, 2**32 - 1)))

    def __call__(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def optional(self, *shape):
        return self(*shape) if self.draw(booleans()) else None

    def matrix(self, rows, columns):
        """As it lies in memory, or as the transpose of one that does."""
        return self(rows, columns) if self.draw(booleans()) else self(columns, rows).T


# Each gives the arrays whose first axis is the samples', and a function of (number of the first sample, *arrays), whose
# results have that axis, too. A kernel's results that are sums over samples are left out.


def matmul(draw, arrays):
    depth, columns = draw(sampled_from([1, 3, 8, 17, 64, 300, 600])), draw(sampled_from([*SIZES, 300]))
    b, bias = arrays.matrix(depth, columns), arrays.optional(columns)
    return [arrays.matrix(arrays.n, depth)], lambda _, a: (cpu.matmul(a, b, bias),)


def any_convolution(draw, arrays):
    """(kernel, size, in and out channels of a group, settings) of one to three axes."""
    axes = draw(integers(1, 3))
    kernel, stride, padding, dilation = (
        tuple(draw(integers(low, high)) for _ in range(axes)) for low, high in ((1, 4), (1, 3), (0, 2), (1, 2))
    )
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    size = tuple(max(1, e - 2 * p) + draw(integers(0, 4)) for e, p in zip(extent, padding))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=draw(sampled_from([1, 1, 2])))
    return kernel, size, draw(sampled_from([1, 2, 13, 17])), draw(sampled_from([1, 3, 17, 33])), settings


def winograds(draw, arrays):
    """3x3 at stride 1 of small images with many channels: whether Winograd's pays depends on how many there are."""
    size, channels = draw(sampled_from([3, 4, 7, 8, 9])), draw(sampled_from([5, 17, 33, 64]))
    settings = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    return (3, 3), (size, size), channels, draw(sampled_from([5, 33, 64])), settings


def conv(draw, arrays):
    kernel, size, channels, columns, settings = draw(sampled_from([any_convolution, winograds]))(draw, arrays)
    groups = settings["groups"]
    weight, bias = arrays(*kernel, channels, columns * groups), arrays.optional(columns * groups)
    settings |= dict(slope=draw(sampled_from([1.0, 0.2])))
    return [arrays(arrays.n, *size, channels * groups)], lambda _, x: (cpu.conv(x, weight, bias, **settings),)


def conv_transpose(draw, arrays):
    kernel, size, channels, columns, settings = draw(sampled_from([any_convolution, winograds]))(draw, arrays)
    received, groups = out_size(kernel, size, **settings), settings["groups"]
    weight, bias = arrays(*kernel, channels * groups, columns), arrays.optional(columns * groups)
    x = arrays(arrays.n, *[n + 1 for n in received], channels * groups)
    return [x], lambda _, x: (cpu.conv_transpose(x, weight, bias, **settings),)


def normed(draw, arrays):
    """(x, groups, weight, bias): samples of one unit and of several, and of more numbers than a cache has."""
    spatial = draw(sampled_from([(), (), (1,), (5,), (7, 5), (33, 32), (15, 69), (3, 2, 5)]))
    groups = draw(sampled_from([1, 2, 4]))
    channels = groups * draw(sampled_from([1, 5, 16] if len(spatial) != 2 else [1, 9, 16, 33]))
    if spatial == (33, 32) and draw(booleans()):
        arrays.n = min(arrays.n, 9)
        channels = 264  # 278,784 numbers
    x = arrays(arrays.n, *spatial, channels) + arrays.dtype.type(draw(sampled_from([0, 10])))
    return x, groups, arrays.optional(channels), arrays.optional(channels)


def group_norm(draw, arrays):
    x, groups, weight, bias = normed(draw, arrays)
    silu = draw(booleans())
    return [x], lambda _, x: cpu.group_norm(x, groups, weight, bias, silu=silu)


def group_norm_backward(draw, arrays):
    x, groups, weight, bias = normed(draw, arrays)
    silu = draw(booleans())
    _, mean, rstd = cpu.group_norm(x, groups, weight, bias)

    def call(_, g, x, mean, rstd):
        return cpu.group_norm_backward(g, x, weight, bias, mean, rstd, groups, silu)[:1]

    return [arrays(*x.shape), x, mean, rstd], call


def softmax(draw, arrays):
    others = draw(sampled_from([(), (3,), (2, 5)]))
    return [arrays(arrays.n, *others, draw(sampled_from(SIZES)))], lambda _, x: (cpu.softmax(x),)


def softmax_backward(draw, arrays):
    (x,), _ = softmax(draw, arrays)
    return [arrays(*x.shape), cpu.softmax(x)], lambda _, g, y: (cpu.softmax_backward(g, y),)


def attention(draw, arrays):
    heads, length, keys = draw(integers(1, 3)), *(draw(sampled_from([1, 13, 49, 64, 65, 300])) for _ in range(2))
    d, e = draw(sampled_from([1, 7, 16, 33])), draw(sampled_from([5, 16, 33]))
    shapes = (length, heads, d), (keys, heads, d), (keys, heads, e)
    mask = arrays.rng.random((heads, length, keys)) < 0.6 if draw(booleans()) else None
    causal = draw(booleans())
    return [arrays(arrays.n, *s) for s in shapes], lambda _, q, k, v: cpu.attention(q, k, v, mask, causal)


rows_of = sampled_from([(3,), (1,), (130,), (5, 3), (7, 9, 3), (700,)])


def random_numbers(kernel):
    def normal_or_uniform(draw, arrays):
        shape, dtype = draw(rows_of), arrays.dtype
        return [arrays(arrays.n)], lambda first, x: (kernel((len(x), *shape), 3, 4, first, dtype),)

    return normal_or_uniform


def add_noise(draw, arrays):
    levels = arrays(2, arrays.n)
    return [arrays(arrays.n, *draw(rows_of)), *levels], lambda first, *x: cpu.add_noise(*x, 3, 4, first)


def denoising_step(kernel):
    def step(draw, arrays):
        shape, guided = (arrays.n, *draw(rows_of)), draw(booleans())
        settings = dict(prediction=draw(sampled_from(["eps", "x0", "v"])), clip=draw(sampled_from([None, 0.5])))

        def call(first, x, out, uncond):
            guidance = dict(out_uncond=uncond, guidance=2.5) if guided else {}
            return (kernel(x, out, 0.4, 0.6, 3, 4, first, **settings, **guidance),)

        return [arrays(*shape) for _ in range(3)], call

    return step


def linear_step(draw, arrays):
    shape, count = (arrays.n, *draw(rows_of)), draw(integers(1, 5))
    settings = dict(deviation=draw(sampled_from([0.0, 0.7])), clip=draw(sampled_from([None, 0.5])))
    coefficients = [0.5, -1.5, 2.0, 0.25, -0.7][:count]
    return [arrays(*shape) for _ in range(count)], lambda first, *x: (
        cpu.linear_step(x, coefficients, 3, 4, first, **settings),
    )


def gaussian_step(draw, arrays):
    shape = (arrays.n, *draw(rows_of))
    return [arrays(*shape), arrays(*shape)], lambda first, *x: (cpu.gaussian_step(*x, 3, 4, first),)


def activation(draw, arrays):
    name, shape = draw(sampled_from(checks.ACTIVATIONS)), (arrays.n, draw(sampled_from(SIZES)))
    slope = 0.2 if name == "leaky_relu" else None
    return [3 * arrays(*shape)], lambda _, x: (cpu.activation(x, name, slope),)


def activation_backward(draw, arrays):
    name, shape = draw(sampled_from(checks.ACTIVATIONS)), (arrays.n, draw(sampled_from(SIZES)))
    slope = 0.2 if name == "leaky_relu" else None
    return [arrays(*shape), 3 * arrays(*shape)], lambda _, g, v: (cpu.activation_backward(g, v, name, slope),)


def arithmetic(draw, arrays):
    name, shape = draw(sampled_from(checks.ARITHMETIC)), (arrays.n, 3, draw(sampled_from(SIZES)))
    other = arrays(*shape[:1], 1, *shape[2:]) if draw(booleans()) else arrays(*shape)
    return [arrays(*shape), other], lambda _, a, b: (cpu.arithmetic(a, b, name),)


def sum_positions(draw, arrays):
    positions = draw(sampled_from([1, 31, 33, 700, 3000]))
    return [arrays(arrays.n, positions, draw(sampled_from([1, 7, 16, 17])))], lambda _, x: (cpu.sum_positions(x),)


def copy(draw, arrays):
    x = arrays(arrays.n, draw(sampled_from(SIZES)), draw(sampled_from(SIZES)))
    return [x], lambda _, x: (cpu.copy(x.swapaxes(1, 2)),)


def join(draw, arrays):
    xs = [arrays(arrays.n, 5, draw(sampled_from(SIZES))) for _ in range(2)]
    return xs, lambda _, *xs: (cpu.join(xs),)


def blocks(kernel):
    def upsample_or_sum_blocks(draw, arrays):
        x = arrays(arrays.n, 6, 4, draw(sampled_from(SIZES)))
        return [x], lambda _, x: (kernel(x, (3, 2)),)

    return upsample_or_sum_blocks


def upfirdn2d(draw, arrays):
    taps, up, down = arrays(draw(sampled_from([1, 4, 6]))), draw(integers(1, 2)), draw(integers(1, 2))
    x = arrays(arrays.n, draw(integers(2, 9)), draw(integers(2, 9)), draw(sampled_from(SIZES)))
    return [x], lambda _, x: (cpu.upfirdn2d(x, taps, up, down, (2, 3)),)


def modulated(draw, arrays):
    spatial, channels = draw(sampled_from([(), (15,), (17, 3), (90, 20)])), draw(sampled_from(SIZES))
    parts = [arrays(arrays.n, channels), arrays(arrays.n, *spatial, 1)]
    return arrays(arrays.n, *spatial, channels), *parts, arrays.optional(channels)


def modulate(draw, arrays):
    x, scale, noise, bias = modulated(draw, arrays)
    return [x, scale, noise], lambda _, *samples: (cpu.modulate(*samples, bias, 0.2, 1.5),)


def modulate_backward(draw, arrays):
    x, scale, noise, bias = modulated(draw, arrays)
    samples = [arrays(*x.shape), x, scale, noise]
    return samples, lambda _, *samples: cpu.modulate_backward(*samples, bias, 0.2, 1.5)[:3]


OF_SAMPLES = {
    "matmul": matmul,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "group_norm": group_norm,
    "group_norm_backward": group_norm_backward,
    "softmax": softmax,
    "softmax_backward": softmax_backward,
    "attention": attention,
    "uniform": random_numbers(cpu.uniform),
    "normal": random_numbers(cpu.normal),
    "add_noise": add_noise,
    "ddpm_step": denoising_step(cpu.ddpm_step),
    "ddim_step": denoising_step(cpu.ddim_step),
    "linear_step": linear_step,
    "gaussian_step": gaussian_step,
    "activation": activation,
    "activation_backward": activation_backward,
    "arithmetic": arithmetic,
    "sum_positions": sum_positions,
    "copy": copy,
    "join": join,
    "upsample": blocks(cpu.upsample),
    "sum_blocks": blocks(cpu.sum_blocks),
    "upfirdn2d": upfirdn2d,
    "modulate": modulate,
    "modulate_backward": modulate_backward,
}
NOT_OF_SAMPLES = {
    "conv_weight_grad": "sums over the batch",
    "index_add": "sums over the batch",
    "attention_backward": "the keys of few heads, those of all samples counted, are cut into several sums",
    "philox": "numbers of a counter",
    "adam_": "of parameters",
    "global_norm": "of parameters",
    "scale_": "of parameters",
    "lerp_": "of parameters",
    "add_": "of parameters",
}


def test_every_kernel_is_checked_or_is_not_of_samples():
    assert sorted([*OF_SAMPLES, *NOT_OF_SAMPLES]) == sorted(kernels.KERNELS)


def on_threads(n, call, *args):
    before = jit.get_num_threads()
    jit.set_num_threads(n)
    try:
        return call(*args)
    finally:
        jit.set_num_threads(before)


@pytest.mark.parametrize("name", OF_SAMPLES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_sample_does_not_depend_on_its_batch(name, data):
    arrays = Arrays(data.draw)
    samples, call = OF_SAMPLES[name](data.draw, arrays)
    first = data.draw(integers(0, arrays.n - 1))
    last = data.draw(integers(first + 1, arrays.n))
    most = jit.get_num_threads()
    whole = on_threads(most, call, 0, *samples)
    for threads in {1, min(2, most)}:
        part = on_threads(threads, call, first, *[x[first:last] for x in samples])
        assert len(part) == len(whole)
        for alone, together in zip(part, whole):
            if together is not None:
                np.testing.assert_array_equal(alone, together[first:last])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_all_ways_to_a_product_sum_in_the_same_order(data):
    arrays = Arrays(data.draw)
    depth, columns = data.draw(sampled_from([0, 1, 7, 8, 9, 255, 256, 257, 600])), data.draw(sampled_from(SIZES))
    a, b, start = arrays.matrix(arrays.n, depth), arrays.matrix(depth, columns), arrays(columns)
    results = [np.full((arrays.n, columns), np.nan, arrays.dtype) for _ in range(3)]
    product(a, panels_of(b), start, results[0])
    small_product(a, b, start, results[1])
    product_of_few(a, np.ascontiguousarray(b), start, results[2])
    np.testing.assert_allclose(results[0], a.astype(float) @ b.astype(float) + start, rtol=1e-4, atol=1e-4)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
