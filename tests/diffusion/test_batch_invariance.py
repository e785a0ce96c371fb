"""Whole networks: an image comes out the same, to the bit, alone or in any batch and at any place in it.

`tests/kernels/test_batch_invariance.py` checks the kernels one by one. Here also what stands between them: operations
that have NumPy's way and a kernel must not choose by the size of the batch.
"""

import numpy as np
import pytest

import minigen
from minigen import nn, ops
from minigen.diffusion import UNet

PARTS = [(0, 1), (5, 6), (3, 5), (8, 15), (2, 35)]  # first and last sample


def assert_parts_equal_the_whole(network, *inputs):
    with minigen.no_grad():
        whole = network(*inputs).data
        for first, last in PARTS:
            part = network(*[x[first:last] for x in inputs]).data
            np.testing.assert_array_equal(part, whole[first:last], err_msg=f"samples {first} to {last}")


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("attention", [(False, True), (True, False)])
@pytest.mark.parametrize("size", [None, (8, 16)])
def test_unet(patch, attention, size):
    minigen.manual_seed(0)
    network = UNet(1, channels=16, multipliers=(1, 3), blocks=1, attention=attention, patch=patch, size=size)
    for p in network.parameters():  # the last layers start at zero: give them something to say
        p.assign_(p.data + 0.05 * minigen.randn(*p.shape).data)
    assert_parts_equal_the_whole(network, minigen.randn(40, 8, 16, 1), np.arange(40) * 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(dtype, bias):
    minigen.manual_seed(1)
    layer = nn.Linear(100, 70, bias=bias).astype(dtype)
    assert_parts_equal_the_whole(layer, minigen.randn(40, 100, dtype=dtype))


FUNCTIONS = dict(
    silu=ops.silu,
    gelu=ops.gelu,
    gelu_tanh=lambda x: ops.gelu(x, approximate="tanh"),
    sigmoid=ops.sigmoid,
    tanh=ops.tanh,
    softplus=ops.softplus,
    exp=ops.exp,
    relu=ops.relu,
    softmax=ops.softmax,
    of_a_slice=lambda x: ops.softmax(ops.silu(x[:, 100:612])),
    sum_of_positions=lambda x: x.reshape(-1, 64, 16).sum(axis=1),
    mean_of_a_slice=lambda x: x.reshape(-1, 64, 16)[:, 1:].mean(axis=1),
    pooled=lambda x: ops.avg_pool2d(x.reshape(-1, 8, 16, 8)[:, :, :6], 2),
    modulated=lambda x: ops.group_norm(x.reshape(-1, 64, 16), 4) * (1 + ops.tanh(x[:, None, :16])),
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_mlp(function):
    """40 x 1024 numbers are a kernel's, 1024 could be NumPy's; a slice of one sample is contiguous, of more not."""
    minigen.manual_seed(2)
    first, second = nn.Linear(30, 1024), nn.Linear(1024, 20)

    def network(x):
        y = FUNCTIONS[function](first(x))
        return second(y) if y.shape[1:] == (1024,) else y

    assert_parts_equal_the_whole(network, minigen.randn(40, 30))
