"""Bad calls: each must raise, and say which function, what it was given and what it needs."""

import re

import numpy as np
import pytest

import minigen as mg
from minigen import F, data, nn, optim
from minigen.autograd import Primitive, primitive
from minigen.gradcheck import gradcheck

from .test_backend import GpuArray


def ones(*shape, dtype=np.float32):
    return mg.tensor(np.ones(shape, dtype))


x23, x34 = ones(2, 3), ones(3, 4)
image = ones(2, 5, 5, 4)


def styled(**given):
    return mg.modulated_conv2d_leaky_relu(image, ones(3, 3, 4, 6), ones(2, 4), **given)


gpu = mg.Tensor(GpuArray(np.ones((2, 3), np.float32)))
other_gpu = mg.Tensor(GpuArray(np.ones(3, np.float32), device=1))
grown = mg.tensor(np.ones((2, 3), np.float32), requires_grad=True) * 2
double = ones(2, 3, dtype=np.float64)

# Name, call, type of the error, and words that must stand in its message, in this order.
CASES = [
    # Devices and dtypes
    ("add on two devices", lambda: x23 + gpu, ValueError, "add: .*(2, 3) on cpu, (2, 3) on cuda:0.*.to(device)"),
    ("two gpus", lambda: gpu * other_gpu, ValueError, "multiply: .*(2, 3) on cuda:0, (3,) on cuda:1"),
    ("conv on two devices", lambda: F.conv2d(image, gpu), ValueError, "conv: .*on cpu.*on cuda:0"),
    ("an array on another device", lambda: x23 * gpu.data, ValueError, "multiply: .*cpu.*cuda:0.*move them"),
    ("equal on two devices", lambda: x23 == gpu, ValueError, "equal: .*(2, 3) on cpu, (2, 3) on cuda:0.*.to(device)"),
    ("a gradient on another device", lambda: grown.backward(gpu), ValueError, "backward: .*on cuda:0, but .*on cpu"),
    ("assign to a device", lambda: ones(2, 3).assign_(gpu.data), ValueError, "assign_: needs .*on cpu, got .*cuda:0"),
    ("a gpu tensor as an array", lambda: np.asarray(gpu), TypeError, "on cuda:0 and a NumPy array is needed: use .num"),
    ("random on a device", lambda: mg.randn(2, device="tpu"), ValueError, "device 'tpu' is unknown"),
    ("unknown device", lambda: x23.to("tpu"), ValueError, "device 'tpu' is unknown: choose 'cpu' or 'cuda'"),
    ("device by number", lambda: x23.to(0), ValueError, "device 0 is unknown"),
    ("dtypes in add", lambda: x23 + double, TypeError, "add: .*(2, 3) float32, (2, 3) float64.*.astype(dtype)"),
    ("dtypes in matmul", lambda: double @ x34, TypeError, "matmul: .*float64.*float32"),
    ("dtypes in concatenate", lambda: mg.concatenate([x23, double]), TypeError, "concatenate: .*float32.*float64"),
    ("integers in conv2d", lambda: F.conv2d(image.astype(int), ones(3, 3, 4, 1)), TypeError, "conv2d: x is int64"),
    # Making tensors
    ("text", lambda: mg.tensor("abc"), TypeError, "tensor: needs real numbers, got str"),
    ("nothing", lambda: mg.tensor(None), TypeError, "tensor: needs real numbers, got NoneType"),
    ("complex", lambda: mg.tensor(1.0, dtype=complex), TypeError, "tensor: needs real numbers.*complex128"),
    ("ragged", lambda: mg.tensor([[1, 2], [3]]), ValueError, "tensor: needs .*nested lists of equal lengths"),
    ("integer leaf", lambda: mg.tensor([1], requires_grad=True), TypeError, "floating-point tensor, this one is int64"),
    ("add text", lambda: x23 + "a", TypeError, "add: needs Tensors, arrays or numbers, got str 'a'"),
    ("add None", lambda: x23 + None, TypeError, "add: .*NoneType.*(2, 3) float32"),
    ("exp of None", lambda: mg.exp(None), TypeError, "exp: needs Tensors, arrays or numbers, got None"),
    ("two elements as one", lambda: float(x23), ValueError, "needs a tensor with one element.*(2, 3)"),
    ("if of many", lambda: bool(x23 > 0), ValueError, "needs a tensor with one element.*(2, 3)"),
    ("length of a number", lambda: len(mg.tensor(1.0)), TypeError, "len: a 0-d tensor"),
    ("assign a shape", lambda: ones(2).assign_(np.ones(3, np.float32)), ValueError, "assign_: needs (2,).*got (3,)"),
    # Shapes
    ("add", lambda: x23 + ones(4), ValueError, "add: .*(2, 3) float32, (4,) float32"),
    ("where", lambda: mg.where(x23 > 0, ones(4), 0.0), ValueError, "where: .*(2, 3) bool, (4,) float32"),
    ("reshape", lambda: x23.reshape(4, 2), ValueError, "reshape: .*size 6 into shape (4,2)"),
    ("broadcast_to", lambda: x23.broadcast_to(2, 4), ValueError, "broadcast_to: .*(2,3).*(2,4)"),
    ("transpose", lambda: x23.transpose(0, 0), ValueError, "transpose: axes (0, 0).*2 axes of shape (2, 3)"),
    ("sum over axis 2", lambda: x23.sum(axis=2), ValueError, "sum: axis 2 is out of bounds.*(2, 3)"),
    ("softmax over axis 5", lambda: mg.softmax(x23, 5), ValueError, "softmax: axis 5.*(2, 3)"),
    ("cumsum over axis -3", lambda: x23.cumsum(-3), ValueError, "cumsum: axis -3.*(2, 3)"),
    ("index too large", lambda: x23[5], IndexError, "getitem: index 5.*size 2.*(2, 3)"),
    ("float index", lambda: x23[ones(2)], IndexError, "getitem: .*integer (or boolean).*(2, 3)"),
    ("too many indices", lambda: x23[0, 0, 0], IndexError, "getitem: too many indices.*(2, 3)"),
    ("concatenate", lambda: mg.concatenate([x23, x34]), ValueError, "concatenate: .*(2, 3), (3, 4).*other than 0"),
    ("concatenate nothing", lambda: mg.concatenate([]), ValueError, "concatenate: needs at least one tensor"),
    ("split", lambda: x23.split(2, axis=1), ValueError, "split: axis 1 of shape (2, 3).*2 equal parts"),
    ("pad mode", lambda: x23.pad(1, mode="wrap"), ValueError, "pad: mode 'wrap' is unknown: choose 'constant'"),
    ("matmul", lambda: x23 @ x23, ValueError, "matmul: (2, 3) @ (2, 3): .*3.*2"),
    ("matmul with a number", lambda: x23 @ 2.0, ValueError, "matmul: needs at least one axis.*(2, 3) and ()"),
    ("einsum lengths", lambda: mg.einsum("ij,jk", x23, x23), ValueError, "einsum: letter 'j'.*lengths 3 and 2"),
    ("einsum operands", lambda: mg.einsum("ij,jk", x23), ValueError, "einsum: .*2 operands but 1"),
    ("gather range", lambda: mg.gather(x23, [[9]], 1), IndexError, "gather: indices from 9 to 9 do not fit -3 to 2"),
    ("embedding floats", lambda: F.embedding(ones(2), x34), TypeError, "embedding: indices must be integers.*float32"),
    ("embedding range", lambda: nn.Embedding(3, 2)([0, 3]), IndexError, "embedding: .*0 to 3 do not fit 0 to 2"),
    # Layers
    ("channels", lambda: nn.Conv2d(3, 8, 3)(image), ValueError, "conv2d: x has 4 channels.*(2, 5, 5, 4).*takes 3"),
    ("rank", lambda: nn.Conv2d(4, 8, 3)(x23), ValueError, "conv2d: x must be (N, H, W, C), got shape (2, 3)"),
    ("kernel too large", lambda: nn.Conv2d(4, 8, 7)(image), ValueError, "conv2d: the kernel spans (7, 7).*(5, 5)"),
    ("groups", lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, "Conv2d: groups=4.*in_channels=4.*out_channels=6"),
    ("stride", lambda: nn.Conv2d(4, 6, 3, stride=0)(image), ValueError, "conv2d: stride must be at least 1"),
    ("padding", lambda: F.conv2d(image, ones(3, 3, 4, 1), padding=(1, 1, 1)), ValueError, "padding.*3 numbers.*2 spat"),
    ("bias", lambda: F.conv2d(image, ones(3, 3, 4, 1), ones(2)), ValueError, "conv2d: bias has shape (2,).*needs (1,)"),
    (
        "extra",
        lambda: nn.ConvTranspose1d(3, 2, 3, output_padding=1)(ones(1, 4, 3)),
        ValueError,
        "output_padding (1,).*stride (1,)",
    ),
    ("linear", lambda: nn.Linear(4, 2)(x23), ValueError, "linear: x has 3 features.*(2, 3).*takes 4"),
    ("num_groups", lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups=3 does not divide num_channels=4"),
    ("group_norm", lambda: F.group_norm(image, 3), ValueError, "group_norm: num_groups=3.*(2, 5, 5, 4)"),
    ("normalized_shape", lambda: nn.LayerNorm(4)(x23), ValueError, "layer_norm: .*(2, 3).*normalized_shape (4,)"),
    ("batch_norm channels", lambda: nn.BatchNorm2d(3)(image), ValueError, "batch_norm: running_mean.*(3,).*4 channels"),
    ("batch of one", lambda: nn.BatchNorm1d(3)(ones(1, 3)), ValueError, "batch_norm: .*at least 2 values.*(1, 3)"),
    ("instance_norm", lambda: F.instance_norm(x23), ValueError, "instance_norm: .*spatial axis, got shape (2, 3)"),
    ("dropout", lambda: nn.Dropout(1.0), ValueError, "Dropout: p must be.*got 1.0"),
    ("pooling rank", lambda: F.avg_pool2d(x23, 2), ValueError, "avg_pool2d: .*2 spatial axes, got shape (2, 3)"),
    ("pooling window", lambda: F.max_pool2d(image, 6), ValueError, "max_pool2d: kernel_size (6, 6).*(2, 5, 5, 4)"),
    ("interpolate", lambda: F.interpolate(image, mode="cubic"), ValueError, "interpolate: mode 'cubic'.*'nearest'"),
    ("scale factor", lambda: F.interpolate(image, -1), ValueError, "interpolate: scale_factor -1 must be positive"),
    ("taps", lambda: mg.upfirdn2d(image, ones(7)), ValueError, "upfirdn2d: 7 taps do not fit x (2, 5, 5, 4).*(5, 5)"),
    (
        "style",
        lambda: mg.modulated_conv2d(image, ones(3, 3, 4, 1), ones(2, 3)),
        ValueError,
        "modulated_conv2d: style has shape (2, 3).*(2, 4)",
    ),
    (
        "noise",
        lambda: styled(noise=ones(2, 5, 5, 1)),
        ValueError,
        "modulated_conv2d_leaky_relu: noise has shape (2, 5, 5, 1).*(2, 3, 3, 1)",
    ),
    (
        "style's bias",
        lambda: styled(bias=ones(4)),
        ValueError,
        "modulated_conv2d_leaky_relu: bias has shape (4,).*(6,)",
    ),
    (
        "style's slope",
        lambda: styled(negative_slope=-1),
        ValueError,
        "modulated_conv2d_leaky_relu: negative_slope -1.*must not be",
    ),
    ("gelu", lambda: F.gelu(x23, approximate="erf"), ValueError, "gelu: approximate='erf'.*'none' or 'tanh'"),
]
ATTENTION = [
    ("rank", (x23, x23, x23), {}, "q needs 4 axes (N, length, heads, d).*(2, 3)"),
    ("head size", (ones(1, 2, 3, 4), ones(1, 2, 3, 5), ones(1, 2, 3, 4)), {}, "head size 4.*(1, 2, 3, 5) has 5"),
    ("heads", (ones(1, 2, 3, 4), ones(1, 2, 2, 4), ones(1, 2, 2, 4)), {}, "3 heads.*(1, 2, 2, 4) has 2"),
    ("keys", (ones(1, 2, 3, 4), ones(1, 5, 3, 4), ones(1, 6, 3, 4)), {}, "5 keys.*6 values"),
    ("mask", (ones(1, 2, 3, 4),) * 3, dict(attn_mask=ones(5, 5)), "mask (5, 5).*(N, heads, L, S) = (1, 3, 2, 2)"),
]
CASES += [
    (f"attention {name}", lambda a=a, k=k: F.scaled_dot_product_attention(*a, **k), ValueError, "attention: .*" + words)
    for name, a, k, words in ATTENTION
]

weights = [nn.Parameter([1.0])]
bias = nn.Linear(2, 1).state_dict()["bias"]
CASES += [
    # Losses
    ("mse_loss", lambda: F.mse_loss(x23, x34), ValueError, "mse_loss: the input has shape (2, 3) but.*(3, 4)"),
    ("reduction", lambda: F.l1_loss(x23, x23, "avg"), ValueError, "l1_loss: reduction 'avg' is unknown.*'mean'"),
    ("huber delta", lambda: F.huber_loss(x23, x23, 0), ValueError, "huber_loss: delta must be positive, got 0"),
    ("classes", lambda: F.cross_entropy(x23, [0, 3]), IndexError, "cross_entropy: .*0 to 3 do not fit 0 to 2"),
    ("no label", lambda: F.cross_entropy(x23, [0, -1]), IndexError, "cross_entropy: .*-1 to 0 do not fit 0 to 2"),
    ("targets", lambda: F.cross_entropy(x23, [0]), ValueError, "cross_entropy: .*must have shape (2,), got (1,)"),
    ("float targets", lambda: F.cross_entropy(x23, ones(2)), TypeError, "cross_entropy: .*integers, got float32"),
    # Diffusion steps
    (
        "prediction",
        lambda: mg.ddpm_step(x23, x23, 0.5, 0.7, 0, 0, prediction="x"),
        ValueError,
        "ddpm_step: .*'eps', 'x0', 'v'; got",
    ),
    ("alpha_bar", lambda: mg.ddim_step(x23, x23, 1.5, 1.0, 0, 0), ValueError, "ddim_step: alpha_bar.*0, 1.*got 1.5"),
    ("guidance", lambda: mg.ddim_step(x23, x23, 0.5, 0.7, 0, 0, guidance=2.0), ValueError, "guidance 2.0 needs out"),
    ("add_noise", lambda: mg.add_noise(x23, ones(3), ones(2), 0, 0), ValueError, "add_noise: alpha.*(3,).*needs (2,)"),
    # Optimisers
    ("learning rate", lambda: optim.Adam(weights, lr=-1e-3), ValueError, "Adam: lr must not be negative, got -0.001"),
    ("no parameters", lambda: optim.SGD([]), ValueError, "SGD: got no parameters"),
    ("one tensor", lambda: optim.SGD(ones(2, 2)), TypeError, "SGD: needs a list of parameters.*(2, 2)"),
    ("arrays", lambda: optim.AdamW([np.ones(2)]), TypeError, "AdamW: parameter 0 must be a leaf.*ndarray"),
    ("no leaf", lambda: optim.SGD([weights[0] * 2]), TypeError, "SGD: parameter 0.*the output of an operation"),
    ("twice", lambda: optim.SGD(weights * 2), ValueError, "SGD: a parameter is given more than once"),
    ("betas", lambda: optim.Adam(weights, betas=(0.9, 1.0)), ValueError, "Adam: betas must be.*got (0.9, 1.0)"),
    ("weight decay", lambda: optim.AdamW(weights, weight_decay=-1), ValueError, "AdamW: weight_decay must not.*got -1"),
    ("nesterov", lambda: optim.SGD(weights, nesterov=True), ValueError, "SGD: momentum .*positive for nesterov, got 0"),
    (
        "Adam's max_norm",
        lambda: optim.Adam(weights, max_norm=-1),
        ValueError,
        "Adam: max_norm must be positive, got -1",
    ),
    ("max_norm", lambda: optim.clip_grad_norm_(weights, 0), ValueError, "clip_grad_norm_: max_norm .*got 0"),
    ("schedule", lambda: optim.CosineLR(optim.SGD(weights), 5, 5), ValueError, "CosineLR: needs 0 <= warmup.*5 and 5"),
    ("decay", lambda: optim.EMA(nn.Linear(1, 1), 1.0), ValueError, "EMA: decay must be.*got 1.0"),
    # Random numbers
    ("seed", lambda: mg.manual_seed(-1), ValueError, "manual_seed: the seed must be a whole number.*got -1"),
    ("float seed", lambda: mg.manual_seed(0.5), ValueError, "manual_seed: the seed.*got 0.5"),
    ("no range", lambda: mg.randint(3, 3, (2,)), ValueError, "randint: needs low < high.*got 3 and 3"),
    ("shape", lambda: mg.randn(2, -1), ValueError, "random: the shape must be of whole numbers from 0, got (2, -1)"),
    ("integer noise", lambda: mg.rand(2, dtype=int), TypeError, "uniform: dtype must be float32 or float64; got int64"),
    ("permutation", lambda: mg.random.permutation(-1, 0, 0), ValueError, "permutation: n must not be negative, got -1"),
    (
        "draw",
        lambda: mg.random.Generator().load_state_dict({"seed": 1}),
        ValueError,
        "load_state_dict: 'draw' must.*None",
    ),
    # Modules
    ("state", lambda: nn.Linear(2, 1).load_state_dict({"bias": bias}), ValueError, "Linear: missing ['weight'], unexp"),
    ("function as a module", lambda: nn.Sequential(mg.relu), TypeError, "Sequential: needs Modules, got .*nn.ReLU()"),
    ("module list", lambda: nn.ModuleList().append("conv"), TypeError, "ModuleList: needs Modules, got 'conv'"),
    ("no forward", lambda: nn.ModuleList()(x23), NotImplementedError, "ModuleList defines no forward"),
    ("fans of a vector", lambda: nn.init.kaiming_normal_(ones(3)), ValueError, "init: .*(*kernel, in, out).*(3,)"),
    # The engine
    ("backward of many", lambda: (weights[0] * x23).backward(), RuntimeError, "backward: .*(2, 3) needs a gradient"),
    (
        "seed shape",
        lambda: (weights[0] * x23).backward(ones(3)),
        ValueError,
        "(3,), float32 on cpu.*(2, 3), float32 on cpu",
    ),
    ("gradient of another dtype", lambda: (weights[0] * x23).backward(double), ValueError, "float64 on .*float32 on"),
    ("nothing to differentiate", lambda: x23.sum().backward(), RuntimeError, "backward: .*does not require a gradient"),
    ("grad of a constant", lambda: mg.grad(weights[0], [x23]), RuntimeError, "grad: input 0 of shape (2, 3) does not"),
    ("grad of an array", lambda: mg.grad(weights[0], [np.ones(2)]), TypeError, "grad: input 0 must be a Tensor, got"),
    ("grad_outputs", lambda: mg.grad(weights[0], weights, [1.0, 2.0]), ValueError, "grad: 1 outputs but 2 grad_out"),
    ("assign an output", lambda: (weights[0] * 2).assign_(np.ones(1)), RuntimeError, "assign_: .*only leaves"),
    ("freeze an output", lambda: (weights[0] * 2).requires_grad_(False), RuntimeError, "requires_grad_.*detach()"),
    ("gradcheck", lambda: gradcheck(mg.exp, [x23]), TypeError, "gradcheck: input 0 is float32.*float64"),
    ("name taken", lambda: primitive(np.exp), ValueError, "primitive: the name 'exp' is taken"),
    # Data
    ("no data set", lambda: data.load("/nowhere"), FileNotFoundError, "load: '/nowhere' is no known.*'digits'"),
    (
        "batch size",
        lambda: data.DataLoader(np.ones(4), batch_size=5),
        ValueError,
        "batch_size must.*from 1 to 4 (all), got 5",
    ),
]


def pattern(words):
    """The words as they stand, except that '.*' means what it does in a regular expression."""
    return ".*".join(re.escape(part) for part in words.split(".*"))


@pytest.mark.parametrize(("call", "error", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_bad_call(call, error, words):
    with pytest.raises(error, match=pattern(words)):
        call()


def test_bad_files(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match=r"cannot read .*cat\.png"):
        data.image_folder(tmp_path)
    path = tmp_path / "model.safetensors"
    mg.save(nn.Linear(2, 2).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"load: .*model\.safetensors is not a whole safetensors file"):
        mg.load(path)
    path.write_text("something else")
    with pytest.raises(ValueError, match=r"load: .*model\.safetensors is not a whole safetensors file"):
        mg.load(path)
    with pytest.raises(ValueError, match=r"load: cannot open .*gone"):
        mg.load(tmp_path / "gone")


# ---- rules that are wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            lambda g, y, x: mg.tensor([1.0, 2.0]),
            r"rule of odd gave a gradient of shape \(2,\) to an .* \(3,\)",
        ),
        (lambda g, y, x: g.astype(np.float64), "rule of odd gave a float64 gradient to a float32 input"),
        (lambda g, y, x: g.data, "rule of odd gave a ndarray; a gradient must be a Tensor"),
        (lambda g, y, x: (g, g), "rule of odd gave 2 gradients for 1 arguments"),
        (lambda g, y, _x: g * _x, "needs real numbers, got Ghost"),
    ],
)
def test_a_wrong_rule_is_named(rule, words):
    odd = Primitive(lambda x: x * 2)
    odd.name = "odd"
    odd.vjp(rule)
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises((TypeError, ValueError), match=words):
        odd(x).sum().backward()
    assert x.grad is None


def test_a_primitive_without_a_rule_is_named():
    odd = Primitive(lambda x: x * 2)
    odd.name = "odd"
    with pytest.raises(NotImplementedError, match="odd has no rule"):
        odd(mg.tensor(1.0, requires_grad=True)).backward()


# ---- values that are not finite ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("create_graph", [False, True])
def test_detect_anomaly_names_the_first(create_graph):
    x = mg.tensor([0.0, 1.0], requires_grad=True)
    with mg.detect_anomaly():
        with pytest.raises(FloatingPointError, match=r"the output of log, of shape \(2,\), is not finite"):
            (x.log() * 0).exp()
        y = (x * 3).sqrt() * 2
        with pytest.raises(FloatingPointError, match=r"a gradient passed back by sqrt, of shape \(2,\)"):
            y.sum().backward(create_graph=create_graph)
        inside = mg.checkpoint(lambda t: (t.sqrt() * 2).sum(), x)
        with pytest.raises(FloatingPointError, match="a gradient passed back by sqrt"):
            inside.backward(create_graph=create_graph)
        (x * 2).sum().backward(create_graph=create_graph)  # all is well: nothing is raised
    assert x.grad.numpy().tolist() == [2, 2]
    assert np.isinf(x.log().numpy()[0])  # outside, nothing is looked at
