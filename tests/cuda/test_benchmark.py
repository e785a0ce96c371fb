"""The benchmark on a GPU: that its rows run there, in each kind of numbers, and how they are timed."""

import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import kernels
from kernels.benchmark import __main__ as program
from kernels.benchmark import cases, events, gpu, models
from kernels.benchmark.device import NUMBERS
from kernels.benchmark.peers import precision
from kernels.benchmark.row import Case
from kernels.precision import tf32_allowed


@pytest.fixture
def device(cupy, monkeypatch):
    monkeypatch.setattr(events, "FLUSHED", 64)
    return gpu.gpu()


# ---- rows ----------------------------------------------------------------------------------------------

TINY = [
    *[("matmul", numbers, cases.matmul, 3, 4, 8) for numbers in NUMBERS],
    *[("conv", numbers, cases.conv, 1, 4, 8, 8, 3, 1, 1, "both") for numbers in NUMBERS],
    ("conv_transpose", "float32", cases.conv_transpose, 1, 4, 8, 8, 4, "both"),
    ("modulated", "float32", cases.modulated, 2, 4, 8),
    *[("attention", numbers, cases.attention, 1, 5, 2, 8, True) for numbers in NUMBERS],
    *[("group_norm", numbers, cases.group_norm, (2, 3, 3, 8), 2, True, True) for numbers in ("float32", "float16")],
    ("layer_norm", "float32", cases.layer_norm, 3, 32),
    *[(draw, "float32", cases.random_numbers, draw, 16) for draw in ("philox", "uniform", "normal")],
    ("add_noise", "float32", cases.add_noise, (2, 3, 3, 1)),
    *[(step, "float32", cases.denoising_step, step, (2, 3, 3, 1)) for step in ("ddpm_step", "ddim_step")],
    ("linear_step", "float32", cases.linear_step, (2, 3, 3, 1)),
    ("gaussian_step", "float32", cases.gaussian_step, (2, 3, 3, 1)),
    ("adam_", "float32", cases.adam, 2, 3, True),
    *[(kernel, "float32", cases.over_arrays, kernel, 2, 3) for kernel in ("global_norm", "scale_", "lerp_", "add_")],
    ("add", "float32", cases.add, (2, 3), (3,)),
    ("sum_positions", "float32", cases.sum_positions, 2, 3, 4),
    ("index_add", "float32", cases.index_add, 4, 5, 8),
]


@pytest.mark.parametrize("numbers, build, arguments", [(n, b, a) for _, n, b, *a in TINY], ids=[t[0] for t in TINY])
def test_all_runs_of_a_row_run(device, numbers, build, arguments):
    on = replace(device, numbers=numbers)
    with precision(on):
        assert tf32_allowed() is (numbers == "TF32")
        work = build(*arguments, on)
        assert work.flops > 0 and work.moved > 0
        for run in (work.ours, *work.peers.values()):
            run()


def test_every_kernel_has_a_row_and_products_one_for_each_kind_of_numbers(device):
    timed = gpu.rows()
    assert {name for row, _ in timed for name in row.kernels} == set(kernels.KERNELS)
    assert all(row.floor is None for row, _ in timed)
    names = [on.named(row.name) for row, on in timed]
    assert len(set(names)) == len(names)
    for kind in ("convolution", "attention"):
        assert [on.numbers for row, on in timed if row.kind == kind][:3] == list(NUMBERS)


def test_flops_of_a_network_are_counted(device):
    x, w = device.array(np.ones((1, 4, 4, 3), np.float32)), device.array(np.ones((3, 3, 3, 5), np.float32))
    assert models.count_flops(lambda: device.kernels.conv(x, w, padding=1), device.kernels) == 2 * (4 * 4) * 9 * 3 * 5


# ---- times ---------------------------------------------------------------------------------------------


def test_runs_take_turns_after_a_flush(device, cupy, monkeypatch):
    order = []
    monkeypatch.setattr(type(cupy.empty(1)), "fill", lambda self, value: order.append("flush"), raising=False)
    runs = {name: partial(order.append, name) for name in ("ours", "a", "b")}
    times = events.alternate(runs, rounds=3, seconds=0)
    assert [len(seconds) for seconds in times.values()] == [3, 3, 3]
    assert order[:9] == ["ours"] * 3 + ["a"] * 3 + ["b"] * 3  # to warm up
    assert order[9::2] == ["flush"] * 9
    assert order[10::2] == ["ours", "a", "b", "b", "a", "ours", "ours", "a", "b"]


def test_times_are_in_seconds(device):
    from time import sleep

    (seconds,) = events.alternate({"ours": lambda: sleep(0.02)}, rounds=1, seconds=0)["ours"]
    assert 0.02 <= seconds < 0.2


# ---- the whole -----------------------------------------------------------------------------------------


def test_the_command_line(device, monkeypatch, tmp_path, capsys):
    row = Case("convolution", "tiny", ("conv",), partial(cases.conv, 1, 4, 8, 8, 3, 1, 1, "forward"), floor=99)
    monkeypatch.setattr(gpu, "KERNEL_ROWS", [row])
    monkeypatch.setattr(gpu, "SIDE", 16)
    monkeypatch.setattr(gpu, "COPIED", 1024)
    figures = tmp_path / "figures.json"
    command = ["benchmark", "--device", "cuda", "--only", "tiny", "--quick", "--check", "--json", str(figures)]
    picture = tmp_path / "roofline.png"
    monkeypatch.setattr(sys, "argv", [*command, "--picture", str(picture)])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert not ended.value.code
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept, printed = json.loads(figures.read_text()), capsys.readouterr().out
    assert [r["name"] for r in kept["rows"]] == ["tiny", "tiny, TF32", "tiny, float16"]
    assert all(r["ours"] > 0 for r in kept["rows"])
    assert kept["about"]["device"] in printed and kept["about"]["date"] in printed


def test_without_a_gpu_it_says_so_in_a_sentence(monkeypatch):
    from minigen import backend

    def no_gpu(*_):
        raise RuntimeError("device 'cuda': there is no GPU")

    monkeypatch.setattr(backend, "to_device", no_gpu)
    with pytest.raises(SystemExit, match="there is no GPU"):
        gpu.rows()
