"""The stand-in for CuPy: it has nothing that the real one has not, and refuses what the real one refuses."""

import copy
import inspect
import types

import numpy as np
import pytest

from .emulation import fake_cuda, fake_cupy, real_cupy, snapshot

OF_THE_STAND_IN_ALONE = {"install", "schedule_seed", "stats"}
SCOPES = {
    "cupy": fake_cupy,
    "ndarray": fake_cupy.ndarray,
    "RawKernel": fake_cupy.RawKernel,
    "RawModule": fake_cupy.RawModule,
    "cuda": fake_cuda,
    "Device": fake_cuda.Device,
    "Stream": fake_cuda.Stream,
    "Event": fake_cuda.Event,
    "runtime": fake_cuda.runtime,
}
OFFERED = [
    (scope, name)
    for scope, where in SCOPES.items()
    for name, value in vars(where).items()
    if not name.startswith("_")
    and not isinstance(value, (types.ModuleType, types.SimpleNamespace))
    and name not in OF_THE_STAND_IN_ALONE
]


@pytest.fixture
def x():
    return fake_cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


# ---- against the snapshot of the real one ---------------------------------------------------------------------------
@pytest.mark.parametrize(("scope", "name"), OFFERED)
def test_the_real_one_has_it_too(scope, name):
    assert name in real_cupy.API[scope]


def parameters(signature):
    return [(p.name, p.kind) for p in signature.parameters.values() if not p.name.startswith("_")]


def called(offered):
    value = getattr(SCOPES[offered[0]], offered[1])
    return callable(value) and not (isinstance(value, type) and issubclass(value, Exception))


@pytest.mark.parametrize(("scope", "name"), [o for o in OFFERED if called(o)])
def test_with_the_same_parameters(scope, name):
    real = parameters(real_cupy.signature(scope, name))
    ours = parameters(inspect.signature(getattr(SCOPES[scope], name)))
    if [p[0] for p in real] != ["args", "kwargs"]:  # it does not say
        assert [p for p in ours if p[0] != "self"] == [p for p in real if p[0] != "self"]


def test_a_change_of_the_real_one_shows():
    real = copy.deepcopy(real_cupy.API)
    assert list(snapshot.differences(real, real_cupy.API)) == []
    del real["cupy"]["add"]
    real["ndarray"]["sum"] = "(self, axis=None)"
    real["cuda"]["novelty"] = "()"
    assert [line.partition(":")[0] for line in snapshot.differences(real, real_cupy.API)] == [
        *("cuda.novelty", "cupy.add", "ndarray.sum")
    ]


def test_signatures_are_read():
    assert str(real_cupy.signature("cupy", "add")) == "(x1, x2, /, out=None, *, casting='same_kind', dtype=None)"
    assert parameters(real_cupy.signature("ndarray", "swapaxes"))[1:] == [
        ("axis1", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ("axis2", inspect.Parameter.POSITIONAL_OR_KEYWORD),
    ]
    unread = {n for n, text in real_cupy.API["cupy"].items() if "(" in text and not real_cupy.signature("cupy", n)}
    assert unread == {"divmod", "frexp", "modf"}  # their optional outputs are not in terms of Python


# ---- names and keywords ---------------------------------------------------------------------------------------------
def test_names_that_only_numpy_has():
    numpys = {n for n in dir(np) if not n.startswith("_")} - {*real_cupy.API["cupy"], *vars(fake_cupy)}
    assert "busday_count" in numpys
    for name in numpys:
        with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
            getattr(fake_cupy, name)


def test_methods_that_only_numpy_has(x):
    numpys = [n for n in dir(np.ndarray) if not n.startswith("_") and n not in real_cupy.API["ndarray"]]
    assert "ctypes" in numpys
    for name in numpys:
        with pytest.raises(AttributeError, match=f"'cupy.ndarray' object has no attribute '{name}'"):
            getattr(x, name)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(where=True),
        lambda x: x.max(initial=0),
        lambda x: fake_cupy.sum(x, initial=0),
        lambda x: fake_cupy.add(x, x, where=True),
        lambda x: fake_cupy.zeros((2,), np.float32, "C", None),
        lambda x: fake_cupy.concatenate([x], dtype=np.float32, order="C"),
        lambda x: np.sum(x, initial=0),
    ],
)
def test_keywords_that_only_numpy_has(x, call):
    with pytest.raises(TypeError, match=r"cupy: .* (unexpected keyword|too many positional)"):
        call(x)


# ---- what must not happen unasked -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "convert", [np.asarray, np.array, np.float32, memoryview, lambda x: np.zeros((2, 3)).__setitem__(..., x)]
)
def test_no_implicit_conversion_to_numpy(x, convert):
    with pytest.raises(TypeError, match=r"Implicit conversion|bytes-like object"):
        convert(x)


host = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "combine",
    [
        lambda x: x + host,
        lambda x: host + x,
        lambda x: x @ host.T,
        lambda x: x > host,
        lambda x: x == host,
        lambda x: x.__iadd__(host),
        lambda x: np.add(host, x),
        lambda x: fake_cupy.add(x, host),
        lambda x: fake_cupy.sum(host),
        lambda x: fake_cupy.where(x > 0, x, host),
        lambda x: fake_cupy.concatenate([x, host]),
        lambda x: fake_cupy.ascontiguousarray(host),
        lambda x: x[np.array([0, 1])],
        lambda x: x.__setitem__(0, host[0]),
        lambda x: x.__setitem__(np.array([0]), 1),
        lambda x: fake_cupy.add([1.0, 2.0, 3.0], x),
    ],
)
def test_no_host_arrays_among_the_operands(x, combine):
    with pytest.raises(TypeError, match="Unsupported type"):
        combine(x)


@pytest.mark.parametrize("value", [[object()], ["text"], [None], np.array(["2026"], "datetime64[Y]"), [[1], [2, 3]]])
def test_no_dtypes_that_a_gpu_does_not_know(value):
    with pytest.raises(ValueError, match=r"Unsupported dtype|inhomogeneous"):
        fake_cupy.array(value)


def test_what_moves_or_waits_is_counted(x):
    before = dict(fake_cupy.stats)
    fake_cupy.asarray(host)
    assert fake_cupy.stats["host_to_device"] - before["host_to_device"] == host.nbytes
    x.get()
    fake_cupy.asnumpy(x)
    assert fake_cupy.stats["device_to_host"] - before["device_to_host"] == 2 * host.nbytes
    before = dict(fake_cupy.stats)
    y = (x * 2).sum()
    assert fake_cupy.stats == before
    assert float(y) == y.item() == int(y) == 30 and bool(y) and y.tolist() == 30
    assert fake_cupy.stats["syncs"] - before["syncs"] == 5


# ---- what it gives --------------------------------------------------------------------------------------------------
def test_everything_stays_on_the_device(x):
    for y in (x.sum(), x[0, 0], x[0], x.T, x + 1, 1 - x, -x, np.exp(x), np.concatenate([x, x]), *x.nonzero(), *x):
        assert isinstance(y, fake_cupy.ndarray)
    for array in (x, fake_cupy.zeros(()), x[:, ::2]):
        assert array.__cuda_array_interface__["shape"] == array.shape
    assert fake_cupy.get_array_module(x) is fake_cupy and fake_cupy.get_array_module(host) is np
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_parts_are_views_and_in_place_operations_write_to_them(x):
    x[0, 1] += 5
    part = x[0, 1]
    part += 1
    x[1:] *= 2
    np.testing.assert_array_equal(x.get(), [[0, 7, 2], [6, 8, 10]])


def test_new_memory_holds_nothing_of_use():
    for array in (fake_cupy.empty((3,), np.float32), fake_cupy.empty_like(fake_cupy.zeros((3,), np.float16))):
        assert np.isnan(array.get()).all()
    assert (fake_cupy.empty((3,), np.int32).get() == np.iinfo(np.int32).max).all()


# ---- kernels, with no launcher between ------------------------------------------------------------------------------
CODE = """
extern "C" __global__ void scaled(const float* x, float* y, float factor, int n) {
    const int i = threadIdx.x;
    if (i < n) y[i] = factor * x[i];
}
"""


@pytest.fixture(scope="module")
def scaled():
    return fake_cupy.RawKernel(CODE, "scaled")


def test_a_raw_kernel_runs(scaled, x):
    y = fake_cupy.empty((6,), np.float32)
    scaled((1,), (32,), (x, y, np.float32(3), np.int32(6)))
    np.testing.assert_array_equal(y.get(), 3 * np.arange(6))


@pytest.mark.parametrize("factor", [2.0, 2, np.float64(2)])
def test_a_python_number_where_the_kernel_has_a_float(scaled, x, factor):
    """The real one would hand over a double's 8 bytes, of which the kernel reads the first 4."""
    with pytest.raises(TypeError, match="argument 2 must be a NumPy scalar for f4, got"):
        scaled((1,), (32,), (x, fake_cupy.empty_like(x), factor, np.int32(6)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.astype(np.float64), TypeError, "argument 0 must be an array for cf4., got one of float64"),
        (lambda x: x.T, ValueError, "argument 0 is not contiguous"),
        (lambda x: x[:, ::2], ValueError, "argument 0 is not contiguous"),
        (lambda x: x.get(), TypeError, "argument 0 is a host array"),
        (lambda x: None, TypeError, "argument 0 must be an array"),
    ],
)
def test_arrays_that_a_raw_kernel_would_misread(scaled, x, change, error, message):
    with pytest.raises(error, match=message):
        scaled((1,), (32,), (change(x), fake_cupy.empty((6,), np.float32), np.float32(2), np.int32(6)))


def test_raw_kernels_and_modules_refuse_what_the_real_ones_refuse(scaled, x):
    with pytest.raises(TypeError, match="grid and block must be tuples"):
        scaled(1, (32,), ())
    with pytest.raises(RuntimeError, match="more shared memory"):
        scaled((1,), (32,), (x, x, np.float32(2), np.int32(6)), shared_mem=49 * 1024)
    with pytest.raises(TypeError, match="tuple for options"):
        fake_cupy.RawModule(code=CODE, options=["-DX"])
    with pytest.raises(TypeError, match="Exactly one of"):
        fake_cupy.RawModule()
    with pytest.raises(RuntimeError, match="CUDA_ERROR_NOT_FOUND"):
        fake_cupy.RawModule(code=CODE).get_function("unscaled")
    with pytest.raises(RuntimeError, match="expected"):
        fake_cupy.RawModule(code="__global__ void f(").compile()
