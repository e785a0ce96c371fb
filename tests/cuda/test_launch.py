"""The launcher: what it reads in a kernel's source, what it refuses, and what it hands over."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.cuda import launch
from kernels.cuda.launch import Parameter, Source, ctype, signatures, source_text

from .emulation.compiler import EmulatorError

SAMPLES = Path(__file__).parent / "samples.cu"
SHAPE = np.dtype([("rows", np.int32), ("scale", np.float32), ("size", np.int64)])


@pytest.fixture(scope="module")
def source():
    return Source(SAMPLES, {"Shape": SHAPE})


def scaled(source, x, y, factor=2.0, n=None, negative=False, over=None, **options):
    """y = factor x, by a kernel on blocks of 32 threads."""
    n = y.size if n is None else n
    options = {"tile": (32,), "threads": 32} | options
    source.launch("scaled<float>", (x, y, factor, n, negative), (n,) if over is None else over, **options)


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(50, dtype=np.float32))


@pytest.fixture
def y(cupy):
    return cupy.zeros((50,), np.float32)


# ---- reading signatures ---------------------------------------------------------------------------------------------
def test_signatures():
    found = signatures("""
        // __global__ void commented_out(int n) {
        __global__ void declared_only(int n);
        __device__ float helper(float x) { return x; }
        __global__ void plain(const float* __restrict__ x, float4 *y, unsigned long long n) { }
        template <class T, int N, bool FLAG>
        __global__ void __launch_bounds__(256)
        several(const T* __restrict__ x,   // an array, (n, N)
                T* y /* another, of two */, const Shape shape,
                bool flag) {
            if (n) { }
        }
    """)
    assert list(found) == ["plain", "several"]
    assert found["plain"].templates == () and found["several"].templates == ("T", "N", "FLAG")
    assert found["plain"].parameters == (
        Parameter("x", "float", pointer=True, const=True),
        Parameter("y", "float4", pointer=True, const=False),
        Parameter("n", "unsigned long long", pointer=False, const=False),
    )
    assert found["several"].parameters == (
        Parameter("x", "T", pointer=True, const=True),
        Parameter("y", "T", pointer=True, const=False),
        Parameter("shape", "Shape", pointer=False, const=True),
        Parameter("flag", "bool", pointer=False, const=False),
    )


def test_the_templates_arguments_are_put_in(source):
    of = {p.name: p.ctype for p in source.signature("scaled<double>").parameters}
    assert of == {"x": "double", "y": "double", "factor": "double", "n": "int", "negative": "bool"}


def test_every_kernel_of_the_library_is_read():
    """No __global__ function is overlooked, and the launcher knows all types of scalars and arrays."""
    for path in launch.FOLDER.glob("*.cu"):
        text = source_text(path)
        found = signatures(text)
        assert len(found) == text.count("__global__"), path.name
        for name, signature in found.items():
            for p in signature.parameters:
                kind = re.sub(r"(?<=[a-z])[234]$", "", p.ctype)
                by_value = not p.pointer and f"struct {p.ctype} {{" in text
                assert kind in launch.SCALARS or kind in signature.templates or by_value, (path.name, name, p)


def test_an_unknown_kernel_is_named(source):
    with pytest.raises(ValueError, match=r"samples.cu has no kernel 'sclaed'; it has .*scaled"):
        source.signature("sclaed<float>")


def test_names_of_types():
    assert [ctype(np.dtype(t)) for t in ("f2", "f4", "f8", "i4", "u1", "?")] == [
        *("__half", "float", "double", "int", "unsigned char", "bool")
    ]


# ---- included files -------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in the place of kernels/cuda."""
    monkeypatch.setattr(launch, "FOLDER", tmp_path)
    return tmp_path


def test_included_files_are_put_in_once_and_lines_keep_their_numbers(folder):
    (folder / "deep.cuh").write_text("#pragma once\nint deep;\n")
    (folder / "middle.cuh").write_text('// middle\n#include "deep.cuh"\nint middle;\n')
    (folder / "top.cu").write_text('#include "middle.cuh"\n#include "deep.cuh"\n#include <cuda_fp16.h>\nint top;\n')
    place, lines = ("", 0), {}
    for line in source_text(folder / "top.cu").splitlines():
        directive = re.fullmatch(r'#line (\d+) "(.*)"', line)
        place = (directive[2], int(directive[1])) if directive else (place[0], place[1] + 1)
        if not directive:
            lines.setdefault(line, []).append((place[0], place[1] - 1))
    assert lines["int deep;"] == [("deep.cuh", 2)]
    assert lines["int middle;"] == [("middle.cuh", 3)]
    assert lines["int top;"] == [("top.cu", 4)]
    assert lines["#include <cuda_fp16.h>"] == [("top.cu", 3)]


def test_an_error_of_the_compiler_names_file_and_line(folder, cupy):
    (folder / "helper.cuh").write_text("template <class T> __device__ T doubled(T x) {\n    return twice * x;\n}\n")
    (folder / "wrong.cu").write_text('#include "helper.cuh"\n\n__global__ void f(float* x) {\n    x[0] = y;\n}\n')
    with pytest.raises(Exception, match=r"not declared|undefined") as caught:
        Source(folder / "wrong.cu").launch("f", (cupy.zeros((1,), np.float32),), (1,), (1,), 1)
    assert re.search(r"helper\.cuh[:(]2", str(caught.value)) and re.search(r"wrong\.cu[:(]4", str(caught.value))


# ---- what a kernel gets ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("factor", [3, 3.0, np.float64(3), np.float32(3), np.int8(3)])
def test_scalars_are_cast_to_the_kernels_type(source, x, y, factor):
    scaled(source, x, y, factor, n=np.int64(50), negative=np.True_)
    np.testing.assert_array_equal(y.get(), -3 * np.arange(50))


def test_only_the_tiles_that_cover_the_size_run(source, x, y):
    scaled(source, x, y, n=33, over=(32,))
    np.testing.assert_array_equal(y.get(), np.where(np.arange(50) < 32, 2 * np.arange(50), 0))


def test_infinities_and_nan_are_numbers(source, x, y):
    for factor in (np.inf, -np.inf, np.nan):
        scaled(source, x, y, factor)
        assert not np.isfinite(y.get()[1:]).any()


def test_structs_and_wide_integers(source, cupy):
    y = cupy.zeros((5,), np.float64)
    shape = np.zeros((), SHAPE)
    shape["rows"], shape["scale"], shape["size"] = -3, 0.5, 2**40
    for record in (shape, shape[()], shape.reshape(1)):
        source.launch("described", (record, 255, 2**63, y), (1,), (1,), 1)
        np.testing.assert_array_equal(y.get(), [-3, 0.5, 2**40, 255, 2**63])


def test_none_is_a_null_pointer(source, cupy, x):
    y = cupy.zeros((4,), np.int32)
    source.launch("present", (x, y), (1,), (1,), 4)
    assert y.get().all()
    source.launch("present", (None, y), (1,), (1,), 4)
    assert not y.get().any()


def test_nothing_is_launched_for_an_empty_size(source, cupy):
    empty = cupy.zeros((0,), np.float32)
    before = cupy.stats["launches"] if hasattr(cupy, "stats") else None
    scaled(source, empty, empty)
    scaled(source, empty, empty, over=(5, 0), tile=(1, 1))
    assert before is None or cupy.stats["launches"] == before


# ---- what it refuses ------------------------------------------------------------------------------------------------
def test_a_wrong_number_of_arguments(source, x, y):
    with pytest.raises(TypeError, match=r"scaled<float> takes 5 arguments \(x, y, factor, n, negative\), got 2"):
        source.launch("scaled<float>", (x, y), (50,), (32,), 32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": 50.0}, "scaled<float>: n must be a number that fits `int`, got 50.0"),
        ({"n": 2**31}, r"n must be a number that fits `int`, got 2147483648 \(int\)"),
        ({"n": -(2**31) - 1}, "n must be a number that fits `int`"),
        ({"n": np.float32(50)}, "n must be a number that fits `int`"),
        ({"factor": "2"}, r"factor must be a number that fits `float`, got '2' \(str\)"),
        ({"factor": 1e39}, "factor must be a number that fits `float`, got 1e[+]39"),
        ({"factor": 10**400}, "factor must be a number that fits `float`, got 1000"),
        ({"factor": 2j}, "factor must be a number that fits `float`"),
        ({"factor": None}, "factor must be a number that fits `float`, got None"),
        ({"factor": np.ones(3)}, r"factor must be a number that fits `float`, got numpy array \(3,\) of float64"),
        ({"negative": 1}, "negative must be a number that fits `bool`, got 1"),
    ],
)
def test_scalars_that_do_not_fit(source, x, y, changed, message):
    with pytest.raises(TypeError, match=message):
        scaled(source, x, y, over=(50,), **changed)


@pytest.mark.parametrize(("small", "large"), [(256, 0), (-1, 0), (0, -1), (0, 2**64)])
def test_unsigned_integers_that_do_not_fit(source, cupy, small, large):
    y = cupy.zeros((5,), np.float64)
    with pytest.raises(TypeError, match=f"described: {'small' if small else 'large'} must be a number that fits"):
        source.launch("described", (np.zeros((), SHAPE), small, large, y), (1,), (1,), 1)


@pytest.mark.parametrize("record", [np.zeros(2, SHAPE), np.zeros((), [("rows", "i4")]), 3, (1, 2, 3)])
def test_records_of_another_type(source, cupy, record):
    with pytest.raises(TypeError, match="described: shape must be one record of dtype"):
        source.launch("described", (record, 0, 0, cupy.zeros((5,), np.float64)), (1,), (1,), 1)


def test_arrays_that_the_kernel_would_misread(source, cupy, x, y):
    with pytest.raises(TypeError, match=r"scaled<float>: x must be float32, got cupy array \(50,\) of float64"):
        scaled(source, x.astype(np.float64), y)
    with pytest.raises(TypeError, match=r"x must be float32, got cupy array .* of int32"):
        scaled(source, x.astype(np.int32), y)
    with pytest.raises(TypeError, match=r"x must be an array on the GPU, got numpy array \(50,\) of float32"):
        scaled(source, x.get(), y)
    with pytest.raises(TypeError, match=r"x must be an array on the GPU, got 1.0"):
        scaled(source, 1.0, y)
    with pytest.raises(ValueError, match=r"x must be contiguous, got a view of shape \(25,\) with strides \(8,\)"):
        scaled(source, x[::2], y[:25])
    with pytest.raises(ValueError, match="y must be contiguous"):
        scaled(source, x, y[::-1])
    with pytest.raises(ValueError, match="x must be contiguous"):
        scaled(source, cupy.zeros((5, 10), np.float32).T, y)


def test_views_that_begin_between_vectors(source, x, y):
    scaled(source, x[4:20], y[:16], aligned=16)
    with pytest.raises(ValueError, match="scaled<float>: x must begin at a multiple of 16 bytes, got address 0x"):
        scaled(source, x[1:17], y[:16], aligned=16)


class Elsewhere:
    """An array as if on another device."""

    __cuda_array_interface__: dict = {}  # noqa: RUF012

    def __init__(self, array):
        self.array = array
        self.device = SimpleNamespace(id=array.device.id + 1)

    def __getattr__(self, name):
        return getattr(self.array, name)


def test_arrays_on_two_devices_or_none(source, x, y):
    with pytest.raises(ValueError, match=r"scaled<float>: needs arrays on one device, got devices \[0, 1\]"):
        scaled(source, x, Elsewhere(y))
    with pytest.raises(ValueError, match=r"needs arrays on one device, got devices \[\]"):
        scaled(source, None, None, n=50)


def test_grids_that_are_too_large(source, x, y):
    with pytest.raises(ValueError, match=r"scaled<float>: .* takes 2147483648 blocks along x, over 2147483647"):
        scaled(source, x, y, over=(2**31,), tile=(1,))
    with pytest.raises(ValueError, match=r"takes 65536 blocks along y, over 65535"):
        scaled(source, x, y, over=(1, 2**17), tile=(1, 2))


def test_types_that_it_does_not_know(cupy, tmp_path):
    (tmp_path / "odd.cu").write_text("__global__ void f(float* x, short n) { x[0] = n; }\n")
    with pytest.raises(TypeError, match="f: n has the type `short`; the launcher knows float, double"):
        Source(tmp_path / "odd.cu").launch("f", (cupy.zeros((1,), np.float32), 1), (1,), (1,), 1)


# ---- launching ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kib", [1, 48, 49, 64])  # of 64 that any GPU since sm_70 gives a block
def test_shared_memory_is_asked_for(source, cupy, kib):
    y = cupy.zeros((1,), np.float32)
    numbers = kib * 256
    source.launch("dynamic", (y, numbers), (1,), (1,), 64, shared=numbers * 4)
    assert y.get()[0] == numbers - 1


def test_more_shared_memory_than_a_block_can_have(source, cupy):
    y = cupy.zeros((1,), np.float32)
    with pytest.raises(RuntimeError, match=r"dynamic of samples.cu: the launch failed .*1048576 bytes of shared"):
        source.launch("dynamic", (y, 256), (1,), (1,), 64, shared=1 << 20)
    source.launch("dynamic", (y, 256), (1,), (1,), 64, shared=1024)
    assert y.get()[0] == 255


def test_a_launch_that_fails_tells_the_kernel_and_its_arguments(source, x, y):
    told = (
        r"scaled<float> of samples.cu: the launch failed \(.*\); grid \(1,\), 2048 threads, 0 bytes of shared memory, "
        r"x=cupy array \(50,\) of float32, y=cupy array \(50,\) of float32, factor=2.0 \(float\), n=50 \(int\), neg"
    )
    with pytest.raises(RuntimeError, match=told):
        scaled(source, x, y, threads=2048, tile=(2048,))


def test_findings_of_the_emulator_come_through(source, x, y, request):
    if request.config.getoption("--device") == "emulated":
        with pytest.raises(RuntimeError, match=r"scaled<float> of samples.cu.*past the end of argument 0") as caught:
            scaled(source, x, y, n=51)
        assert isinstance(caught.value.__cause__, EmulatorError)


def test_what_is_compiled_is_said_once_for_each_file(cupy, x, y, capsys, monkeypatch):
    monkeypatch.setattr(launch, "_announced", set())
    for _ in range(2):
        source = Source(SAMPLES)
        scaled(source, x, y)
        scaled(source, x, y)
        source.launch("present", (x, cupy.zeros((4,), np.int32)), (1,), (1,), 4)
    said = capsys.readouterr()
    assert re.fullmatch(r"minigen: .*samples\.cu for sm_\d+ \(compiled once, then kept on disk\)\n", said.err)
    assert said.out == ""


def test_kinds_of_devices_and_widths_of_vectors(cupy):
    x = cupy.zeros((64,), np.float32)
    assert launch.compute_capability(x) >= 70
    assert launch.vector_width(8, x, None) == 4 and launch.vector_width(6, x) == 1
    assert launch.vector_width(8, x, x[1:]) == 1 and launch.vector_width(8, x, x[4:]) == 4
    assert launch.vector_width(8, x.astype(np.float16)) == 8 and launch.vector_width(8, x.astype(np.float64)) == 2
