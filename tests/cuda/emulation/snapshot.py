"""Writes cupy_api.json, the names and signatures of the real CuPy, or (--check) compares. Needs the wheel, no GPU.

python -m tests.cuda.emulation.snapshot [--check]
"""

import inspect
import json
import re
import sys

from .real_cupy import API, PATH

SPECIAL = {
    *("__array__", "__array_ufunc__", "__array_function__", "__cuda_array_interface__", "__dlpack__"),
    *("__float__", "__int__", "__index__", "__bool__", "__len__", "__iter__", "__matmul__", "__init__"),
}


def signature(value):
    """As text: of inspect, or, for what is compiled, of the first line of its documentation."""
    if not callable(value):
        return "property"
    try:
        return str(inspect.signature(value))
    except (ValueError, TypeError):
        written = re.match(r"[\w.]*?(\(.*\))", (value.__doc__ or "").strip().partition("\n")[0])
        return written[1] if written else "?"


def names(scope):
    """{name: signature} of what is public in a module or class."""
    public = [n for n in dir(scope) if not n.startswith("_") or (n in SPECIAL and isinstance(scope, type))]
    members = {name: getattr(scope, name) for name in public}
    return {name: signature(member) for name, member in members.items() if not inspect.ismodule(member)}


def api():
    import cupy

    return {
        "version": cupy.__version__,
        "cupy": names(cupy),
        "random": names(cupy.random),
        "linalg": names(cupy.linalg),
        "fft": names(cupy.fft),
        "cuda": names(cupy.cuda),
        "runtime": {n: s for n, s in names(cupy.cuda.runtime).items() if s != "property"},
        "ndarray": names(cupy.ndarray),
        "RawModule": names(cupy.RawModule),
        "RawKernel": names(cupy.RawKernel),
        "Stream": names(cupy.cuda.Stream),
        "Event": names(cupy.cuda.Event),
        "Device": names(cupy.cuda.Device),
        "MemoryPool": names(cupy.cuda.MemoryPool),
        "PinnedMemoryPool": names(cupy.cuda.PinnedMemoryPool),
    }


def differences(real, stored):
    """What the real CuPy has otherwise than cupy_api.json, a line each."""
    for scope in sorted({*real, *stored} - {"version"}):
        there, here = real.get(scope, {}), stored.get(scope, {})
        for name in sorted({*there, *here}):
            if there.get(name) != here.get(name):
                yield f"{scope}.{name}: CuPy has {there.get(name)}, cupy_api.json {here.get(name)}"


def main():
    real = api()
    if "--check" in sys.argv:
        found = list(differences(real, API))
        print(
            *found,
            f"cupy_api.json (CuPy {API['version']}) against CuPy {real['version']}: {len(found)} differ",
            sep="\n",
        )
        return 1 if found else 0
    PATH.write_text(json.dumps(real, indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
