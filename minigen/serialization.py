"""Saving and loading nested state, such as a checkpoint, as one safetensors file.

    save({"model": model.state_dict(), "step": 300, "seed": 0}, "checkpoint.safetensors")
    state = load("checkpoint.safetensors")
    model.load_state_dict(state["model"])

Arrays are stored under their keys joined by "/" (model/blocks.0.weight), where any safetensors reader finds
them. The metadata holds the rest as JSON: the nested dict itself, with each array replaced by [its name].
Nothing is ever pickled, so a file from a stranger cannot run code.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from .backend import on_gpu, to_device
from .tensor import Tensor

SEPARATOR = "/"
FORMAT, VERSION = "minigen", "1"
# The real types of NumPy that safetensors stores.
DTYPES = (bool, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class CheckpointError(ValueError):
    """A file that cannot be loaded: missing, damaged, or not in the expected format."""


def save(state: dict[str, Any], path: str | os.PathLike) -> None:
    """Writes a nested dict of arrays, Tensors, NumPy scalars (as 0-d arrays), int, float, str, bool and None.

    Arrays and Tensors may be on any device; `load` gives NumPy arrays. The file at `path` is replaced in one step:
    whenever the process is killed, either the old or the new one is there. TypeError, before anything is written, for
    any other leaf, and for keys that hold "/" or are not strings.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: cannot write {path.name}: there is no folder {path.parent}")
    arrays: dict[str, np.ndarray] = {}
    tree = _split(state, (), arrays)
    metadata = {"format": FORMAT, "version": VERSION, "tree": json.dumps(tree)}
    _replace(path, safetensors.numpy.save(arrays, metadata))


def _split(node: Any, keys: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    """`node` as JSON takes it, with each array moved to `arrays` and its name, in a list, in its place."""
    where = SEPARATOR.join(keys)
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str) or SEPARATOR in key or (not keys and key == "__metadata__"):
                place = f"in {where!r}" if keys else "at the top (where '__metadata__' is taken)"
                raise TypeError(f"save: needs keys that are strings without {SEPARATOR!r}, got {key!r} {place}")
        return {key: _split(value, (*keys, key), arrays) for key, value in node.items()}
    if not keys:
        raise TypeError(f"save: the state must be a dict, got {type(node).__name__}")
    if isinstance(node, Tensor) or on_gpu(node):
        node = to_device(node.data if isinstance(node, Tensor) else node, "cpu")
    if isinstance(node, (np.ndarray, np.generic)):
        dtype = node.dtype.newbyteorder("=")
        if dtype not in DTYPES:
            names = ", ".join(np.dtype(d).name for d in DTYPES)
            raise TypeError(f"save: {where!r} has dtype {dtype}, which cannot be stored; convert it to one of {names}")
        arrays[where] = np.asarray(node, dtype, order="C")  # safetensors copies raw memory
        return [where]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise TypeError(
        f"save: {where!r} is of type {type(node).__name__}; needs arrays, Tensors, int, float, str, bool, "
        "None, or dicts of them (a list can be stored as a dict with the keys '0', '1', ...)"
    )


def _replace(path: Path, content: bytes) -> None:
    """Writes by way of a temporary file beside `path`: a rename is atomic, a write is not."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the rename could reach the disk before the content
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """What `save` wrote, arrays as NumPy arrays; from any other safetensors file, a flat dict of its arrays.

    CheckpointError if the file is missing, cut off, or no safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise CheckpointError(f"load: cannot open {path} ({error}); needs a safetensors file") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"load: {path} is not a whole safetensors file ({error}); it was cut off, or is in another format"
        ) from error
    except TypeError as error:
        raise CheckpointError(f"load: {path} holds arrays of a type that NumPy lacks ({error})") from error
    if metadata.get("format") != FORMAT:
        return arrays
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"load: {path} is in version {metadata.get('version')} of the minigen format, this one reads "
            f"version {VERSION}: install the minigen that wrote it"
        )
    try:
        return _join(json.loads(metadata["tree"]), arrays)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"load: the metadata of {path} does not fit its arrays ({error!r})") from error


def _join(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `_split`."""
    if isinstance(node, dict):
        return {key: _join(value, arrays) for key, value in node.items()}
    return arrays[node[0]] if isinstance(node, list) else node
