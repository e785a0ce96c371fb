"""Everything runs and stays on the device of its arrays, whichever device is the current one.

On the last GPU, while the first is the current one: the stand-in has two, and refuses arrays of another than that.
"""

import numpy as np
import pytest

import minigen
from minigen import Tensor, nn, optim
from minigen.data import DataLoader, to_float, to_uint8
from minigen.diffusion import Diffusion

from .test_engine import OPTIMISERS, network_of, train, unet


@pytest.fixture
def last(cupy):
    return f"cuda:{cupy.cuda.runtime.getDeviceCount() - 1}"


def test_the_stand_in_refuses_another_device(request, cupy, last):
    x = minigen.tensor([1.0, 2.0], device=last)
    if request.config.getoption("--device") == "emulated":
        for call in (lambda: x.data + 1, lambda: np.exp(x.data), lambda: x.data.sum(), lambda: x.data.copy()):
            with pytest.raises(ValueError, match="on device 1, the current device is 0"):
                call()
        with pytest.raises(RuntimeError, match="the event and the stream are of different devices"):
            with cupy.cuda.Device(1):
                stream = cupy.cuda.Stream()
            stream.record(cupy.cuda.Event())
    assert cupy.cuda.Device().id == 0


def test_operations_and_gradients(last):
    a, b = (minigen.randn(3, 4, device=last).requires_grad_() for _ in range(2))
    for _ in range(2):  # the second time, gradients are added in place
        y = (a * 2 + b.exp() @ a.T @ b + a[0] + a[[1, 0, 2]] + a[0] + b[:, 1:2]).sum()
        (y + minigen.broadcast_to(a, 2, 3, 4).max() + b.prod() + b.mean(0).sum()).backward()
    (gradient,) = minigen.grad((a**3).sum(), [a], create_graph=True)
    (gradient * gradient).sum().backward()
    (((a * 3).to("cpu") ** 2).to(last) * b).sum().backward()
    with minigen.detect_anomaly():
        (a * b).sum().backward()
    seen = [y, a.grad, b.grad, gradient, a > 0, a.argmax(), minigen.sign(a), a.change_(), a.pad(1, constant_values=2.0)]
    seen += [minigen.randint(0, 9, (5,), device=last), minigen.tensor(a, dtype=np.float64), a.astype(np.float64)]
    seen += [minigen.tensor(np.ones(2), dtype=np.float32, device=last), minigen.tensor([1, 2], device=last).prod()]
    assert {t.device if isinstance(t, Tensor) else Tensor(t).device for t in seen} == {last}


def test_layers(last):
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm(4), nn.GELU(), nn.Dropout(0.5)).to(last)
    for start in (nn.init.zeros_, nn.init.normal_, nn.init.uniform_):
        start(network[0].weight)
    network(minigen.randn(2, 5, 5, 2, device=last)).sum().backward()
    table = nn.Embedding(5, 2).to(last)
    table([[1, 2]]).sum().backward()
    network.astype(np.float64)
    tensors = [*network.parameters(), *(b for _, b in network.named_buffers()), *table.parameters()]
    assert {t.device for t in tensors} == {p.grad.device for p in tensors if p.grad is not None} == {last}


@pytest.mark.parametrize("kernels", ["", "reference"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(last, name, kernels, monkeypatch):
    monkeypatch.setenv("MINIGEN_KERNELS", kernels)
    network = network_of(last)
    network.register_buffer("count", np.zeros(1, np.int64))
    network.to(last)
    ema = optim.EMA(network, 0.9)
    train(network, OPTIMISERS[name](network.parameters()), 2, ema)
    optim.clip_grad_norm_(network.parameters(), 1e-3)
    with ema.applied():
        pass
    assert {Tensor(a).device for a in ema.average.values()} == {p.device for p in network.parameters()} == {last}


def test_a_diffusion_model_on_batches(last):
    images = np.arange(4 * 16, dtype=np.uint8).reshape(4, 4, 4, 1)
    batches, network, diffusion = DataLoader(images, batch_size=2, device=last), unet(last), Diffusion(100)
    for _ in range(2):
        x0 = to_float(next(batches))
        diffusion.loss(network, Tensor(x0)).backward()
    assert Tensor(to_uint8(x0)).device == last
    assert diffusion.sample(network, (2, 4, 4, 1), 4, 2).device == last
