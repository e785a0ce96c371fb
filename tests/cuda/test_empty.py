"""No samples, in every kind of number that tensor cores and norms take: results without samples, gradients of 0."""

import numpy as np
import pytest

from kernels import cuda
from kernels.precision import float32_matmul_precision


@pytest.fixture(params=["float32", "TF32", "float16"])
def dtype(request):
    with float32_matmul_precision("high" if request.param == "TF32" else "highest"):
        yield np.dtype("float16" if request.param == "float16" else "float32")


def test_convolutions_and_products(cupy, dtype):
    x, weight, bias = (cupy.ones(shape, dtype) for shape in ((0, 5, 5, 4), (3, 3, 4, 6), (6,)))
    y = cuda.conv(x, weight, bias, stride=2, padding=1)
    back = cuda.conv_transpose(y, weight.swapaxes(2, 3), stride=2, padding=1)
    dweight = cuda.conv_weight_grad(x, y, (3, 3), stride=2, padding=1)
    assert y.shape == (0, 3, 3, 6) and back.shape == x.shape and dweight.shape == weight.shape
    assert not dweight.get().any()
    assert cuda.matmul(x.reshape(0, 100), cupy.ones((100, 3), dtype), cupy.ones((3,), dtype)).shape == (0, 3)
    np.testing.assert_array_equal(cuda.matmul(cupy.ones((2, 0), dtype), cupy.ones((0, 3), dtype), bias[:3]).get(), 1)


def test_attention(cupy, dtype):
    q, k = cupy.ones((0, 7, 2, 8), dtype), cupy.ones((0, 9, 2, 8), dtype)
    out, lse = cuda.attention(q, k, k)
    assert out.shape == q.shape and lse.shape == (0, 2, 7)
    assert [d.shape for d in cuda.attention_backward(out, out, lse, q, k, k)] == [q.shape, k.shape, k.shape]


def test_norms_and_softmax(cupy, dtype):
    weight = cupy.ones((8,), dtype)
    for x in (cupy.ones((0, 5, 8), dtype), cupy.ones((0, 8), dtype)):
        y, mean, rstd = cuda.group_norm(x, 2, weight, weight, silu=True)
        dx, dweight, dbias = cuda.group_norm_backward(y, x, weight, weight, mean, rstd, 2, silu=True)
        assert y.shape == dx.shape == x.shape and mean.shape == rstd.shape == (0, 2)
        assert not dweight.get().any() and not dbias.get().any()
        assert cuda.softmax_backward(x, cuda.softmax(x)).shape == x.shape
