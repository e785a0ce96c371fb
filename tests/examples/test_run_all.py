"""Running all examples: none is forgotten, an entry says what the example printed, and stopped runs go on."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from .small import EXAMPLES

EXAMPLE = '''"""Counts.

More."""
import sys
from pathlib import Path
from run import report
out = Path(sys.argv[sys.argv.index("--out") + 1])
tries = out / "tries"
assert "--check" in sys.argv and ("--resume" in sys.argv) == ({stops} > 1 and tries.exists())
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) < {stops}:
    sys.exit(130)
(out / "samples.png").write_bytes(b"a picture")
report([("how much: of it", 0.5, ">=", 0.25, "chance: 0.1"), ("the rest", 2, "<=", 1.5, "none")], True)
'''


@pytest.fixture
def run_all(load_example, tmp_path, monkeypatch):
    """The script, in a folder with two examples: counting.py, and stopping.py, which ends early twice."""
    module, running = load_example("run_all"), load_example("run")
    (tmp_path / "gallery").mkdir()
    for name, stops in (("counting", 1), ("stopping", 3)):
        (tmp_path / f"{name}.py").write_text(EXAMPLE.replace("{stops}", str(stops)))
    (tmp_path / "run.py").write_text(Path(running.__file__).read_text())
    for name, value in {
        "HERE": tmp_path,
        "RESULTS": tmp_path / "gallery" / "results.json",
        "PICTURES": tmp_path / "gallery" / "pictures",
        "FAMILIES": {"a": ("counting",), "b": ("stopping",)},
        "EVERY": ["counting", "stopping"],
    }.items():
        monkeypatch.setattr(module, name, value)

    def run(*arguments, fails=None):
        monkeypatch.setattr("sys.argv", ["run_all.py", *arguments, "--out", str(tmp_path / "runs")])
        with pytest.raises(SystemExit, match=fails) if fails else nullcontext():
            module.main()
        return json.loads((tmp_path / "gallery" / "results.json").read_text())

    return run


def test_every_example_is_in_a_family(load_example):
    assert sorted(load_example("run_all").EVERY) == EXAMPLES


def test_an_entry_says_what_the_example_printed(run_all, tmp_path, capfd):
    entry = run_all("counting")["counting"]
    assert entry["figures"] == [
        [True, "how much: of it", "0.5", ">=", "0.25", "chance: 0.1"],
        [False, "the rest", "2", "<=", "1.5", "none"],
    ]
    assert entry["command"] == "python examples/counting.py --check" and "commit" in entry
    gallery = (tmp_path / "GALLERY.md").read_text()
    cores = f"{entry['cores']} core{'s' * (entry['cores'] > 1)}"
    assert f"Counts. 0 minutes on {cores}, at {entry['commit']}; 1 figure missed." in gallery
    assert "| **missed** the rest | 2 | <= 1.5 | none |" in gallery
    assert (tmp_path / "gallery" / "pictures" / "counting.png").read_bytes() == b"a picture"
    assert "1 of 2 examples" in capfd.readouterr().out


def test_what_has_an_entry_is_run_again_only_if_asked(run_all, tmp_path):
    for more, tries in ((), "x"), ((), "x"), (("--again",), "xx"):
        run_all("a", *more)
        assert (tmp_path / "runs" / "counting" / "tries").read_text() == tries


def test_one_that_is_stopped_goes_on_next_time_and_the_others_run(run_all, tmp_path):
    fails, clock = "ended without figures: stopping", tmp_path / "runs" / "stopping" / "clock.json"
    assert run_all(fails=fails).keys() == {"counting"} and clock.exists()
    assert run_all(fails=fails).keys() == {"counting"} and run_all().keys() == {"counting", "stopping"}
    assert not clock.exists()


def test_one_that_fails_starts_anew_next_time(run_all, tmp_path):
    run_all("a")
    script = tmp_path / "stopping.py"
    whole = script.read_text()
    script.write_text("raise SystemExit('cannot resume')")
    assert run_all(fails="ended without figures: stopping").keys() == {"counting"}
    script.write_text(whole.replace("< 3", "< 1").replace("3 > 1", "False"))  # it finds no --resume
    assert run_all().keys() == {"counting", "stopping"}


def test_ctrl_c_waits_for_the_example_and_says_how_to_go_on(run_all, tmp_path, capfd):
    run_all("a")
    script = tmp_path / "stopping.py"
    whole = script.read_text()
    script.write_text("import os, signal, sys\nos.kill(os.getppid(), signal.SIGINT)\nprint('saved')\nsys.exit(130)")
    run_all(fails=r"go on with: python run_all.py stopping --out ")
    run_all("--again", "b", fails=r"go on with: python run_all.py stopping --again --out ")
    assert "saved" in capfd.readouterr().out and (tmp_path / "runs" / "stopping" / "clock.json").exists()
    script.write_text(whole.replace("< 3", "< 1").replace("(3 > 1 and tries.exists())", "True"))
    assert run_all().keys() == {"counting", "stopping"}  # it is told to resume


def test_entries_that_another_process_wrote_meanwhile_are_kept(run_all, tmp_path):
    other = tmp_path / "gallery" / "results.json"
    entry = run_all("a")["counting"]
    other.unlink()
    script = tmp_path / "stopping.py"
    write = f"Path({str(other)!r}).write_text({json.dumps({'counting': entry})!r})\n"
    script.write_text(
        script.read_text().replace("< 3", "< 1").replace("3 > 1", "False").replace("tries =", write + "tries =")
    )
    assert run_all("b").keys() == {"counting", "stopping"}


def test_an_unknown_name_is_refused(run_all, capsys):
    with pytest.raises(SystemExit):
        run_all("painting")
    assert "no examples or families: painting; there are counting, stopping" in capsys.readouterr().err
