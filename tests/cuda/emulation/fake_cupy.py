"""A strict stand-in for cupy on a machine without a GPU. `sys.modules["cupy"] = fake_cupy.install()`.

Arrays live in a private NumPy array. What the real one refuses is refused: implicit conversion to NumPy, NumPy
arrays as operands, names and keywords that the real module does not have (cupy_api.json, written from the real
wheel by snapshot.py), object dtypes. Kernels run through the emulator, whose checks are stricter than a GPU's:
argument count, types, sizes, bounds, races, contiguity. Stricter is fine here; laxer would be a bug.
"""

import inspect, json, math, os, pathlib, sys, types, weakref
import numpy as np
from . import emulator as emu

API = json.loads((pathlib.Path(__file__).parent / "cupy_api.json").read_text())
MODE = os.environ.get("EMU_MODE", "check")
schedule_seed = 0  # in which order threads run: see emulator.py
POISON = True  # empty() holds NaN / large values, not zeros
stats = {"launches": 0, "host_to_device": 0, "device_to_host": 0, "syncs": 0, "kernels": {}}


def _real_signature(text):
    try:
        scope = {}
        exec(f"def f{text.replace(chr(92), '').replace('<no value>', 'None')}: pass", scope)
        return inspect.signature(scope["f"])
    except SyntaxError:
        return None


SIGNATURES = {
    k: {n: _real_signature(s) if s.startswith("(") else None for n, s in API[k].items()}
    for k in ("cupy", "ndarray", "linalg", "fft")
}


def _unwrap(x, where):
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"{where}: Unsupported type <class 'numpy.ndarray'>")  # the real one's words
    if isinstance(x, (tuple, list)):
        return type(x)(_unwrap(i, where) for i in x)
    if isinstance(x, slice):
        return slice(*(_unwrap(i, where) for i in (x.start, x.stop, x.step)))
    return x


def _wrap(x):
    if isinstance(x, np.ndarray):
        return ndarray._from(x)
    if isinstance(x, np.generic):  # reductions stay on the device, as 0-d arrays
        return ndarray._from(np.asarray(x))
    if isinstance(x, (tuple, list)):
        return type(x)(_wrap(i) for i in x)
    return x


def _call(kind, name, f, args, kwargs, drop_self=False):
    s = SIGNATURES[kind].get(name)
    if s is not None:
        try:
            s.bind(*((None,) if drop_self else ()), *args, **kwargs)
        except TypeError as e:
            raise TypeError(f"cupy{'.ndarray' * (kind == 'ndarray')}.{name}{s}: {e}") from None
    where = f"cupy.{name}"
    if (
        kind == "cupy"
        and args
        and isinstance(args[0], list)
        and args[0]
        and all(isinstance(v, (int, float)) for v in args[0])
    ):
        raise TypeError(f"{where}: Unsupported type <class 'list'>")
    with np.errstate(all="ignore"):  # a device never warns
        return _wrap(f(*_unwrap(args, where), **{k: _unwrap(v, where) for k, v in kwargs.items() if k != "blocking"}))


_allocations = weakref.WeakValueDictionary()  # address: the NumPy array that owns the memory there, while it lives


def _recorded(a):
    """a itself; kernels may from now on find its memory through a table of addresses."""
    owner = a
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if owner.size:
        _allocations[owner.ctypes.data] = owner
    return a


class _Memory:
    def __init__(self, a):
        self.ptr, self._a = a.ctypes.data, a


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        self._a = _recorded(_poisoned(np.empty(shape, dtype, order)))

    @classmethod
    def _from(cls, a):
        if a.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {a.dtype}")
        self = object.__new__(cls)
        self._a = _recorded(a)
        return self

    # -- what must go through get() ------------------------------------------------------------------
    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        stats["device_to_host"] += self._a.nbytes
        if out is not None:
            out[...] = self._a
            return out
        return np.array(self._a, order=order)

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("Shape or dtype mismatch")
        stats["host_to_device"] += arr.nbytes
        self._a[...] = arr

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or ufunc.__name__ not in API["cupy"]:
            return NotImplemented
        out = kwargs.pop("out", None)
        if out:
            kwargs["out"] = out[0]
        return _call("cupy", ufunc.__name__, ufunc, inputs, kwargs)

    def __array_function__(self, func, types, args, kwargs):
        if func.__name__ not in API["cupy"]:
            return NotImplemented
        return _call("cupy", func.__name__, func, args, kwargs)

    # -- host scalars: allowed, but each is a synchronisation ------------------------------------------
    def item(self):
        stats["syncs"] += 1
        return self._a.item()

    def tolist(self):
        stats["syncs"] += 1
        return self._a.tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        stats["syncs"] += 1
        return bool(self._a)

    def __index__(self):
        return self.item().__index__()

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"{self._a!r}"

    def __format__(self, spec):
        return format(self.get(), spec)

    def __eq__(self, o):
        return _wrap(self._a == (o._a if isinstance(o, ndarray) else o))

    def __getitem__(self, k):
        return _wrap(self._a[_unwrap(k, "__getitem__")])

    def __setitem__(self, k, v):
        if isinstance(v, (list, np.ndarray)) and not (isinstance(v, np.ndarray) and v.ndim == 0):
            raise TypeError("cupy: assign a cupy array or a scalar")
        self._a[_unwrap(k, "__setitem__")] = _unwrap(v, "__setitem__")

    shape = property(lambda s: s._a.shape, lambda s, v: setattr(s._a, "shape", v))
    data = property(lambda s: _Memory(s._a))
    device = property(lambda s: cuda.Device(0))
    T = property(lambda s: _wrap(s._a.T))
    flat = property(lambda s: s.ravel())
    __cuda_array_interface__ = property(
        lambda s: {
            "shape": s.shape,
            "typestr": s._a.dtype.str,
            "data": (s._a.ctypes.data, False),
            "version": 3,
            "strides": None if s._a.flags.c_contiguous else s._a.strides,
        }
    )

    def __getattr__(self, name):  # everything the real class has and NumPy can do
        if name.startswith("__") or name not in API["ndarray"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute '{name}'")
        a = getattr(self._a, name)
        if not callable(a):
            return _wrap(a) if isinstance(a, np.ndarray) else a
        return lambda *args, **kwargs: _call("ndarray", name, a, args, kwargs, drop_self=True)


def _operator(op, reflected=False):
    f = getattr(np.ndarray, op)

    def method(self, other=None, *rest):
        if isinstance(other, np.ndarray) and other.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        with np.errstate(all="ignore"):
            r = f(self._a, other._a if isinstance(other, ndarray) else other) if other is not None else f(self._a)
        if op.startswith("__i") and op not in ("__invert__",):
            return self
        return r if r is NotImplemented else _wrap(r)

    return method


for _op in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _prefix in ("", "r", "i"):
        if hasattr(np.ndarray, f"__{_prefix}{_op}__"):
            setattr(ndarray, f"__{_prefix}{_op}__", _operator(f"__{_prefix}{_op}__"))
for _op in "lt le gt ge eq ne neg pos abs invert".split():
    setattr(ndarray, f"__{_op}__", _operator(f"__{_op}__"))


def _poisoned(a):
    if POISON and a.size:
        a.fill(np.nan if a.dtype.kind in "fc" else True if a.dtype.kind == "b" else np.iinfo(a.dtype).max)
    return a


# -- kernels ------------------------------------------------------------------------------------------
class RawKernel:
    def __init__(
        self,
        code,
        name,
        options=(),
        backend="nvrtc",
        *,
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        jitify=False,
        _module=None,
    ):
        if not isinstance(options, tuple):
            raise TypeError("Expected tuple for options")
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self.max_dynamic_shared_size_bytes = 48 * 1024
        self._module = _module or RawModule(code=code, options=options)

    def __call__(self, grid, block, args, *, shared_mem=0):
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError("grid and block must be tuples")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError(
                f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of dynamic shared memory; set kernel.max_dynamic_shared_size_bytes first"
            )
        if shared_mem > 227 * 1024:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: more than any device has")
        m = self._module._compiled()
        native = []
        for i, a in enumerate(args):
            if isinstance(a, ndarray):
                if not a._a.flags.c_contiguous:
                    raise ValueError(f"{self.name} argument {i}: not C-contiguous (a kernel sees only the pointer)")
                a = a._a
            elif isinstance(a, np.ndarray) and a.dtype.names is None:
                raise TypeError(f"{self.name} argument {i}: a host array")
            elif type(a) is int:
                a = np.int64(a)  # as the real one converts, and so as easily wrong
            elif type(a) is float:
                a = np.float64(a)
            native.append(a)
        allocations = list(_allocations.values())
        s = m.launch(self.name, grid, block, tuple(native), shared_mem, schedule_seed, allocations)
        stats["launches"] += 1
        stats["kernels"][self.name] = s.as_dict()

    def compile(self, log_stream=None):
        self._module.compile()


class RawModule:
    def __init__(
        self,
        *,
        code=None,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=False,
    ):
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if path is not None:
            raise NotImplementedError("fake cupy: give code=, not a cubin or ptx")
        if not isinstance(options, tuple):
            raise TypeError("Expected tuple for options")
        self.code, self.options, self.backend, self.name_expressions = code, options, backend, name_expressions
        self._m = None

    def _compiled(self):
        if self._m is None:  # keep -D and -I; the rest is for NVRTC
            self._m = emu.Module(
                code=self.code,
                options=tuple(o for o in self.options if o[:2] in ("-D", "-I")),
                name_expressions=self.name_expressions or (),
                mode=MODE,
            )
        return self._m

    def compile(self, log_stream=None):
        self._compiled()

    def get_function(self, name):
        if name not in self._compiled().symbols:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self.code, name, self.options, _module=self)


class _Null:
    def __init__(self, *a, **k):
        self.ptr = 0

    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass

    def synchronize(self):
        stats["syncs"] += 1

    def record(self, stream=None):
        pass

    def use(self):
        pass


class _Device(_Null):
    def __init__(self, device=0):
        pass

    compute_capability, id, mem_info, attributes = "80", 0, (1 << 33, 1 << 33), {"MultiProcessorCount": 4}


cuda = types.SimpleNamespace(
    Stream=type("Stream", (_Null,), {"null": _Null()}),
    Event=_Null,
    Device=_Device,
    is_available=lambda: True,
    get_current_stream=lambda: cuda.Stream.null,
    get_elapsed_time=lambda a, b: 0.0,
    runtime=types.SimpleNamespace(
        deviceSynchronize=lambda: stats.__setitem__("syncs", stats["syncs"] + 1),
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        CUDARuntimeError=RuntimeError,
    ),
)


# -- module functions ----------------------------------------------------------------------------------
def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def array(a, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(a, np.ndarray):
        stats["host_to_device"] += a.nbytes
    if isinstance(a, (list, tuple)):
        a = type(a)(x._a if isinstance(x, ndarray) else x for x in a)
    return ndarray._from(np.array(a._a if isinstance(a, ndarray) else a, dtype=dtype, order=order, ndmin=ndmin))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return (
        a
        if isinstance(a, ndarray) and dtype in (None, a.dtype) and order in (None, "K")
        else array(a, dtype, order=order or "K")
    )


def ascontiguousarray(a, dtype=None):
    return _wrap(np.ascontiguousarray(_unwrap(a, "ascontiguousarray"), dtype))


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return ndarray._from(_poisoned(np.empty_like(prototype._a, dtype, order, shape=shape)))


def get_array_module(*args):
    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in args) else np


def get_default_memory_pool():
    return types.SimpleNamespace(used_bytes=lambda: 0, free_all_blocks=lambda: None, total_bytes=lambda: 0)


def __getattr__(name):  # the rest: NumPy's, if the real cupy has the name
    if name.startswith("__") or name not in API["cupy"]:
        raise AttributeError(f"module 'cupy' has no attribute '{name}'")
    f = getattr(np, name)
    if not callable(f) or isinstance(f, type):
        return f
    g = lambda *args, **kwargs: _call("cupy", name, f, args, kwargs)
    g.__name__ = name
    return g


def install():
    me = sys.modules[__name__]
    sys.modules["cupy"] = me
    return me
