"""minigen against PyTorch in float64: values, gradients, and gradients of gradients; and the optimisers' paths."""

import numpy as np
import pytest

import minigen as mg
from minigen import F, optim

torch = pytest.importorskip("torch")
T = torch.nn.functional


def first(t):
    return t.movedim(-1, 1)


def last(t):
    return t.movedim(1, -1)


def conv_weight(w):  # (*k, in, out) -> (out, in, *k)
    return w.permute(-1, -2, *range(w.ndim - 2))


def transposed_weight(w):  # (*k, in, out) -> (in, out, *k)
    return w.permute(-2, -1, *range(w.ndim - 2))


def channels_first(function):
    """A PyTorch function of (N, C, *S), as one of (N, *S, C)."""
    return lambda x, *rest, **settings: last(function(first(x), *rest, **settings))


CASES = {}


def case(name, shapes, mine, theirs):
    CASES[name] = (shapes, mine, theirs)


def both(name, shapes, mine, theirs, **settings):
    """The same settings for both."""
    case(f"{name} {settings}", shapes, lambda *a: mine(*a, **settings), lambda *a: theirs(*a, **settings))


# Spatial size, in, out, kernel, and settings.
for size, i, o, k, settings in [
    ((9,), 4, 6, (3,), dict(stride=2, padding=1, groups=2)),
    ((11,), 2, 3, (4,), dict(dilation=2, padding=3)),
    ((6, 7), 3, 5, (3, 3), dict(padding=1)),
    ((9, 8), 4, 4, (3, 2), dict(stride=(2, 3), padding=(1, 0), groups=4)),
    ((10, 10), 4, 6, (3, 3), dict(stride=2, padding=2, dilation=2, groups=2)),
    ((5, 6), 17, 33, (1, 1), dict()),
    ((4, 5, 6), 2, 4, (2, 3, 2), dict(stride=(1, 2, 2), padding=1, groups=2)),
    ((7, 7, 7), 2, 3, (2, 2, 2), dict(stride=3, dilation=2)),
]:
    shapes = [(2, *size, i), (*k, i // settings.get("groups", 1), o), (o,)]
    name = f"conv{len(size)}d"
    torch_conv = channels_first(lambda x, w, b, name=name, **s: getattr(T, name)(x, conv_weight(w), b, **s))
    both(f"{name} {size} {k}", shapes, getattr(F, name), torch_conv, **settings)

for size, i, o, k, settings in [
    ((5,), 4, 6, (3,), dict(stride=2, padding=1, output_padding=1, groups=2)),
    ((4, 3), 3, 5, (4, 4), dict(stride=2, padding=1)),
    ((3, 4), 4, 4, (3, 2), dict(stride=(3, 2), output_padding=(2, 1), dilation=(1, 2), groups=2)),
    ((4, 4), 6, 3, (3, 3), dict(padding=1, dilation=2, groups=3)),
    ((2, 3, 2), 2, 3, (2, 2, 3), dict(stride=2, padding=(0, 1, 1), output_padding=1)),
]:
    shapes = [(2, *size, i), (*k, i, o // settings.get("groups", 1)), (o,)]
    name = f"conv_transpose{len(size)}d"
    torch_conv = channels_first(lambda x, w, b, name=name, **s: getattr(T, name)(x, transposed_weight(w), b, **s))
    both(f"{name} {size} {k}", shapes, getattr(F, name), torch_conv, **settings)

for shape in [(3, 6), (2, 7, 6), (2, 3, 4, 6), (2, 2, 3, 2, 6)]:
    affine = [shape, (6,), (6,)]
    torch_group_norm = channels_first(lambda x, w, b: T.group_norm(x, 3, w, b))
    case(f"group_norm {shape}", affine, lambda x, w, b: F.group_norm(x, 3, w, b), torch_group_norm)
    running = np.linspace(-1, 1, 6), np.linspace(0.5, 2, 6)
    case(
        f"batch_norm {shape}",
        affine,
        lambda x, w, b, r=running: F.batch_norm(x, *map(mg.tensor, r), w, b),
        channels_first(lambda x, w, b, r=running: T.batch_norm(x, *map(torch.tensor, r), w, b)),
    )
    case(
        f"batch_norm in training {shape}",
        affine,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        channels_first(lambda x, w, b: T.batch_norm(x, None, None, w, b, training=True)),
    )
    if len(shape) > 2:
        torch_instance_norm = channels_first(lambda x, w, b: T.instance_norm(x, weight=w, bias=b))
        case(f"instance_norm {shape}", affine, F.instance_norm, torch_instance_norm)
case(
    "layer_norm",
    [(3, 4, 5), (4, 5), (4, 5)],
    lambda x, w, b: F.layer_norm(x, (4, 5), w, b),
    lambda x, w, b: T.layer_norm(x, (4, 5), w, b),
)
case(
    "group_norm_silu",
    [(2, 3, 4, 6), (6,), (6,)],
    lambda x, w, b: F.group_norm_silu(x, 2, w, b),
    channels_first(lambda x, w, b: T.silu(T.group_norm(x, 2, w, b))),
)


def torch_attention(q, k, v, mask=None, **settings):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the one with a second derivative
        heads = (t.transpose(1, 2) for t in (q, k, v))
        return T.scaled_dot_product_attention(*heads, attn_mask=mask, **settings).transpose(1, 2)


qkv = [(2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 6)]
both("attention", qkv, F.scaled_dot_product_attention, torch_attention)
both("attention", qkv, F.scaled_dot_product_attention, torch_attention, is_causal=True, scale=0.7)
both("attention with a learned mask", [*qkv, (3, 5, 7)], F.scaled_dot_product_attention, torch_attention)
keep = np.arange(35).reshape(5, 7) % 3 != 1
case(
    "attention with a bool mask",
    qkv,
    lambda *a: F.scaled_dot_product_attention(*a, attn_mask=keep),
    lambda *a: torch_attention(*a, torch.tensor(keep)),
)

for name in ("relu", "silu", "softplus", "gelu", "elu", "leaky_relu", "sigmoid", "tanh"):
    both(name, [(4, 9)], getattr(F, name), getattr(T, name))
both("gelu", [(4, 9)], F.gelu, T.gelu, approximate="tanh")
both("elu", [(4, 9)], F.elu, T.elu, alpha=0.5)
both("leaky_relu", [(4, 9)], F.leaky_relu, T.leaky_relu, negative_slope=0.2)
for name in ("softmax", "log_softmax", "logsumexp"):
    case(name, [(4, 3, 5)], lambda x, n=name: getattr(mg, n)(x, 1), lambda x, n=name: getattr(torch, n)(x, 1))

classes = np.array([[1, 0, 4], [2, 2, 3]])
for reduction in ("mean", "sum", "none"):
    for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        both(name, [(3, 4), (3, 4)], getattr(F, name), getattr(T, name), reduction=reduction)
    case(
        f"cross_entropy {reduction}",
        [(2, 3, 5)],
        lambda x, r=reduction: F.cross_entropy(x, classes, r),
        lambda x, r=reduction: T.cross_entropy(first(x), torch.tensor(classes), reduction=r),
    )
both("huber_loss", [(3, 4), (3, 4)], F.huber_loss, T.huber_loss, delta=0.3)

for kind in ("avg_pool", "max_pool"):
    for size, settings in [
        ((9,), dict(kernel_size=3, stride=2, padding=1)),
        ((6, 8), dict(kernel_size=2)),
        ((7, 6), dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0))),
        ((4, 5, 4), dict(kernel_size=2, stride=1, padding=1)),
    ]:
        name = f"{kind}{len(size)}d"
        both(f"{name} {size}", [(2, *size, 3)], getattr(F, name), channels_first(getattr(T, name)), **settings)
not_padding = dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)
both("avg_pool2d", [(2, 6, 7, 2)], F.avg_pool2d, channels_first(T.avg_pool2d), **not_padding)

for mode, factors in [("nearest", (2, 3, (2, 1), 1.5, (2.5, 0.6))), ("bilinear", (2, 3, (2, 1), 1.5, (2.5, 0.6)))]:
    for factor in factors:
        both(
            "interpolate", [(2, 5, 4, 3)], F.interpolate, channels_first(T.interpolate), scale_factor=factor, mode=mode
        )


def torch_upfirdn(x, taps, up, down, padding):
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h, up, w, up)
    spread[:, :, :, 0, :, 0] = x
    padded = T.pad(spread.reshape(n, c, h * up, w * up), [*padding, *padding])  # crops where negative
    flipped = torch.tensor(np.outer(taps, taps)[::-1, ::-1].copy()).expand(c, 1, -1, -1)
    return T.conv2d(padded, flipped, stride=down, groups=c)


taps = np.array([1.0, 3, 4, 2]) / 10
for up, down, padding in [(2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (2, 1)), (3, 2, (-1, 4)), (2, 3, (5, -2))]:
    both(
        "upfirdn2d",
        [(2, 5, 6, 3)],
        lambda x, **s: F.upfirdn2d(x, taps, **s),
        channels_first(lambda x, **s: torch_upfirdn(x, taps, **s)),
        up=up,
        down=down,
        padding=padding,
    )

case("cumsum", [(3, 4, 5)], lambda x: x.cumsum(1), lambda x: x.cumsum(1))
case("prod", [(3, 4, 5)], lambda x: x.prod(axis=1), lambda x: x.prod(1))
case(
    "prod with zeros",
    [(3, 4)],
    lambda x: (x * keep[:3, :4]).prod(1),
    lambda x: (x * torch.tensor(keep[:3, :4])).prod(1),
)
case("var", [(3, 4, 5)], lambda x: x.var(axis=(0, 2)), lambda x: x.var((0, 2), correction=0))
case("max", [(3, 4, 5)], lambda x: x.max(axis=(0, 2)), lambda x: x.amax((0, 2)))
case("norm", [(3, 4)], lambda x: mg.norm(x, axis=1), lambda x: torch.linalg.vector_norm(x, dim=1))
case("matmul", [(3, 1, 4, 5), (2, 5, 6)], lambda a, b: a @ b, lambda a, b: a @ b)
for subscripts, *shapes in [
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("ii,j->ij", (3, 3), (4,)),
    ("...i,ij", (2, 3, 4), (4, 5)),
]:
    operands = lambda *a, s=subscripts: mg.einsum(s, *a), lambda *a, s=subscripts: torch.einsum(s, *a)
    case(f"einsum {subscripts}", shapes, *operands)
for mode, theirs in [("reflect", "reflect"), ("edge", "replicate"), ("constant", "constant")]:
    case(
        f"pad {mode}",
        [(2, 4, 5, 3)],
        lambda x, m=mode: mg.pad(x, [(0, 0), (1, 2), (3, 0), (0, 0)], mode=m),
        channels_first(lambda x, m=theirs: T.pad(x, (3, 0, 1, 2), mode=m)),
    )
picked = np.array([[0, 2, 2], [4, 4, 4]])
case("gather", [(2, 5)], lambda x: mg.gather(x, picked, 1), lambda x: torch.gather(x, 1, torch.tensor(picked)))
case("embedding", [(5, 3)], lambda w: F.embedding(classes, w), lambda w: T.embedding(torch.tensor(classes), w))


def close(mine, theirs, what):
    theirs = theirs.detach().numpy(force=True)
    assert mine.shape == theirs.shape, what
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-9, atol=1e-9 * (1 + np.abs(theirs).max()), err_msg=what)


@pytest.mark.parametrize(("shapes", "mine", "theirs"), CASES.values(), ids=CASES)
def test_to_second_order(shapes, mine, theirs):
    """With y = f(x): the gradients g of <c, y>, and those of <u, g>, for random c and u, to x and to c."""
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(s) for s in shapes]
    xs, ts = [mg.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = mine(*xs), theirs(*ts)
    close(y, z, "value")
    weights = rng.standard_normal(z.shape)
    c, d = mg.tensor(weights, requires_grad=True), torch.tensor(weights, requires_grad=True)
    hs = torch.autograd.grad(z, ts, d, create_graph=True)
    for i, (g, h) in enumerate(zip(mg.grad(y, xs, c, retain_graph=True), hs, strict=True)):
        close(g, h, f"gradient {i}, by the kernel's own rule where there is one")
    gs = mg.grad(y, xs, c, create_graph=True)
    for i, (g, h) in enumerate(zip(gs, hs, strict=True)):
        close(g, h, f"gradient {i}")
    directions = [rng.standard_normal(s) for s in shapes]
    slope, expected = (
        sum((g * u).sum() for g, u in zip(gradients, us, strict=True))
        for gradients, us in ((gs, directions), (hs, map(torch.tensor, directions)))
    )
    second = mg.grad(slope, [*xs, c], allow_unused=True)
    for i, (g, h) in enumerate(zip(second, torch.autograd.grad(expected, [*ts, d], allow_unused=True), strict=True)):
        zero = torch.zeros((*shapes, z.shape)[i])  # which one of the two may know in advance
        close(zero if g is None else g, zero if h is None else h, f"second gradient {i}")


def test_running_statistics():
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 6))
    running, theirs = [mg.tensor(np.zeros(6)), mg.tensor(np.ones(6))], [torch.zeros(6).double(), torch.ones(6).double()]
    F.batch_norm(mg.tensor(x), *running, training=True, momentum=0.3)
    T.batch_norm(first(torch.tensor(x)), *theirs, training=True, momentum=0.3)
    for a, b in zip(running, theirs):
        close(a, b, "running statistics")


OPTIMISERS = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.8, nesterov=True)),
    ("Adam", dict()),
    ("Adam", dict(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1)),
    ("AdamW", dict()),
    ("AdamW", dict(lr=0.1, betas=(0.0, 0.99), weight_decay=0.3)),
]


@pytest.mark.parametrize(("name", "settings"), OPTIMISERS)
def test_optimisers_walk_the_same_path(name, settings):
    """Down Rosenbrock's valley for 100 steps, the rate halved by a cosine; only `lr` differs in SGD's defaults."""
    start = np.array([-1.2, 1.0])
    p, q = mg.nn.Parameter(start), torch.tensor(start, requires_grad=True)
    mine, theirs = getattr(optim, name)([p], **settings), getattr(torch.optim, name)([q], **settings)
    schedule = optim.CosineLR(mine, total_steps=100, final=0.5)
    torch_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=100, eta_min=0.5 * mine.lr)
    for _ in range(100):
        for x, optimizer, following in ((p, mine, schedule), (q, theirs, torch_schedule)):
            optimizer.zero_grad()
            loss = 0.01 * ((1 - x[0]) ** 2 + 10 * (x[1] - x[0] * x[0]) ** 2)
            loss.backward()
            optimizer.step()
            following.step()
        close(p, q, "parameters")
    assert schedule.optimizer.lr == pytest.approx(torch_schedule.get_last_lr()[0])
