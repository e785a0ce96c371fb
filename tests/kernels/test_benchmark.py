"""The benchmark: what it computes from times, that it leaves no kernel out, and that it runs."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels.benchmark import cases, models, peers, table
from kernels.benchmark.cpu import CPU
from kernels.benchmark.row import Case, Comparison, Measured, Work
from kernels.benchmark.rows import ROWS
from kernels.benchmark.table import Result
from kernels.benchmark.timing import Machine, alternate, compare, copy_rate

MACHINE = Machine(gflops={"float32": 100.0, "TF32": 800.0}, gbytes={1000: 200.0, 10**6: 50.0})


def result(ours=1e-3, peer=2e-3, ratio=2.0, floor=None, flops=0.0, moved=0.0):
    limit = MACHINE.limit(flops, moved) if flops or moved else (0.0, "")
    return Result("kind", "name", ours, peer, "torch", ratio, floor, "s", flops, moved, *limit)


# ---- rows ----------------------------------------------------------------------------------------------


def test_every_kernel_has_a_row():
    timed = {name for row in ROWS if isinstance(row, Case) for name in row.kernels}
    assert timed == set(kernels.KERNELS)


def test_names_differ():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("wanted", [2.0, 1.6, 1.5, 1.3, 1.2, 1.1, 0.9, 1.0, 3.0, 1.8])
def test_floors_of_the_comparison_are_there(wanted):
    assert wanted in [row.floor for row in ROWS]


# ---- times ---------------------------------------------------------------------------------------------


def test_runs_take_turns():
    order = []
    runs = {name: lambda name=name: order.append(name) or sum(range(400_000)) for name in ("ours", "a", "b")}
    times = alternate(runs, rounds=3, seconds=0)
    assert [len(seconds) for seconds in times.values()] == [3, 3, 3]
    rounds = [
        name for name, after in pairwise(order[6:] + [""]) if name != after
    ]  # after a warm-up and a trial of each
    assert rounds[:1] + rounds[-1:] == ["ours", "b"]


def test_ratio_is_the_median_over_rounds():
    # The ratio of the medians would be 9; the rounds' ratios are 2, 10 and 3.
    times = {"ours": [1.0, 1.0, 3.0], "torch": [2.0, 10.0, 9.0], "slower": [20.0, 20.0, 20.0]}
    assert compare(times) == Comparison(1.0, 9.0, "torch", 3.0)
    assert compare({"ours": [1.0, 2.0, 3.0], "numpy": [4.0, 6.0, 3.0]}).ratio == 3.0


def test_without_peers_there_is_no_ratio():
    assert compare({"ours": [1.0, 3.0, 2.0]}) == Comparison(2.0)


# ---- limits --------------------------------------------------------------------------------------------


def test_what_takes_longer_is_the_limit():
    assert MACHINE.limit(flops=1e9, moved=0) == (0.01, "flops")
    assert MACHINE.limit(flops=1e9, moved=0, numbers="TF32") == (1 / 800, "flops")
    assert MACHINE.limit(flops=1e3, moved=1000) == (1e-8, "flops")
    assert MACHINE.limit(flops=0, moved=1000) == (5e-9, "bytes")  # in cache
    assert MACHINE.limit(flops=0, moved=1001) == (1001 / 50e9, "bytes")
    assert MACHINE.limit(flops=0, moved=10**9) == (0.02, "bytes")


def test_share_and_rate():
    r = result(ours=0.02, flops=1e9, moved=10)
    assert r.share == 0.5 and r.rate == "50 GFLOP/s"
    r = result(ours=0.04, moved=10**9)
    assert r.share == 0.5 and r.rate == "25 GB/s"
    assert result().rate == ""


@pytest.mark.parametrize(
    "ratio, floor, short", [(0.99, 1.0, True), (1.0, 1.0, False), (0.5, None, False), (None, 1.0, False)]
)
def test_below_the_floor_is_marked(ratio, floor, short):
    r = result(ratio=ratio, floor=floor)
    assert r.short is short
    assert ("SHORT" in r.cells[4]) is short


@pytest.mark.parametrize(
    "value, unit, text",
    [(1.2345e-3, "s", "1.23 ms"), (45.61e-6, "s", "45.6 µs"), (12.0, "s", "12.0 s"), (789e6, "B", "789 MB")],
)
def test_quantities(value, unit, text):
    assert table.quantity(value, unit) == text


def test_copies_are_timed():
    assert 0.1 < copy_rate(2**20) < 10_000


# ---- work ----------------------------------------------------------------------------------------------


def test_flops_of_a_network_are_counted():
    from kernels import cpu

    x, w = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 3, 5), np.float32)
    g = cpu.conv(x, w, padding=1)

    def run():
        cpu.conv(x, w, padding=1)
        cpu.conv_transpose(g, w.swapaxes(-1, -2), padding=1)
        cpu.conv_weight_grad(x, g, (3, 3), padding=1)

    assert models.count_flops(run, cpu) == 3 * 2 * (2 * 4 * 4) * 9 * 3 * 5


SMALL = [
    (cases.matmul, 3, 4, 5),
    *[(cases.conv, 1, 4, 2, 3, 3, 1, 1, passes) for passes in ("forward", "input", "weight", "both")],
    *[(cases.conv_transpose, 1, 4, 2, 3, 4, passes) for passes in ("forward", "both")],
    *[(cases.attention, 1, 5, 2, 4, backward) for backward in (False, True)],
    *[(cases.group_norm, (2, 3, 3, 4), 2, True, backward) for backward in (False, True)],
    (cases.layer_norm, 3, 4),
    (cases.softmax, 3, 4),
    *[(cases.random_numbers, draw, 16) for draw in ("philox", "uniform", "normal")],
    (cases.add_noise, (2, 3, 3, 1)),
    *[(cases.denoising_step, kernel, (2, 3, 3, 1)) for kernel in ("ddpm_step", "ddim_step")],
    (cases.linear_step, (2, 3, 3, 1)),
    (cases.gaussian_step, (2, 3, 3, 1)),
    *[(cases.adam, 2, 3, around) for around in (False, True)],
    *[(cases.over_arrays, kernel, 2, 3) for kernel in ("global_norm", "scale_", "lerp_")],
    (cases.add, (2, 3), (3,)),
    (cases.sum_positions, 2, 3, 4),
]


@pytest.mark.parametrize("build, arguments", [(build, arguments) for build, *arguments in SMALL])
def test_all_runs_of_a_row_run(build, arguments):
    work = build(*arguments, CPU)
    assert work.flops > 0 and work.moved > 0
    work.ours()
    for peer in work.peers.values():
        peer()


def test_without_pytorch_numpy_is_the_peer(monkeypatch):
    monkeypatch.setattr(peers, "torch", None)
    names = {tuple(build(*arguments, CPU).peers) for build, *arguments in SMALL}
    assert names == {(), ("numpy",)}


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind != "model"], ids=lambda row: row.name)
def test_rows_with_a_floor_say_what_they_need(row):
    if isinstance(row, Measured):
        assert row.floor == 1.0
    else:
        assert row.kernels and row.build.func.__module__ == cases.__name__


def test_measured_rows_are_printed_and_kept(tmp_path):
    x = np.ones(1000, np.float32)
    case = Case("kind", "name", (), lambda on: Work(lambda: x + x, {"numpy": lambda: x + x}, 1000, 12_000), floor=1e-3)
    measured = Measured("start", "other", lambda rounds: Comparison(1.0, 2.0, "allowed", 2.0))
    results = [table.measure(row, CPU, MACHINE, rounds=2) for row in (case, measured)]
    assert results[0].peer_name == "numpy" and not results[0].short and results[1].ratio == 2.0
    table.save(tmp_path / "figures.json", results, MACHINE, {"threads": "2"})
    assert table.load(tmp_path / "figures.json") == (results, MACHINE, {"threads": "2"})
    assert len(list(table.markdown(results, MACHINE, {}))) == 4 + len(results)


# ---- the whole -----------------------------------------------------------------------------------------


def run_benchmark(*arguments):
    command = [sys.executable, "-m", "kernels.benchmark", *arguments]
    root = Path(kernels.__file__).parents[1]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=os.environ)


def test_the_command_line(tmp_path):
    figures, picture = tmp_path / "figures.json", tmp_path / "roofline.png"
    done = run_benchmark("--quick", "--only", "uniform", "--json", str(figures), "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    assert "uniform, a million" in done.stdout and "GFLOP/s in a matrix product" in done.stdout
    (row,) = json.loads(figures.read_text())["rows"]
    assert row["ours"] > 0 and row["ratio"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_line_fails_where_a_row_is_short(tmp_path):
    figures = tmp_path / "figures.json"
    table.save(figures, [result(ratio=0.5, floor=0.9), result(ratio=1.0, floor=0.9)], MACHINE, {})
    assert run_benchmark("--load", str(figures)).returncode == 0
    done = run_benchmark("--load", str(figures), "--check", "--markdown")
    assert done.returncode == 1 and "name (0.50x of 0.90x)" in done.stderr
    assert done.stdout.count("\n| ") == 3


def test_an_unknown_row_is_an_error():
    done = run_benchmark("--only", "nonsense")
    assert done.returncode == 1 and "nonsense" in done.stderr
