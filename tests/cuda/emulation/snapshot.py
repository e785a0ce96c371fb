"""Write cupy_api.json: every public name of the real cupy with its signature. Needs no GPU, only the wheel."""

import inspect, json, re, sys
import cupy


def signature(f):
    try:
        return str(inspect.signature(f))
    except (ValueError, TypeError):
        first = (f.__doc__ or "").strip().split("\n")[0] if callable(f) else ""
        m = re.match(r"^[\w.]*?(\(.*\))", first)  # Cython writes the signature there
        return m[1] if m else ("ufunc" if isinstance(f, cupy.ufunc) else "property" if not callable(f) else "?")


def names(obj):
    return {
        n: signature(getattr(obj, n))
        for n in sorted(dir(obj))
        if not n.startswith("_") and not inspect.ismodule(getattr(obj, n))
    }


class_of = lambda c: {
    n: ("property" if not callable(getattr(c, n)) else signature(getattr(c, n)))
    for n in sorted(dir(c))
    if not n.startswith("__")
    or n
    in (
        "__array__",
        "__array_ufunc__",
        "__array_function__",
        "__float__",
        "__len__",
        "__iter__",
        "__matmul__",
        "__dlpack__",
        "__cuda_array_interface__",
    )
}
api = {
    "version": cupy.__version__,
    "cupy": names(cupy),
    "ndarray": class_of(cupy.ndarray),
    "random": names(cupy.random),
    "linalg": names(cupy.linalg),
    "fft": names(cupy.fft),
    "cuda": {n: "" for n in dir(cupy.cuda) if not n.startswith("_")},
    "RawModule": class_of(cupy.RawModule),
    "RawKernel": class_of(cupy.RawKernel),
    "Stream": class_of(cupy.cuda.Stream),
    "Event": class_of(cupy.cuda.Event),
    "Device": class_of(cupy.cuda.Device),
}
json.dump(api, open(sys.argv[1], "w"), indent=0)
print(
    {k: len(v) for k, v in api.items()},
    "without signature:",
    sum(s == "?" for k in ("cupy", "ndarray", "RawModule", "RawKernel") for s in api[k].values()),
)
