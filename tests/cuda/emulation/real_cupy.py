"""The names and signatures of the real CuPy, from cupy_api.json (which snapshot.py writes where the real one is)."""

import inspect
import json
import re
from functools import cache
from pathlib import Path

PATH = Path(__file__).parent / "cupy_api.json"
API = json.loads(PATH.read_text())
_C_TYPES = re.compile(r"\b(?:str|int|bool|tuple|Py_ssize_t|shape_t|strides_t|_ndarray_base)\s+(?=\w)")


def has(scope, name):
    """Whether `name` is in a module or class of the real one: scope is a key of cupy_api.json."""
    return not name.startswith("__") and name in API[scope]


@cache
def signature(scope, name):
    """The real one's inspect.Signature, or None if the snapshot has none."""
    text = API[scope].get(name, "")
    if not text.startswith("("):
        return None
    namespace = {}
    text = _C_TYPES.sub("", text).replace("\\", "").replace("<no value>", "None")
    exec(f"def f{text}: pass", namespace)
    return inspect.signature(namespace["f"])


def check_call(scope, name, args, kwargs):
    """TypeError if the real one does not take these arguments."""
    real = signature(scope, name)
    if real is not None:
        try:
            real.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"cupy: {scope}.{name}{real}: {error}") from None
