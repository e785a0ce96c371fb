"""What the tests of single examples share."""

import importlib

import pytest

from .small import ROOT


@pytest.fixture
def load_example(monkeypatch):
    """Imports an example by its name, with `common` and `run` beside it, as Python does for a script."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module
