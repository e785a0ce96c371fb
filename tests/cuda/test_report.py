"""The compile gate and the report: what they make of the compiler's words, and of what the wrappers launch."""

import json

import numpy as np
import pytest

import kernels
from kernels import cuda
from kernels.cuda.launch import Source
from kernels.cuda.report import compiler, disassembly, gate, instances, table
from kernels.cuda.report.compiler import Compiled
from kernels.cuda.report.gate import Variant
from kernels.cuda.report.occupancy import occupancy
from kernels.cuda.report.recording import recording
from kernels.cuda.report.rows import A100, H100, rows

# What NVRTC 13.5 says with --ptxas-options=-v of two kernels, the second compiled with 32 registers where it needs 70.
PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1kIfEvPKT_PS0_i' for 'sm_80'
ptxas info    : Function properties for _Z1kIfEvPKT_PS0_i
ptxas         .     32 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 23 registers, used 1 barriers, 32 bytes cumulative stack size, 4096 bytes smem, 372 bytes cmem[0]
ptxas info    : Compile time = 14.113 ms
ptxas info    : Compiling entry function '_Z5spillIfEvPKT_PS0_i' for 'sm_80'
ptxas info    : Function properties for _Z5spillIfEvPKT_PS0_i
ptxas         .     496 bytes stack frame, 744 bytes spill stores, 768 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 496 bytes cumulative stack size, 372 bytes cmem[0]
ptxas info    : Compile time = 161.207 ms
"""

SASS = """\
        /*0080*/                   LDGSTS.E.BYPASS.128 [R5], [R2.64] ;
        /*0090*/                   LDGDEPBAR ;
        /*00a0*/                   DEPBAR.LE SB0, 0x0 ;
        /*00b0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00c0*/                   LDG.E R13, [R2.64+0x8004] ;
        /*00d0*/              @!P0 LDG.E.128.CONSTANT R16, [R2.64+0x8010] ;
        /*01e0*/                   HMMA.1688.F32.TF32 R8, R8, R2, RZ ;
        /*0250*/              @!P1 FFMA.FTZ R3, R2, -1.5707962512969970703, R11 ;
        /*0260*/                   STG.E.128 [R4.64], R12 ;
"""


def code(**changes):
    return Compiled(b"", "k", registers=64, shared=0, stack=0, spill_stores=0, spill_loads=0)._replace(**changes)


def findings(threads=256, shared=0, kernel="k<float>", **changes):
    return gate.findings(Variant("k.cu", kernel, 80, threads, shared), code(**changes))


# ---- the gate --------------------------------------------------------------------------------------------


def test_the_compilers_words_are_read():
    assert compiler.resources(PTXAS, "_Z1kIfEvPKT_PS0_i") == (23, 4096, 32, 0, 0)
    assert compiler.resources(PTXAS, "_Z5spillIfEvPKT_PS0_i") == (32, 0, 496, 744, 768)
    with pytest.raises(ValueError, match="tells nothing of _Z5other"):
        compiler.resources(PTXAS, "_Z5other")


def test_spills_are_found():
    registers, shared, *local = compiler.resources(PTXAS, "_Z5spillIfEvPKT_PS0_i")
    (line,) = gate.findings(Variant("k.cu", "spill<float>", 80, 256, 0), Compiled(b"", "", registers, shared, *local))
    assert line == ("k.cu: spill<float>, sm_80: 32 registers are too few, 744 bytes of stores and 768 of loads spill")


def test_what_is_fine_is_not_found():
    assert findings() == []


def test_stack_is_found_unless_the_table_allows_it(monkeypatch):
    assert "32 bytes of stack, 0 are allowed" in findings(stack=32)[0]
    monkeypatch.setattr(gate, "ALLOWED_STACK", {"k<": (32, "a reason")})
    assert findings(stack=32) == []
    assert "40 bytes of stack, 32 are allowed" in findings(stack=40)[0]
    assert findings(stack=32, kernel="other<float>") != []
    assert findings(stack=32, spill_loads=4) != []  # spills are never allowed


def test_what_cannot_be_launched_is_found():
    assert "too little registers for 1024 threads with 80" in findings(threads=1024, registers=80)[0]
    assert "too little shared memory" in gate.findings(Variant("k.cu", "k", 80, 256, 160_000), code(shared=8_000))[0]
    assert gate.findings(Variant("k.cu", "k", 90, 256, 160_000), code(shared=8_000)) == []


def test_what_gpus_like_sm_80_launch_is_compiled_for_it_and_fits_99_kb(monkeypatch):
    eighty, others = gate.variants([80]), gate.variants(gate.LIKE_80)
    assert {(v.file, v.kernel) for v in others} <= {(v.file, v.kernel) for v in eighty}
    assert 90 << 10 < max(v.shared for v in others) <= 99 << 10 < max(v.shared for v in eighty)
    monkeypatch.setattr(gate, "compiled", lambda variant: code(shared=8_000))
    monkeypatch.setattr(gate, "compile_all", lambda chosen: map(gate.compiled, chosen))
    chosen, launched = [Variant("k.cu", "k", 80, 256, 96_000)], [Variant("k.cu", "k", 86, 256, 96_000)]
    (line,) = gate.all_findings(chosen, launched)
    assert line.startswith("k.cu: k, sm_86: cannot be launched, too little shared memory")
    assert list(gate.all_findings(chosen, [launched[0]._replace(shared=93_376)])) == []


def test_what_does_not_compile_is_found(monkeypatch):
    def fails(text, name, kernel, arch):
        raise compiler.CompileError(f"{name}: {kernel} does not compile for sm_{arch}:\nexpected a ';'")

    monkeypatch.setattr(gate, "compile_kernel", fails)
    variant = Variant("rearrange.cu", "upsample<float, 4>", 80, 256, 0)
    assert gate.findings(variant, gate.compiled(variant)) == [
        "rearrange.cu: upsample<float, 4> does not compile for sm_80:\nexpected a ';'"
    ]


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compiler, "compilers", lambda: ())
    with pytest.raises(RuntimeError, match=r'no NVRTC that compiles for sm_80 .*pip install -e "\.\[report\]"'):
        compiler.compiler_for(80)


def test_the_newest_compiler_that_knows_a_gpu_is_taken(monkeypatch):
    class Known:
        def __init__(self, version, archs):
            self.version, self.archs = version, archs

    old, new = Known((12, 9), (70, 80)), Known((13, 5), (80, 90))
    monkeypatch.setattr(compiler, "compilers", lambda: (new, old))
    assert [compiler.compiler_for(arch) for arch in (70, 80, 90)] == [old, new, new]


# ---- what is launched --------------------------------------------------------------------------------------


def test_launches_are_recorded_and_checked():
    with recording(80) as (cupy, launches):
        x = cupy.empty((2, 3, 4, 8), "float32")
        y = cuda.upsample(x.swapaxes(1, 2), (2, 2))
        with pytest.raises(TypeError, match="float64"):
            Source("rearrange.cu").launch("upsample<float, 4>", (x.astype("float64"), y, *[1] * 7), (1,), (1,), 256)
    (launch,) = launches
    assert y.shape == (2, 8, 6, 8)
    assert launch[:2] == ("rearrange.cu", "upsample<float, 4>")
    assert launch.grid == (1,) and launch.threads == 256 and launch.shared == 0
    assert launch.moved == 4 * (x.size + y.size)


def test_arrays_behind_a_table_of_addresses_are_counted():
    with recording(80) as (cupy, launches):
        arrays, targets = ([cupy.empty((n,), "float32") for n in (10, 5000)] for _ in range(2))
        cuda.lerp_(arrays, targets, 0.5)
    (launch,) = launches
    table = 4 * 2 * 8  # four rows of a number for each array
    assert launch.moved == 2 * 4 * 5010 + table


def test_the_kind_of_gpu_decides_what_is_launched():
    seventy, eighty = ({v.kernel for v in gate.variants([arch])} for arch in (70, 80))
    assert not any("tensor_core" in kernel for kernel in seventy)
    assert any("tensor_core" in kernel for kernel in eighty)


def test_instances_are_those_of_the_largest_launch():
    with recording(80) as (_, launches):
        for length in (8, 64):
            cuda.uniform((1, length), 0, 0)
    assert gate.of_launches(launches, 80) == [Variant("philox.cu", "uniform<float>", 80, 256, 0)]


def test_a_launch_that_the_gate_does_not_know_fails_the_test_that_makes_it(cupy):
    x = cupy.zeros((1, 1, 2), np.float32)
    with pytest.raises(AssertionError, match=r"upsample<float, 2> is launched.*calls\.py"):
        Source("rearrange.cu").launch("upsample<float, 2>", (x, x, 1, 1, 1, 1, 1, 1, 1), (1,), (1,), 256)


# ---- the report --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch, threads, registers, shared, blocks, limit",
    [
        (80, 256, 32, 0, 8, "warps"),
        (80, 256, 128, 0, 2, "registers"),
        (80, 256, 129, 0, 1, "registers"),
        (80, 32, 16, 0, 32, "blocks"),
        (80, 128, 32, 48 << 10, 3, "shared memory"),
        (90, 128, 32, 48 << 10, 4, "shared memory"),
        (70, 256, 64, 48 << 10, 2, "shared memory"),
        (80, 256, 32, 164 << 10, 0, "shared memory"),
        (86, 256, 32, 0, 6, "warps"),
        (89, 128, 32, 99 << 10, 1, "shared memory"),
        (120, 256, 32, 100 << 10, 0, "shared memory"),
    ],
)
def test_occupancy(arch, threads, registers, shared, blocks, limit):
    most = 1536 if arch in gate.LIKE_80 else 2048
    assert occupancy(arch, threads, registers, shared) == (blocks, blocks * threads / most, limit)


def test_instructions_are_counted():
    counted = {name: n for name, n in disassembly.counts(SASS).items() if n}
    assert counted == {"LDGSTS.128": 1, "BAR": 1, "LDG.128": 1, "HMMA": 1, "FFMA": 1, "STG.128": 1}


def test_bounds():
    assert A100.bound(19.5e12, 1, "float32") == (1.0, "flops")
    assert A100.bound(19.5e12, 2.04e12, "TF32") == (1.0, "bytes")
    assert H100.bound(989e12, 3.35e12 / 2, "float16") == (1.0, "flops")


def test_the_tables_have_all_rows(monkeypatch):
    monkeypatch.setattr(instances, "instruction_counts", lambda cubin: dict.fromkeys(disassembly.COUNTED, 1))
    every_row = list(rows())
    assert len({row.name for row in every_row}) == len(every_row)
    chosen = [row for row in every_row if row.name.startswith("3x3 32x32x32x64 -> 64, weight gradient")]
    assert [row.numbers for row in chosen] == ["float32", "TF32", "float16"]
    assert all(row.bound(A100)[0] > row.bound(H100)[0] > 0 and len(row.launches) == 2 for row in chosen)
    shown = [instances.instance(v, code()) for v in gate.of_launches(chosen[0].launches, 80)]
    lines = list(table.plain(table.of_instances(shown)))
    assert len(lines) == 3 and "sum_parts<float, float>" in lines[1] + lines[2]
    assert len(list(table.markdown(table.of_rows(every_row)))) == 2 + len(every_row)
    kept = json.loads(json.dumps(table.figures(shown, every_row)))
    assert len(kept["rows"]) == len(every_row) and kept["rows"][0]["at least"]["A100"] > 0


def test_every_function_is_called_for_the_gate(monkeypatch):
    called = set()
    for name in kernels.KERNELS:
        function = getattr(cuda, name)

        def call(*args, name=name, function=function, **settings):
            called.add(name)
            return function(*args, **settings)

        monkeypatch.setattr(cuda, name, call)
    gate.variants([80])
    launch_nothing_of_ours = {"arithmetic", "copy", "join"}
    as_a_convolution = {"conv_transpose", "matmul"}
    assert called == set(kernels.KERNELS) - launch_nothing_of_ours - as_a_convolution
