"""Hypothesis: no deadlines, since a first call may compile kernels; the same examples every time in CI."""

import os

from hypothesis import settings

settings.register_profile("minigen", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "minigen")
