"""Arrays and tensors: devices, making tensors, meeting NumPy, and turning back into Python values."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import minigen as mg
from kernels.precision import tf32_allowed
from minigen import backend
from minigen.data import DataLoader


class GpuDevice(nullcontext):
    def __init__(self, number):
        super().__init__()
        self.id = number


class GpuArray:
    """What minigen looks at in a CuPy array, on a machine that has none."""

    __cuda_array_interface__: dict = {}  # noqa: RUF012

    def __init__(self, array, device=0):
        self.array, self.device = array, GpuDevice(device)
        self.shape, self.ndim, self.size, self.dtype = array.shape, array.ndim, array.size, array.dtype

    def get(self):
        return self.array.copy()

    def astype(self, dtype, copy=True):
        return GpuArray(self.array.astype(dtype), self.device.id)


# ---- devices -------------------------------------------------------------------------------------------


def test_the_array_says_where_it_is():
    ones = np.ones(2, np.float32)
    assert backend.device_of(ones) == mg.tensor(1.0).device == "cpu"
    assert backend.array_module(ones) is backend.array_module(ones[0]) is np
    assert mg.Tensor(GpuArray(ones, 1)).device == "cuda:1"


def test_moving_to_where_it_is_gives_the_same():
    x, gpu = mg.tensor([1.0, 2.0], requires_grad=True), GpuArray(np.ones(2), 1)
    assert x.to("cpu") is x
    assert backend.to_device(gpu, "cuda") is gpu is backend.to_device(gpu, "cuda:1")


def test_moving_to_the_cpu_copies():
    x = mg.Tensor(GpuArray(np.ones(2)))
    moved = x.to("cpu")
    assert moved.device == "cpu" and isinstance(moved.data, np.ndarray)
    np.testing.assert_array_equal(moved.numpy(), x.numpy())


GPU_CALLS = {
    "a tensor": lambda device: mg.tensor([1.0]).to(device),
    "a new tensor": lambda device: mg.tensor(1.0, device=device),
    "a module": lambda device: mg.nn.Linear(1, 1).to(device),
    "random numbers": lambda device: mg.randn(2, device=device),
    "batches": lambda device: DataLoader(np.ones(3), batch_size=1, device=device),
}


class CUDARuntimeError(RuntimeError):
    pass


def cupy_with(gpus):
    """As much of CuPy as is asked how many GPUs there are."""

    def count():
        if gpus is None:
            raise CUDARuntimeError("cudaErrorInsufficientDriver")
        return gpus

    runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


@pytest.mark.parametrize("call", GPU_CALLS)
def test_without_cupy_one_sentence_says_what_to_install(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"^device 'cuda': CuPy is not installed .* pip install .*cuda12.*cuda13"):
        GPU_CALLS[call]("cuda")


def test_tests_on_a_gpu_that_is_not_there_end_with_that_sentence(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')")
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "--device", "cuda", __file__],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    assert answer.returncode == pytest.ExitCode.USAGE_ERROR
    assert answer.stderr.startswith("ERROR: --device cuda: device 'cuda': CuPy is not installed")
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("call", GPU_CALLS)
def test_without_a_gpu_one_sentence_says_so(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(None))
    with pytest.raises(RuntimeError, match=r"^device 'cuda': there is no GPU, or no driver for it .cudaErrorInsuff"):
        GPU_CALLS[call]("cuda")
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(0))
    with pytest.raises(RuntimeError, match=r"^device 'cuda': there is no GPU$"):
        GPU_CALLS[call]("cuda")


@pytest.mark.parametrize(
    "error", [ImportError("libcudart.so.12: no such file"), ModuleNotFoundError("No module named 'x'", name="x")]
)
def test_a_cupy_that_lacks_something_is_not_said_to_be_missing(monkeypatch, error):
    def import_module(name):
        raise error

    monkeypatch.setattr(backend.importlib, "import_module", import_module)
    with pytest.raises(RuntimeError, match=rf"^device 'cuda': CuPy is installed, but cannot be imported \({error}\)$"):
        mg.tensor(1.0).to("cuda")


@pytest.mark.parametrize("device", ["cuda:2", "cuda:x", "cuda:-1"])
def test_a_gpu_that_is_not_there(monkeypatch, device):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(2))
    with pytest.raises(RuntimeError, match=f"^device '{device}': there are 2 GPUs, 'cuda:0' to 'cuda:1'$"):
        mg.tensor(1.0).to(device)
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(1))
    with pytest.raises(RuntimeError, match=f"^device '{device}': there is one GPU, 'cuda:0'$"):
        mg.tensor(1.0).to(device)


def test_the_environment_chooses_the_kernels(monkeypatch):
    ones = np.ones(2)
    monkeypatch.setenv("MINIGEN_KERNELS", "reference")
    assert backend.kernels_for(ones).__name__ == "kernels.reference"
    assert backend.kernels_for(GpuArray(ones)).__name__ == backend.kernels_on("cuda:1").__name__
    assert backend.kernels_on("cuda").__name__ == "kernels.cuda.through_reference"
    monkeypatch.delenv("MINIGEN_KERNELS")
    assert backend.kernels_for(ones).__name__ == backend.kernels_on("cpu").__name__ == "kernels.cpu"
    assert backend.kernels_for(GpuArray(ones)).__name__ == "kernels.cuda"


def test_the_precision_holds_in_every_thread():
    def seen():
        with ThreadPoolExecutor(1) as pool:
            return tf32_allowed(), pool.submit(tf32_allowed).result()

    assert seen() == (False, False)
    with mg.float32_matmul_precision("high"):
        assert seen() == (True, True)
        with mg.float32_matmul_precision("highest"):
            assert seen() == (False, False)
        assert seen() == (True, True)
    assert seen() == (False, False)


def test_importing_needs_neither_a_gpu_library_nor_the_compiler():
    code = "import sys, minigen; print([m for m in ('cupy', 'numba', 'kernels.cpu') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# ---- making tensors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1.5, np.float32, ()),
        (2, np.int64, ()),
        (True, np.bool_, ()),
        ([[1, 2.5], [3, 4]], np.float32, (2, 2)),
        ([1, 2], np.int64, (2,)),
        ([True, False], np.bool_, (2,)),
        ([], np.float32, (0,)),
        (np.float64(1.5), np.float64, ()),
        (np.zeros((0, 3)), np.float64, (0, 3)),
        (np.ones(2, np.uint8), np.uint8, (2,)),
        (np.ones(2, np.float16), np.float16, (2,)),
        ([mg.tensor(1.0), mg.tensor(2.0)], np.float32, (2,)),
        (mg.tensor(np.ones((1, 2))), np.float64, (1, 2)),
    ],
)
def test_dtypes_of_new_tensors(data, dtype, shape):
    x = mg.tensor(data)
    assert (x.dtype, x.shape, x.ndim, x.requires_grad, x.is_leaf) == (dtype, shape, len(shape), False, True)
    assert isinstance(x.data, np.ndarray)
    assert mg.tensor(data, dtype=np.float64, requires_grad=True).dtype == np.float64


@given(hnp.arrays(hnp.floating_dtypes(endianness="="), hnp.array_shapes(min_dims=0, min_side=0)))
def test_a_new_tensor_is_a_copy(array):
    x = mg.tensor(array)
    np.testing.assert_array_equal(x.numpy(), array)
    assert not np.shares_memory(x.data, array)


def test_detached_tensors_share_memory_and_stop_gradients():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * 2).detach()
    assert y.is_leaf and not y.requires_grad
    assert np.shares_memory(x.detach().data, x.data)
    (x * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])


def test_only_floats_are_differentiated():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    for y in (x.astype(np.int64), x > 1, x == 1, mg.argmax(x)):
        assert not y.requires_grad
    half = x.astype(np.float64) * 0.5
    half.sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [0.5, 0.5])


# ---- with NumPy ----------------------------------------------------------------------------------------


def test_arrays_and_tensors_mix_in_either_order():
    x, a = mg.tensor([[1.0, 2.0]], requires_grad=True), np.array([[3.0, 4.0]], np.float32)
    for y, expected in [(a * x, a * x.data), (a - x, a - x.data), (a / x, a / x.data), (a @ x.T, a @ x.data.T)]:
        assert isinstance(y, mg.Tensor) and y.requires_grad
        np.testing.assert_array_equal(y.numpy(), expected)
    with pytest.raises(TypeError):
        a += x  # would lose the gradient
    assert (a > x).dtype == bool and isinstance(a == x, mg.Tensor)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2), np.float32(2), np.int64(2), np.float16(2)])
def test_a_scalar_never_changes_the_dtype(scalar, dtype):
    x = mg.tensor([4.0], dtype=dtype)
    values = [scalar + x, x + scalar, scalar - x, x - scalar, scalar * x, x / scalar, scalar / x, x**scalar, scalar**x]
    assert [v.dtype for v in values] == [dtype] * 9
    assert [v.item() for v in values] == [6, 6, -2, 2, 8, 2, 0.5, 16, 16]


def test_integers_meet_floats_as_that_float():
    x, n = mg.tensor([0.5, 1.5]), mg.tensor([1, 2])
    assert (x * n).dtype == (n + x).dtype == np.float32
    assert (n * n).dtype == np.int64 and (n / n).dtype == np.float32
    assert (mg.tensor([True, False]) * x).dtype == np.float32
    assert (n * 2.0).dtype == np.float32


def test_as_an_array():
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    assert np.shares_memory(np.asarray(x), x.data) and np.shares_memory(x.numpy(), x.data)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    assert np.concatenate([x, x]).shape == (2, 2)
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(x)  # would lose the gradient: the mend is x.exp()


# ---- as Python values ----------------------------------------------------------------------------------


def test_one_element_as_a_number():
    x = mg.tensor([[2.5]])
    assert (float(x), int(x), x.item(), bool(x)) == (2.5, 2, 2.5, True)
    assert type(mg.tensor(3).item()) is int and type(mg.tensor(True).item()) is bool
    assert not mg.tensor(0.0)
    assert abs(mg.tensor(-2.0)).item() == 2


def test_length_iteration_and_membership():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(x) == 2
    rows = list(x)
    np.testing.assert_array_equal([r.numpy() for r in rows], x.numpy())
    (rows[1] * 5).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0], [5, 5]])


def test_comparison_is_by_element_and_hashing_by_identity():
    x, y = mg.tensor([1.0, 2.0]), mg.tensor([1.0, 3.0])
    expected = {"==": (1, 0), "!=": (0, 1), "<": (0, 1), "<=": (1, 1), ">": (0, 0), ">=": (1, 0)}
    found = {"==": x == y, "!=": x != y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}
    for sign, values in expected.items():
        assert found[sign].dtype == bool
        np.testing.assert_array_equal(found[sign].numpy(), values, err_msg=sign)
    assert len({x, y, x}) == 2


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (mg.tensor(1.5), "tensor(1.5, dtype=float32)"),
        (mg.tensor([1, 2]), "tensor([1, 2], dtype=int64)"),
        (mg.tensor([1.0], requires_grad=True), "tensor([1.], dtype=float32, requires_grad=True)"),
        (mg.tensor([1.0], requires_grad=True) * 2, "tensor([2.], dtype=float32, op=multiply)"),
        (mg.tensor([]), "tensor([], dtype=float32)"),
    ],
)
def test_repr(x, text):
    assert repr(x) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(mg.tensor(np.zeros((1000, 1000))))) < 500


def test_the_number_of_threads_is_set_and_checked():
    most = mg.get_num_threads()
    try:
        mg.set_num_threads(1)
        assert mg.get_num_threads() == 1
        for wrong, error in ((0, ValueError), (10_000, ValueError), (1.5, TypeError), (True, TypeError)):
            with pytest.raises(error, match="set_num_threads: needs"):
                mg.set_num_threads(wrong)
        assert mg.get_num_threads() == 1
    finally:
        mg.set_num_threads(most)


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_is_kept_until_released():
    x = mg.randn(8, 64, 64, 16)
    for _ in range(2):
        mg.nn.functional.conv2d(x, mg.randn(3, 3, 16, 16), padding=1)
    arrays = [np.ones(2**21, np.float32) for _ in range(16)]  # 8 MB each
    full = resident()
    del arrays
    kept = resident()
    mg.release_memory()
    assert kept > full - 2**26  # more than half of the 128 MB
    assert resident() < full - 2**26
