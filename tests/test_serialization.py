"""Checkpoints: what is saved comes back bit for bit; no crash and no damaged file loses or invents anything."""

import json
import os
import pickle
from enum import IntEnum

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigen
from minigen import serialization
from minigen.serialization import CheckpointError, load, save

DTYPES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 >f4 >i8".split()  # noqa: SIM905

keys = st.text(max_size=8).map(lambda s: s.replace("/", "."))
arrays = hnp.arrays(
    st.sampled_from(DTYPES).map(np.dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)
leaves = arrays | st.none() | st.booleans() | st.integers() | st.floats() | st.text()
states = st.dictionaries(keys, st.recursive(leaves, lambda s: st.dictionaries(keys, s, max_size=4)), max_size=4)


def assert_same(a, b):
    """Equal to the bit, in type, dtype, shape and order of keys."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        assert (b.dtype, b.shape) == (a.dtype.newbyteorder("="), a.shape)
        assert b.tobytes() == a.astype(b.dtype).tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert type(a) is type(b)
        assert repr(a) == repr(b)  # NaN is not equal to itself, and -0.0 is equal to 0.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(state=states)
def test_round_trip(path, state):
    save(state, path)
    assert_same(state, load(path))


def test_a_training_state(path):
    state = {
        "model": {"blocks.0.weight": np.ones((2, 3), np.float32), "blocks.0.bias": np.zeros(3, np.float64)},
        "optimizer": {"lr": 0.1, "nested": {"deep": {"step": np.array(3)}}, "empty": {}},
        "step": 10**30,
        "name": 'vae "größe"\n\0',
        "done": False,
        "best": None,
        "loss": float("nan"),
        "bound": float("-inf"),
    }
    save(state, path)
    assert_same(state, load(path))
    assert os.listdir(path.parent) == [path.name]


def test_tensors_scalars_and_views(path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {
        "transposed": base.T,
        "reversed": base[::-1, ::-2],
        "strided": base[1::2],
        "broadcast": base[:1] + 0 * base,
    }
    views["repeated"] = np.broadcast_to(base[0], (3, 6))
    save(
        {
            **views,
            "tensor": minigen.tensor(base.T, requires_grad=True),
            "scalar": np.float32(0.1),
            "f8": np.float64(0.1),
        },
        path,
    )
    loaded = load(path)
    for name, view in views.items():
        np.testing.assert_array_equal(loaded[name], view)
    np.testing.assert_array_equal(loaded["tensor"], base.T)
    assert type(loaded["tensor"]) is np.ndarray
    assert_same(np.array(0.1, np.float32), loaded["scalar"])
    assert_same(np.array(0.1), loaded["f8"])


def test_loaded_arrays_are_writable_and_independent_of_the_file(path):
    save({"a": np.arange(1000.0)}, path)
    loaded = load(path)["a"]
    path.write_bytes(b"\0" * path.stat().st_size)
    np.testing.assert_array_equal(loaded, np.arange(1000.0))
    loaded[...] = 1


def test_other_readers_find_the_arrays_by_their_path(path):
    save({"model": {"0.weight": np.arange(3)}, "step": 3}, path)
    found = safetensors.numpy.load_file(path)
    assert list(found) == ["model/0.weight"]
    np.testing.assert_array_equal(found["model/0.weight"], np.arange(3))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"tree": "{}", "version": "1"}])
def test_files_of_other_writers_load_as_a_flat_dict(path, metadata):
    state = {"a.weight": np.ones((2, 2), np.float16), "b/c": np.arange(3)}
    safetensors.numpy.save_file(state, path, metadata=metadata)
    assert_same(state, load(path))


class Colour(IntEnum):
    RED = 1


def test_an_enum_is_saved_as_its_number(path):
    save({"colour": Colour.RED}, path)
    assert_same({"colour": 1}, load(path))


# Refused before anything is written


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([1, 2], "must be a dict, got list"),
        (np.zeros(3), "must be a dict, got ndarray"),
        ({"a": {1: np.zeros(3)}}, "strings without '/', got 1 in 'a'"),
        ({"a": {"b": {"c/d": 1}}}, "strings without '/', got 'c/d' in 'a/b'"),
        ({"/": 1}, "got '/' at the top"),
        ({"__metadata__": np.zeros(3)}, "'__metadata__' is taken"),
        ({"a": {"betas": (0.9, 0.99)}}, "'a/betas' is of type tuple"),
        ({"a": {"f": print}}, "'a/f' is of type builtin"),
        ({"a": {"names": np.array(["x"])}}, "'a/names' has dtype <U1"),
        ({"a": np.array([None])}, "'a' has dtype object"),
        ({"a": np.zeros(2, np.complex64)}, "'a' has dtype complex64.*float32"),
        ({"ok": np.zeros(3), "a": b"bytes"}, "'a' is of type bytes"),
    ],
)
def test_what_cannot_be_stored_is_named_and_the_old_file_kept(path, state, words):
    save({"old": 1}, path)
    with pytest.raises(TypeError, match=words):
        save(state, path)
    assert load(path) == {"old": 1}
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_folder_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        save({}, path.parent / "nowhere" / path.name)


# A crash during the save


class Killed(BaseException):
    """Not an Exception, like KeyboardInterrupt."""


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("old", [True, False])
def test_a_crash_leaves_the_old_file_and_no_other(path, monkeypatch, step, old):
    if old:
        save({"old": np.arange(3)}, path)
    before = path.read_bytes() if old else None

    def die(*args):
        raise Killed

    monkeypatch.setattr(serialization.os, step, die)
    with pytest.raises(Killed):
        save({"new": np.arange(4)}, path)
    assert os.listdir(path.parent) == ([path.name] if old else [])
    assert not old or path.read_bytes() == before


def test_the_whole_new_file_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    save({"old": 1}, path)
    events = []
    fsync, replace = os.fsync, os.replace

    def watch_replace(source, target):
        assert load(source) == {"new": 2}
        assert load(target) == {"old": 1}
        assert os.path.dirname(source) == os.path.dirname(target)  # one file system: the rename is atomic
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(serialization.os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(serialization.os, "replace", watch_replace)
    save({"new": 2}, path)
    assert events == ["fsync", "replace"]
    assert load(path) == {"new": 2}


def test_the_file_has_the_permissions_of_any_other(path):
    (path.parent / "other").touch()
    save({}, path)
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


# Files that cannot be loaded


def test_a_file_cut_off_anywhere_is_an_error_that_names_it(path):
    save({"a": np.arange(5.0), "b": {"c": np.ones((2, 2), np.int8)}, "step": 3}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is not a whole safetensors file"):
            load(path)
        assert path.read_bytes() == whole[:length]
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="not a whole"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04" + b"\0" * 100, pickle.dumps({"a": [1.0] * 100}), b"\xff" * 64, b"{}" * 50],
)
def test_a_foreign_file_is_an_error_that_names_it(path, content):
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.safetensors is not a whole safetensors file .*another format"
    ):
        load(path)
    assert path.read_bytes() == content


def test_a_missing_file_and_a_folder(path):
    with pytest.raises(CheckpointError, match=r"cannot open .*checkpoint\.safetensors .*No such file"):
        load(path)
    with pytest.raises(CheckpointError, match=f"cannot open {path.parent}"):
        load(path.parent)


def test_arrays_of_a_type_that_numpy_lacks(path):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(CheckpointError, match=r"of a type that NumPy lacks .*bfloat16"):
        load(path)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"version": "2", "tree": "{}"}, "in version 2 of the minigen format, this one reads version 1"),
        ({"version": "1"}, "does not fit its arrays .*tree"),
        ({"version": "1", "tree": "{"}, "does not fit its arrays"),
        ({"version": "1", "tree": '{"a": ["lost"]}'}, "does not fit its arrays .*lost"),
        ({"version": "1", "tree": '{"a": []}'}, "does not fit its arrays"),
        ({"version": "1", "tree": '{"a": [[1]]}'}, "does not fit its arrays"),
    ],
)
def test_metadata_that_does_not_fit(path, metadata, words):
    safetensors.numpy.save_file({"a": np.zeros(2)}, path, metadata={"format": "minigen", **metadata})
    with pytest.raises(CheckpointError, match=words):
        load(path)
