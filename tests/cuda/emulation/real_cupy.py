"""The names and signatures of the real CuPy, from cupy_api.json (which snapshot.py writes where the real one is)."""

import inspect
import json
import re
from functools import cache
from pathlib import Path

PATH = Path(__file__).parent / "cupy_api.json"
API = json.loads(PATH.read_text())

# What is not Python in the text of a signature: C types, defaults that are objects, and a ufunc's star.
_NOT_PYTHON = [(r"\b(?:\w+ )+(?=\w+\s*[,=)])", ""), (r"<[^<>]*>", "None"), (r"\\\*", "*"), (r"\) ->.*", ")")]


def has(scope, name):
    """Whether the real one has a public `name` in a module or class: scope is a key of cupy_api.json."""
    return not name.startswith("_") and name in API[scope]


@cache
def signature(scope, name):
    """The real one's inspect.Signature; None if it does not say, or not in terms of Python."""
    text = API[scope].get(name, "")
    for pattern, replacement in _NOT_PYTHON:
        text = re.sub(pattern, replacement, text)
    namespace = {}
    try:
        exec(f"def f{text}: pass", namespace)
    except (SyntaxError, NameError):
        return None
    return inspect.signature(namespace["f"])


def check_call(scope, name, args, kwargs):
    """TypeError if the real one does not take these arguments."""
    real = signature(scope, name)
    if real is not None:
        try:
            real.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"cupy: {scope}.{name}{real}: {error}") from None
