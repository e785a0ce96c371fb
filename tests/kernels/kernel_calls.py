"""Random calls of every kernel, as hypothesis strategies: each draws (arguments, keyword arguments).

Sizes run over 0, 1, odd numbers and both sides of the sizes that the fast kernels work in; arrays come in
both dtypes, contiguous, transposed, stepped, reversed and read-only. Numbers are standard normal, so that a
result has a natural scale of at least 1.
"""

import inspect

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from kernels import checks, reference

LAYOUTS = ("contiguous", "transposed", "stepped", "reversed", "read-only")
integers, booleans, sampled_from = st.integers, st.booleans, st.sampled_from


class Arrays:
    """Draws arrays of one dtype: `arrays(2, 3)` is standard normal of shape (2, 3) in some memory layout."""

    def __init__(self, draw):
        self.draw = draw
        self.dtype = np.dtype(draw(sampled_from(["float32", "float64"])))
        self.rng = np.random.default_rng(draw(integers(0, 2**32 - 1)))

    def __call__(self, *shape):
        return self.laid_out(self.rng.standard_normal(shape).astype(self.dtype))

    def laid_out(self, values):
        layout = self.draw(sampled_from(LAYOUTS)) if values.ndim else "contiguous"
        if layout == "transposed":
            return values.T.copy().T
        if layout == "stepped":
            wider = np.full((*values.shape[:-1], 2 * values.shape[-1]), np.nan).astype(values.dtype)
            wider[..., ::2] = values
            return wider[..., ::2]
        if layout == "reversed":
            return values[::-1].copy()[::-1]
        values = values.copy()
        values.setflags(write=layout == "contiguous")
        return values


@st.composite
def matmul(draw):
    arrays = Arrays(draw)
    m, k, n = (draw(sampled_from([0, 1, 7, 12, 13, 14, 31, 32, 33, 100])) for _ in range(3))
    return (arrays(m, k), arrays(k, n)), {}


@st.composite
def convolutions(draw):
    """(arrays, batch, kernel, size, in and out channels of all groups, settings) of a legal convolution."""
    axes = draw(integers(1, 3))

    def per_axis(low, high):
        return tuple(draw(integers(low, high)) for _ in range(axes))

    kernel, stride, padding, dilation = per_axis(1, 4), per_axis(1, 3), per_axis(0, 3), per_axis(1, 3)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    size = tuple(max(1, e - 2 * p) + draw(integers(0, 5)) for e, p in zip(extent, padding))
    groups = draw(sampled_from([1, 1, 2, 3]))
    channels = groups * draw(sampled_from([1, 2, 5])), groups * draw(sampled_from([1, 3, 4]))
    batch = draw(sampled_from([0, 1, 2, 3]))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return Arrays(draw), batch, kernel, size, channels, settings


def out_size(kernel, size, stride, padding, dilation, **_):
    axes = zip(size, kernel, stride, padding, dilation)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)


def transposed_size(kernel, size, stride, padding, dilation, output_padding, **_):
    axes = zip(size, kernel, stride, padding, dilation, output_padding)
    return tuple((q - 1) * s - 2 * p + d * (k - 1) + 1 + extra for q, k, s, p, d, extra in axes)


@st.composite
def conv(draw):
    arrays, batch, kernel, size, (c_in, c_out), settings = draw(convolutions())
    bias = arrays(c_out) if draw(booleans()) else None
    weight = arrays(*kernel, c_in // settings["groups"], c_out)
    slope = draw(sampled_from([1.0, 1.0, 0.0, 0.2]))
    return (arrays(batch, *size, c_in), weight, bias), settings | dict(slope=slope)


@st.composite
def conv_transpose(draw):
    arrays, batch, kernel, size, (c_out, c_in), settings = draw(convolutions())
    settings["output_padding"] = tuple(draw(integers(0, s - 1)) for s in settings["stride"])
    received = out_size(kernel, size, **settings)
    # what a stride leaves over may be all that there is between two paddings
    assume(min(transposed_size(kernel, received, **settings)) >= 1)
    bias = arrays(c_out) if draw(booleans()) else None
    weight = arrays(*kernel, c_in, c_out // settings["groups"])
    return (arrays(batch, *received, c_in), weight, bias), settings


@st.composite
def conv_weight_grad(draw):
    arrays, batch, kernel, size, (c_in, c_out), settings = draw(convolutions())
    g = arrays(batch, *out_size(kernel, size, **settings), c_out)
    return (arrays(batch, *size, c_in), g, kernel), settings


@st.composite
def group_norm(draw):
    arrays = Arrays(draw)
    groups, batch = draw(integers(1, 4)), draw(sampled_from([0, 1, 2, 65, 130]))
    spatial = draw(sampled_from([(), (5,), (3, 1), (7, 5), (2, 3, 1)]))
    channels = groups * draw(sampled_from([3, 5, 16]))
    shift = draw(sampled_from([0, 10]))
    x = arrays.laid_out(np.asarray(arrays(batch, *spatial, channels) + arrays.dtype.type(shift)))
    weight = arrays(channels) if draw(booleans()) else None
    bias = arrays(channels) if draw(booleans()) else None
    return (x, groups, weight, bias), dict(silu=draw(booleans()))


@st.composite
def group_norm_backward(draw):
    (x, groups, weight, bias), settings = draw(group_norm())
    _, mean, rstd = reference.group_norm(x, groups, weight, bias)
    g = draw(st.builds(np.random.default_rng, integers(0, 99))).standard_normal(x.shape).astype(x.dtype)
    return (g, x, weight, bias, mean, rstd, groups), settings


@st.composite
def softmax(draw):
    arrays, others = Arrays(draw), draw(sampled_from([(), (0,), (3,), (2, 5), (2, 1, 70)]))
    return (arrays(*others, draw(sampled_from([0, 1, 7, 8, 16, 17, 40]))),), {}


@st.composite
def softmax_backward(draw):
    (x,), _ = draw(softmax())
    g = draw(st.builds(np.random.default_rng, integers(0, 99))).standard_normal(x.shape).astype(x.dtype)
    return (g, reference.softmax(x)), {}


LENGTHS = [0, 1, 12, 13, 14, 63, 64, 65, 131]


@st.composite
def attention(draw):
    arrays = Arrays(draw)
    batch, heads = draw(sampled_from([0, 1, 2])), draw(integers(1, 3))
    length, keys = draw(sampled_from(LENGTHS)), draw(sampled_from(LENGTHS))
    d, e = draw(sampled_from([1, 7, 16, 33])), draw(sampled_from([1, 5, 31, 32]))
    mask_shape = tuple(draw(sampled_from([1, n])) for n in (batch, heads, length, keys))
    mask = arrays.rng.random(mask_shape[draw(integers(0, 3)) :]) < 0.6
    added = np.where(mask, 0.7, -np.inf).astype(arrays.dtype)
    mask = draw(sampled_from([None, mask, added]))
    q, k, v = arrays(batch, length, heads, d), arrays(batch, keys, heads, d), arrays(batch, keys, heads, e)
    return (q, k, v, mask, draw(booleans())), dict(scale=draw(sampled_from([None, 0.3])))


@st.composite
def attention_backward(draw):
    (q, k, v, mask, is_causal), settings = draw(attention())
    out, lse = reference.attention(q, k, v, mask, is_causal, **settings)
    g = draw(st.builds(np.random.default_rng, integers(0, 99))).standard_normal(out.shape).astype(q.dtype)
    return (g, out, lse, q, k, v, mask, is_causal), settings


seeds = sampled_from([0, 1, 12345, 2**32 + 7, 2**64 - 1])
rows = sampled_from([0, 3, 2**32 - 200])
random_shapes = sampled_from([(0, 3), (1,), (130,), (3, 1), (2, 5, 3), (3, 0), (1, 4096), (2, 4097), (2, 9, 1001)])


@st.composite
def philox(draw):
    return (draw(seeds), draw(seeds), draw(rows), draw(sampled_from([0, 1, 2, 1000]))), {}


@st.composite
def random_numbers(draw):
    dtype = np.dtype(draw(sampled_from(["float32", "float64"])))
    return (draw(random_shapes), draw(seeds), draw(seeds), draw(rows), dtype), {}


@st.composite
def add_noise(draw):
    arrays, shape = Arrays(draw), draw(random_shapes)
    return (arrays(*shape), arrays(shape[0]), arrays(shape[0]), draw(seeds), draw(seeds), draw(rows)), {}


@st.composite
def ddpm_step(draw):
    arrays, shape = Arrays(draw), draw(random_shapes)
    alpha_bar = draw(st.floats(0.05, 0.95))
    alpha_bar_prev = draw(sampled_from([alpha_bar, (alpha_bar + 1) / 2, 1.0, np.float64(0.97)]))
    settings = dict(prediction=draw(sampled_from(["eps", "x0", "v"])), clip=draw(sampled_from([None, 0.5])))
    if draw(booleans()):
        settings.update(out_uncond=arrays(*shape), guidance=draw(sampled_from([0.0, 1.0, np.float64(2.5)])))
    levels, address = (alpha_bar, alpha_bar_prev), (draw(seeds), draw(seeds), draw(rows))
    return (arrays(*shape), arrays(*shape), *levels, *address), settings


@st.composite
def ddim_step(draw):
    args, settings = draw(ddpm_step())
    return args, settings | dict(eta=draw(sampled_from([0.0, 0.5, 1.0])))


@st.composite
def linear_step(draw):
    arrays, shape, count = Arrays(draw), draw(random_shapes), draw(st.integers(1, 5))
    settings = dict(deviation=draw(sampled_from([0.0, 0.5])), clip=draw(sampled_from([None, 0.5])))
    coefficients = [draw(sampled_from([0.5, -1.5, 2.0, np.float64(0.25)])) for _ in range(count)]
    address = draw(seeds), draw(seeds), draw(rows)
    return ([arrays(*shape) for _ in range(count)], coefficients, *address), settings


@st.composite
def gaussian_step(draw):
    arrays, shape = Arrays(draw), draw(random_shapes)
    return (arrays(*shape), arrays(*shape), draw(seeds), draw(seeds), draw(rows)), {}


any_shape = sampled_from([(), (0,), (1,), (7,), (15,), (16,), (17,), (3, 5), (4, 33), (2, 3, 0), (70_001,)])


@st.composite
def array_lists(draw, lists, largest=5):
    """Lists of arrays of the same shapes and dtypes, which differ from one place to the next."""
    shapes = draw(st.lists(sampled_from([(), (0,), (1,), (7,), (16,), (3, 11), (131, 127)]), max_size=largest))
    arrays = [Arrays(draw) for _ in shapes]
    return [[np.asarray(a.rng.standard_normal(s), a.dtype) for a, s in zip(arrays, shapes)] for _ in range(lists)]


@st.composite
def adam_(draw):
    parameters, gradients, means, squares, averages = draw(array_lists(5))
    squares = [np.asarray(s * s) for s in squares]
    gradients = [np.asarray(g.T.copy().T, order="K") for g in gradients]
    updates = [draw(integers(1, 2000)) for _ in parameters]
    averages = draw(sampled_from([None, averages, [None, *averages[1:]][: len(averages)]]))
    settings = dict(weight_decay=draw(sampled_from([0.0, 0.3])), decoupled=draw(booleans()))
    settings.update(scale=draw(sampled_from([1.0, 0.1])), averages=averages, average_decay=0.9)
    return (parameters, gradients, means, squares, updates, 0.1, (draw(sampled_from([0.0, 0.9])), 0.99), 1e-8), settings


@st.composite
def global_norm(draw):
    (arrays,) = draw(array_lists(1))
    return ([np.asarray(a.T.copy().T, order="K") for a in arrays],), {}


@st.composite
def scale_(draw):
    return (*draw(array_lists(1)), draw(sampled_from([0.0, 0.3]))), {}


@st.composite
def lerp_(draw):
    return (*draw(array_lists(2)), draw(sampled_from([0.0, 0.3, 1.0]))), {}


@st.composite
def add_(draw):
    return tuple(draw(array_lists(2))), {}


@st.composite
def activation(draw):
    arrays, name = Arrays(draw), draw(sampled_from(checks.ACTIVATIONS))
    x = arrays.laid_out(np.asarray(arrays.dtype.type(3) * arrays(*draw(any_shape))))
    return (x, name), dict(slope=draw(sampled_from([0.0, 0.2, 1.5]))) if name == "leaky_relu" else {}


@st.composite
def activation_backward(draw):
    (v, name), settings = draw(activation())
    g = draw(st.builds(np.random.default_rng, integers(0, 99))).standard_normal(v.shape).astype(v.dtype)
    return (g, v, name), settings


@st.composite
def arithmetic(draw):
    arrays = Arrays(draw)
    shape = draw(sampled_from([(), (0,), (7,), (4097,), (2, 33), (2, 3, 17), (2, 5, 1, 16), (0, 3), (3, 90, 300)]))
    kinds = [draw(sampled_from(["same", "same", "one"])) for _ in shape]
    other = tuple(1 if kind == "one" else n for n, kind in zip(shape, kinds))[draw(integers(0, len(shape))) :]
    other = shape if draw(booleans()) else other
    return (arrays(*shape), arrays(*other), draw(sampled_from(checks.ARITHMETIC))), {}


@st.composite
def sum_positions(draw):
    arrays = Arrays(draw)
    samples, channels = draw(sampled_from([0, 1, 3])), draw(sampled_from([0, 1, 7, 8, 16, 17, 33]))
    return (arrays(samples, draw(sampled_from([0, 1, 15, 16, 17, 3000])), channels),), {}


@st.composite
def copy(draw):
    arrays = Arrays(draw)
    x = arrays(*draw(any_shape))
    if draw(booleans()):
        wide = arrays(3, 70, 2, draw(sampled_from([7, 16, 33])), 15)
        x = draw(sampled_from([wide[:, :, 1], wide[:, 3:64], wide[..., 2:9, :], wide[:, ::2, :, :5], wide[1]]))
    return (x,), {}


@st.composite
def join(draw):
    arrays, rest = Arrays(draw), draw(sampled_from([(), (3,), (0,), (2, 5, 7), (3, 700)]))
    return ([arrays(*rest, draw(sampled_from([0, 1, 8, 16, 17, 33]))) for _ in range(draw(integers(1, 3)))],), {}


@st.composite
def upsample(draw):
    arrays, axes = Arrays(draw), draw(integers(1, 3))
    size, factors = (tuple(draw(integers(1, 4)) for _ in range(axes)) for _ in range(2))
    return (arrays(draw(integers(0, 2)), *size, draw(sampled_from([0, 1, 15, 16, 17, 33]))), factors), {}


@st.composite
def sum_blocks(draw):
    (x, factors), _ = draw(upsample())
    return (reference.upsample(x, factors) * np.asarray(draw(integers(1, 3)), x.dtype), factors), {}


@st.composite
def index_add(draw):
    """Rows of many numbers or of few; indices that are all different, mostly the same, or leave rows out."""
    arrays, channels = Arrays(draw), draw(sampled_from([0, 1, 3, 4, 16, 33]))
    places, named = draw(sampled_from([(1, 1), (5, 5), (40, 3), (1000, 1000)]))
    count = draw(sampled_from([0, 1, 31, 32, 33, 64, 200]))
    indices = arrays.rng.integers(0, named, count).astype(draw(sampled_from(["int64", "int32"])))
    return ((places, channels), indices, arrays(count, channels)), {}


@st.composite
def upfirdn2d(draw):
    """Channels around the widths of vectors, rows around a tile of the GPU kernel, taps that reach beyond the image."""
    arrays, taps = Arrays(draw), draw(sampled_from([1, 2, 3, 4, 6, 12]))

    def along(*sizes):
        size, up, down = draw(sampled_from(sizes)), draw(integers(1, 3)), draw(integers(1, 3))
        before, after = draw(integers(-3, 6)), draw(integers(-3, 6))
        return size, up, down, (before, after + max(0, taps - size * up - before - after))

    (height, *rows), (width, *columns) = along(1, 2, 5, 17, 33), along(1, 2, 5, 9)
    x = arrays(draw(sampled_from([0, 1, 2])), height, width, draw(sampled_from([0, 1, 3, 4, 16, 17, 65])))
    return (x, arrays(taps)), dict(zip(("up", "down", "padding"), zip(rows, columns)))


@st.composite
def modulate(draw):
    """Numbers of few digits, so that all agree on which side of the kink a sum lies."""
    arrays, samples = Arrays(draw), draw(sampled_from([0, 1, 3]))
    spatial = draw(sampled_from([(), (1,), (15,), (4, 4), (17, 3), (3, 0), (260,), (3, 2, 5)]))
    channels = draw(sampled_from([0, 1, 3, 7, 8, 16, 17, 33, 128, 132]))

    def rounded(*shape):
        return arrays.laid_out((np.round(8 * arrays.rng.standard_normal(shape)) / 8).astype(arrays.dtype))

    shapes = (samples, channels), (samples, *spatial, 1), (channels,)
    parameters = [rounded(*shape) if draw(booleans()) else None for shape in shapes]
    settings = dict(slope=draw(sampled_from([1.0, 0.0, 0.25])), gain=draw(sampled_from([1.0, 1.5])))
    return (rounded(samples, *spatial, channels), *parameters), settings


@st.composite
def modulate_backward(draw):
    (x, *parameters), settings = draw(modulate())
    g = draw(st.builds(np.random.default_rng, integers(0, 99))).standard_normal(x.shape).astype(x.dtype)
    return (g, x, *parameters), settings


CALLS = {
    "matmul": matmul(),
    "conv": conv(),
    "conv_transpose": conv_transpose(),
    "conv_weight_grad": conv_weight_grad(),
    "group_norm": group_norm(),
    "group_norm_backward": group_norm_backward(),
    "softmax": softmax(),
    "softmax_backward": softmax_backward(),
    "attention": attention(),
    "attention_backward": attention_backward(),
    "philox": philox(),
    "uniform": random_numbers(),
    "normal": random_numbers(),
    "add_noise": add_noise(),
    "ddpm_step": ddpm_step(),
    "ddim_step": ddim_step(),
    "linear_step": linear_step(),
    "gaussian_step": gaussian_step(),
    "adam_": adam_(),
    "global_norm": global_norm(),
    "scale_": scale_(),
    "lerp_": lerp_(),
    "add_": add_(),
    "activation": activation(),
    "activation_backward": activation_backward(),
    "arithmetic": arithmetic(),
    "sum_positions": sum_positions(),
    "copy": copy(),
    "join": join(),
    "upsample": upsample(),
    "sum_blocks": sum_blocks(),
    "index_add": index_add(),
    "upfirdn2d": upfirdn2d(),
    "modulate": modulate(),
    "modulate_backward": modulate_backward(),
}


def in_float64(name, args, kwargs):
    """The same call with every floating-point array, and every dtype asked for, in float64."""

    def widened(value):
        if isinstance(value, np.dtype):
            return np.dtype(np.float64)
        if isinstance(value, list):
            return [widened(item) for item in value]
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        return value.astype(np.float64) if is_float else value

    bound = inspect.signature(getattr(reference, name)).bind(*args, **kwargs)
    return [widened(value) for value in bound.args], {k: widened(v) for k, v in bound.kwargs.items()}
