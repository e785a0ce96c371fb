"""What surrounds the operations, on a GPU: the tape, layers, optimisers, samplers, files, batches.

What it computes there must be what it computes on the CPU.
"""

import numpy as np
import pytest

import minigen
from kernels import KERNELS
from minigen import F, Tensor, nn, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.diffusion import Diffusion, UNet
from minigen.gradcheck import GradcheckError, gradcheck
from tests.nn.test_layers import LAYERS

pytestmark = pytest.mark.usefixtures("cupy")
DEVICES = ["cpu", "cuda"]


def on_both(build):
    """What `build(device)` gives on the CPU and on the GPU, with the same random numbers."""
    results = []
    for device in DEVICES:
        minigen.manual_seed(5)
        results.append(build(device))
    return results


def assert_same(cpu, gpu, tolerance=2e-5):
    """Equal to a tolerance, relative to the largest; dicts and lists, item by item."""
    if isinstance(cpu, dict):
        assert cpu.keys() == gpu.keys()
        cpu, gpu = list(cpu.values()), list(gpu.values())
    if isinstance(cpu, (list, tuple)):
        assert len(cpu) == len(gpu)
        for a, b in zip(cpu, gpu):
            assert_same(a, b, tolerance)
        return
    if isinstance(cpu, Tensor):
        assert cpu.device == "cpu" and gpu.device == "cuda:0" and cpu.dtype == gpu.dtype
        cpu, gpu = cpu.numpy(), gpu.numpy()
    scale = np.abs(cpu).max(initial=1e-3) if isinstance(cpu, np.ndarray) else 1
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=tolerance * scale)


# ---- moving --------------------------------------------------------------------------------------------


def test_there_and_back():
    x = minigen.tensor([[1.0, 2.0]], requires_grad=True)
    y = minigen.tensor(x, device="cuda", requires_grad=True)
    assert (y.device, y.dtype, y.shape, y.requires_grad, y.is_leaf) == ("cuda:0", x.dtype, x.shape, True, True)
    assert y.to("cuda") is y is y.to("cuda:0") and repr(y) == (
        "tensor([[1., 2.]], dtype=float32, device=cuda:0, requires_grad=True)"
    )
    assert isinstance(y.to("cpu").data, np.ndarray) and np.array_equal(y.numpy(), x.numpy())
    assert minigen.tensor(np.ones(2), dtype=np.float32, device="cuda").dtype == np.float32
    assert minigen.tensor(y).device == "cuda:0" and minigen.tensor(y, device="cpu").device == "cpu"
    assert float(y.sum()) == 3.0 and y[0, 1].item() == 2.0


def test_gradients_come_back_from_another_device():
    """Of first and second order."""
    x = minigen.tensor(np.array([0.5, -1.5, 2.0]))
    gradcheck(lambda x: ((x * 3).to("cuda") ** 2).to("cpu") * x, [x])
    gradcheck(lambda x: ((x * 3).to("cpu") ** 2).to("cuda") * x, [x.to("cuda")])


def test_the_gradient_of_a_leaf_comes_back():
    w = minigen.tensor([1.0, 2.0], requires_grad=True)
    (w.to("cuda") * 2).sum().backward()
    assert w.grad.device == "cpu"
    np.testing.assert_array_equal(w.grad.numpy(), [2, 2])
    assert not w.to("cuda").is_leaf and w.detach().to("cuda").is_leaf
    with minigen.no_grad():
        copy = w.to("cuda")
    assert copy.is_leaf and not copy.requires_grad


def test_devices_do_not_mix():
    x = minigen.tensor([1.0, 2.0])
    for call in (lambda: x + x.to("cuda"), lambda: x.to("cuda") == x, lambda: x.to("cuda") * x.numpy()):
        with pytest.raises(ValueError, match=r"\(2,\) on c.* \(2,\) on c.*; move them with .to\(device\)"):
            call()
    with pytest.raises(ValueError, match="batch_norm: arguments on different devices"):
        F.batch_norm(minigen.randn(3, 2, device="cuda"), x, x, training=True)
    with pytest.raises(TypeError, match=r"this tensor is on cuda:0 .* use \.numpy\(\)"):
        np.asarray(x.to("cuda"))


# ---- the tape ------------------------------------------------------------------------------------------


def test_gradients_accumulate_in_place():
    x = minigen.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    (x * x).sum().backward()
    memory = x.grad.data.data.ptr
    (x * x).sum().backward()
    assert x.grad.data.data.ptr == memory
    np.testing.assert_array_equal(x.grad.numpy(), [4, 8])
    kept = x.grad.data[:1]  # a view: from now on somebody else holds that memory
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [6, 12])
    np.testing.assert_array_equal(kept.get(), [4])


def test_values_change_in_place_unless_somebody_else_holds_them():
    x = minigen.tensor([1.0, 2.0, 3.0], device="cuda")
    memory = x.data.data.ptr
    x.change_()[...] = 5
    assert x.data.data.ptr == memory
    for held in (x.data, x.data[1:], x.data.reshape(3, 1), x.data.T):
        x.change_()[...] = 7
        assert float(held.sum()) % 5 == 0  # not 7
        x.change_()[...] = 5
    part = Tensor(x.data[1:])
    part.change_()[...] = 7
    np.testing.assert_array_equal(x.numpy(), [5, 5, 5])
    del held, part
    windows = F.avg_pool1d(x.reshape(1, 3, 1), 3, stride=1)  # of all of x
    held = minigen.ops.resample._windows(x.reshape(1, 3, 1), kernel=(3,), stride=(1,))
    x.change_()[...] = 7
    assert windows.item() == 5 and float(held.data.max()) == 5


def test_parts_of_one_tensor_each_give_their_gradient():
    def build(device):
        x = minigen.randn(3, 4, device=device).requires_grad_()
        rows = x[[0, 2, 0]]
        ((x[0] * x[1:, 2:].sum() + x[..., 1].sum()).sum() + (rows * rows).sum() + x[x > 0].sum()).backward()
        return x.grad

    assert_same(*on_both(build))


def test_a_number_decides_for_all():
    x = minigen.randn(3, device="cuda")
    for condition in (True, False, 0.0):
        y = minigen.where(condition, x, 1.0)
        assert y.device == "cuda:0" and np.array_equal(y.numpy(), x.numpy() if condition else np.ones(3, np.float32))


def test_checkpointing_draws_the_same_numbers_again():
    def build(device):
        x, layer = minigen.randn(4, 5, device=device).requires_grad_(), nn.Linear(5, 3).to(device)
        dropout = nn.Dropout(0.5)
        (minigen.checkpoint(lambda x: dropout(layer(x)), x) ** 2).sum().backward()
        return [x.grad, layer.weight.grad, layer.bias.grad]

    assert_same(*on_both(build))


def test_anomalies_are_found():
    x = minigen.tensor([0.0], device="cuda", requires_grad=True)
    with minigen.detect_anomaly(), pytest.raises(FloatingPointError, match="the output of log"):
        minigen.log(x)


def test_gradcheck_finds_a_gradient_on_the_wrong_device():
    wrong = minigen.autograd.Primitive(lambda x: x * 2)

    @wrong.vjp
    def _(g, _y, _x):
        return (g * 2).to("cpu")

    with pytest.raises((GradcheckError, ValueError), match="cpu"):
        gradcheck(wrong, [minigen.tensor(np.ones(2), device="cuda")])


# ---- layers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LAYERS, "BatchNorm", "Dropout"])
def test_a_layer_and_its_gradients(name):
    make, shape = (LAYERS[name][0], LAYERS[name][1]) if name in LAYERS else (lambda: getattr(nn, name)(3), (4, 2, 3))
    make = (lambda: nn.Dropout(0.3)) if name == "Dropout" else make

    def build(device):
        layer = make().to(device)
        embeds = isinstance(layer, nn.Embedding)
        x = minigen.randint(0, 7, shape, device=device) if embeds else minigen.randn(*shape, device=device)
        y = layer(x if embeds else x.requires_grad_())
        (y * minigen.randn(*y.shape, device=device)).sum().backward()
        assert all(type(a) is np.ndarray for a in layer.state_dict().values())
        return [
            y,
            [] if embeds else x.grad,
            [p.grad for p in layer.parameters()],
            [b for _, b in layer.named_buffers()],
        ]

    assert_same(*on_both(build), tolerance=1e-4)


def test_a_module_takes_its_gradients_along_and_starts_over_there():
    layer = nn.Linear(2, 3)
    layer(minigen.randn(1, 2)).sum().backward()
    state = layer.state_dict()
    layer.to("cuda")
    assert {t.device for p in layer.parameters() for t in (p, p.grad)} == {"cuda:0"}
    nn.init.normal_(layer.weight)
    layer.load_state_dict(state)
    assert layer.weight.device == "cuda:0" and np.array_equal(layer.weight.numpy(), state["weight"])
    layer.to("cpu").load_state_dict({name: minigen.tensor(a, device="cuda") for name, a in state.items()})
    assert layer.weight.device == "cpu" and np.array_equal(layer.weight.numpy(), state["weight"])


def test_indices_and_classes_may_be_anywhere():
    logits, table = minigen.randn(4, 3, device="cuda"), minigen.randn(5, 2, device="cuda")
    for target in (
        [2, 0, 1, 1],
        np.array([2, 0, 1, 1]),
        minigen.tensor([2, 0, 1, 1]),
        minigen.tensor([2, 0, 1, 1]).to("cuda"),
    ):
        loss = F.cross_entropy(logits, target)
        assert loss.device == "cuda:0"
        np.testing.assert_allclose(loss.item(), F.cross_entropy(logits.to("cpu"), [2, 0, 1, 1]).item(), rtol=1e-5)
        np.testing.assert_array_equal(F.embedding(target, table).numpy(), table.numpy()[[2, 0, 1, 1]])
        np.testing.assert_array_equal(table[target].numpy(), table.numpy()[[2, 0, 1, 1]])
    with pytest.raises(IndexError, match="embedding: indices from 5 to 5 do not fit 0 to 4"):
        F.embedding(minigen.tensor([5], device="cuda"), table)


# ---- optimisers ----------------------------------------------------------------------------------------

OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "SGD with momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.1, max_norm=0.5),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
}


def network_of(device):
    return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1)).to(device)


def train(network, optimizer, steps, *also):
    device = next(network.parameters()).device
    for _ in range(steps):
        loss = (network(minigen.randn(5, 3, device=device)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for part in also:
            part.update()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_and_an_average_of_the_weights(name):
    def build(device):
        network = network_of(device)
        optimizer, ema = OPTIMISERS[name](network.parameters()), optim.EMA(network, 0.9)
        memory = [p.data.data.ptr if device == "cuda" else 0 for p in network.parameters()]
        train(network, optimizer, 3, ema)
        if device == "cuda" and "Adam" in name:
            assert memory == [p.data.data.ptr for p in network.parameters()], "not in place"
        own = network.state_dict()
        with ema.applied() as averaged:
            assert {p.device for p in averaged.parameters()} == {str(network[0].weight.device)}
            average = averaged.state_dict()
        assert_same(own, network.state_dict(), 0)
        norm = optim.clip_grad_norm_(network.parameters(), 1e-3)
        return [own, average, norm, [p.grad for p in network.parameters()], optimizer.state_dict(), ema.state_dict()]

    assert_same(*on_both(build), tolerance=1e-4)


def test_adam_with_an_average_in_the_same_pass():
    def build(device):
        network = network_of(device)
        ema = optim.EMA(network, 0.9)
        train(network, optim.Adam(network.parameters(), 0.1, ema=ema), 3)
        return [network.state_dict(), ema.state_dict()]

    assert_same(*on_both(build), tolerance=1e-4)


def test_parameters_stay_where_they_are_once_they_have_an_optimiser():
    network = network_of("cpu")
    optimizer, ema = optim.Adam(network.parameters()), optim.EMA(network)
    network.to("cuda")
    with pytest.raises(
        RuntimeError, match=r"Adam: a tensor \(3, 4\) is on cuda:0, .* make it after module.to\(device\)"
    ):
        train(network, optimizer, 1)
    with pytest.raises(RuntimeError, match=r"EMA: a tensor .* is on cuda:0, but was on cpu when this EMA was made"):
        ema.update()


@pytest.mark.parametrize("there", DEVICES)
def test_a_run_is_resumed_on_the_other_device(there, tmp_path):
    """Nothing is lost on the way through a file."""
    here = "cuda" if there == "cpu" else "cpu"

    def parts(device):
        network = network_of(device)
        ema = optim.EMA(network, 0.9)
        return dict(network=network, optimizer=optim.Adam(network.parameters(), 0.1, ema=ema), ema=ema)

    minigen.manual_seed(1)
    run = parts(here)
    train(run["network"], run["optimizer"], 2)
    minigen.save({name: part.state_dict() for name, part in run.items()}, tmp_path / "run")
    resumed, state = parts(there), minigen.load(tmp_path / "run")
    for name, part in resumed.items():
        part.load_state_dict(state[name])
    for name, part in run.items():
        assert_same(part.state_dict(), resumed[name].state_dict(), 0)
    for one in (run, resumed):
        minigen.manual_seed(2)
        train(one["network"], one["optimizer"], 2)
    assert_same(run["network"].state_dict(), resumed["network"].state_dict(), 1e-4)


def test_tensors_and_arrays_of_a_gpu_are_saved(cupy, tmp_path):
    x = minigen.tensor([[1.0, 2.0]], device="cuda")
    minigen.save({"tensor": x, "view": x.T, "array": cupy.arange(3), "number": 2}, tmp_path / "x")
    state = minigen.load(tmp_path / "x")
    assert state["tensor"].tolist() == [[1, 2]] and state["view"].tolist() == [[1], [2]]
    assert state["array"].tolist() == [0, 1, 2] and state["number"] == 2


# ---- random numbers and batches ------------------------------------------------------------------------


def test_random_numbers_are_those_of_the_cpu():
    def build(device):
        return [
            minigen.rand(3, 5, device=device),
            minigen.randn(7, device=device),
            minigen.randn(2, 2, dtype=np.float64, device=device),
            minigen.randn(0, 3, device=device),
            minigen.randint(-3, 9, (4, 4), device=device),
        ]

    cpu, gpu = on_both(build)
    assert_same(cpu, gpu, 1e-6)
    np.testing.assert_array_equal(cpu[0].numpy(), gpu[0].numpy())
    np.testing.assert_array_equal(cpu[-1].numpy(), gpu[-1].numpy())


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_on_the_gpu_are_those_of_the_cpu(shuffle):
    """In order, across epochs, from any position; nothing is overwritten on the way."""
    images, labels = np.arange(7 * 12, dtype=np.uint8).reshape(7, 2, 2, 3), np.arange(7)
    here, there = (DataLoader(images, labels, batch_size=2, shuffle=shuffle, seed=3, device=d) for d in DEVICES)
    held = []
    for position in (None, None, None, None, None, 1, None, 9, 9, 8, None):
        if position is not None:
            there.load_state_dict({"batch": position})
            here.load_state_dict({"batch": position})
        held.append((next(here), next(there)))
        assert here.state_dict() == there.state_dict()
    for cpu, gpu in held:
        for a, b in zip(cpu, gpu):
            assert Tensor(b).device == "cuda:0" and a.dtype == b.dtype
            np.testing.assert_array_equal(a, b.get())
    x = to_float(held[0][1][0])
    np.testing.assert_array_equal(x.get(), to_float(held[0][0][0]))
    np.testing.assert_array_equal(to_uint8(x).get(), held[0][0][0])
    assert next(DataLoader(labels, batch_size=3, device="cuda")).shape == (3,)


def test_pinned_memory_is_overwritten_only_after_it_was_copied(cupy, monkeypatch):
    log = []

    class Event(cupy.cuda.Event):
        def synchronize(self):
            log.append("waited")
            super().synchronize()

    take = np.take
    monkeypatch.setattr(cupy.cuda, "Event", Event)
    monkeypatch.setattr(np, "take", lambda *args, **kwargs: log.append("overwritten") or take(*args, **kwargs))
    batches = DataLoader(np.arange(6), np.arange(6), batch_size=2, device="cuda")
    for _ in range(3):
        next(batches)
    assert log == ["waited", "overwritten", "overwritten"] * 4


# ---- diffusion -----------------------------------------------------------------------------------------


def unet(device):
    network = UNet(1, channels=8, multipliers=(1, 2), blocks=1, attention=(False, True), heads=2, num_groups=2)
    for p in network.parameters():
        p.assign_(0.3 * minigen.randn(*p.shape).data)  # no zeros
    return network.to(device)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_loss_of_a_diffusion_model(prediction):
    def build(device):
        network, diffusion = unet(device), Diffusion(100, prediction=prediction)
        x0 = minigen.randn(2, 4, 4, 1, device=device)
        loss = diffusion.loss(network, x0)
        loss.backward()
        return [loss, network.first.weight.grad, network.last.bias.grad]

    assert_same(*on_both(build), tolerance=1e-4)


@pytest.mark.parametrize("method, eta", [("ddpm", 0.0), ("ddim", 0.5)])
def test_samples(method, eta):
    """On the device of the network's parameters; of a function, where it is told."""

    def build(device):
        network = unet(device)
        images = Diffusion(100).sample(network, (2, 4, 4, 1), seed=4, steps=2, method=method, eta=eta)
        same = Diffusion(100).sample(lambda x, t: network(x, t), (2, 4, 4, 1), 4, 2, method, eta, device=device)
        assert same.device == images.device and np.array_equal(same.numpy(), images.numpy())
        return images

    assert_same(*on_both(build), tolerance=1e-4)


def test_timesteps_may_be_anywhere():
    network, diffusion = unet("cuda"), Diffusion(100)
    x = minigen.randn(2, 4, 4, 1, device="cuda")
    given = [np.array([3, 70]), minigen.tensor([3, 70]), minigen.tensor([3, 70], device="cuda")]
    outputs = [network(x, t).numpy() for t in given]
    noisy = [diffusion.add_noise(x, t, minigen.random.Generator(1))[0].numpy() for t in given]
    for i in (1, 2):
        np.testing.assert_allclose(outputs[i], outputs[0], atol=1e-5)
        np.testing.assert_array_equal(noisy[i], noisy[0])


# ---- the specification in the place of the kernels -----------------------------------------------------


def test_the_specification_runs_in_the_place_of_the_kernels(monkeypatch):
    from kernels.cuda import through_reference

    assert all(hasattr(through_reference, name) for name in KERNELS)

    def build(device):
        network = network_of(device)
        train(network, optim.Adam(network.parameters(), 0.1), 2)
        return network.state_dict()

    fast, slow = [], []
    for results, choice in ((fast, ""), (slow, "reference")):
        monkeypatch.setenv("MINIGEN_KERNELS", choice)
        minigen.manual_seed(5)
        results.append(build("cuda"))
    assert_same(fast, slow, 1e-4)
