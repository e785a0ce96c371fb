"""cupy.ndarray of the stand-in: a NumPy array that nobody can reach but through what the real class offers."""

import weakref
from typing import NamedTuple

import numpy as np

from . import real_cupy

# What costs time on a real GPU: launches, bytes that cross to it and back, waits of the CPU for it.
stats = {"launches": 0, "host_to_device": 0, "device_to_host": 0, "syncs": 0}

devices = [0]  # what the current device is, last, and what it was around each `with Device(...)` that we are in


# Address: the NumPy array that owns the memory there, while it lives. Kernels find it through tables of addresses.
allocations = weakref.WeakValueDictionary()


def unwrap(x):
    """NumPy's arrays for those of the stand-in, also within tuples, lists and slices; TypeError for a host array, and
    ValueError for one on another device than the current one, as where no GPU can reach another's memory."""
    if isinstance(x, ndarray):
        if x._device != devices[-1]:
            raise ValueError(f"The array is on device {x._device}, the current device is {devices[-1]}")
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (tuple, list)):
        return type(x)(unwrap(item) for item in x)
    if isinstance(x, slice):
        return slice(unwrap(x.start), unwrap(x.stop), unwrap(x.step))
    return x


def wrap(x):
    """The stand-in's arrays for NumPy's. What NumPy gives as a scalar is a 0-d array, and stays on the device; what it
    gives back as it was given is the same array here."""
    if isinstance(x, (np.ndarray, np.generic)):
        known = _owners.get(id(x))
        return ndarray._of(np.asarray(x)) if known is None else known
    if isinstance(x, (tuple, list)):
        return type(x)(wrap(item) for item in x)
    return x


def call(scope, name, function, args, kwargs, self=()):
    """NumPy's function in the place of the real one's."""
    real_cupy.check_call(scope, name, (*self, *args), kwargs)
    kwargs = {key: unwrap(value) for key, value in kwargs.items() if key != "blocking"}
    with np.errstate(all="ignore"):  # a GPU does not warn
        unwrap(self)
        return wrap(function(*unwrap(args), **kwargs))


def poisoned(array):
    """New memory, full of NaN or the largest number, so that what was never written shows."""
    kind = array.dtype.kind
    array.fill(np.nan if kind in "fc" else True if kind == "b" else np.iinfo(array.dtype).max)
    return array


_owners = weakref.WeakValueDictionary()  # by the identity of a NumPy array that owns its memory: the array here


class Flags(NamedTuple):
    """All the flags that the real one has."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool

    @property
    def fnc(self):
        return self.f_contiguous and not self.c_contiguous

    @property
    def forc(self):
        return self.f_contiguous or self.c_contiguous


class _Memory:
    """cupy.cuda.MemoryPointer: where an array begins."""

    def __init__(self, host):
        self.ptr, self._host = host.ctypes.data, host

    def array(self, shape, dtype):
        """The numbers in order from here on, which must lie in memory that was allocated."""
        owner = self._host
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        host = np.lib.stride_tricks.as_strided(self._host, shape, np.empty(shape, dtype).strides)
        low, high = np.lib.array_utils.byte_bounds(owner)
        if dtype != self._host.dtype or (host.size and not low <= self.ptr <= self.ptr + host.nbytes <= high):
            raise RuntimeError(f"an array of {shape} {dtype} does not fit the memory at {self.ptr:#x}")
        return host


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if strides is not None:
            raise NotImplementedError("the stand-in for CuPy takes no strides")
        self._hold(memptr.array(shape, dtype) if memptr else poisoned(np.empty(shape, dtype, order)))

    def _hold(self, host):
        self._host = owner = host
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.size:
            allocations[owner.ctypes.data] = owner
        if owner is host:
            _owners[id(host)] = self
        self.base = None if owner is host else wrap(owner)  # a view holds what it is a view of
        self._device = devices[-1] if self.base is None else self.base._device

    @classmethod
    def _of(cls, host):
        if host.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {host.dtype}")
        self = object.__new__(cls)
        self._hold(host)
        return self

    # ---- to the host and back: never unasked ------------------------------------------------------------------------
    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        stats["device_to_host"] += self.nbytes
        stats["syncs"] += blocking
        if out is None:
            return np.array(self._host, order=order)
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (arr.dtype, arr.shape) != (self.dtype, self.shape):
            raise ValueError("Shape or dtype mismatch")
        stats["host_to_device"] += arr.nbytes
        if stream is None:
            self._host[...] = arr
        else:
            stream._postpone(lambda: np.copyto(self._host, arr))

    def item(self):
        stats["syncs"] += 1
        return self._host.item()

    def tolist(self):
        stats["syncs"] += 1
        return self._host.tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.item().__index__()

    def __bool__(self):
        stats["syncs"] += 1
        return bool(self._host)

    def __repr__(self):
        return repr(self._host)

    def __format__(self, spec):
        return format(self.get(), spec)

    # ---- on the device ----------------------------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if method != "__call__" or not real_cupy.has("cupy", ufunc.__name__):
            return NotImplemented
        if out is not None:
            kwargs["out"] = out[0]
        return call("cupy", ufunc.__name__, ufunc, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        if not real_cupy.has("cupy", function.__name__):
            return NotImplemented
        if function in (np.shape, np.ndim, np.size):  # which ask no GPU
            return function(args[0]._host, *args[1:], **kwargs)
        return call("cupy", function.__name__, function, args, kwargs)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        index = unwrap(index)
        part = self._host[index]
        if not np.may_share_memory(part, self._host):  # a view is made without a GPU
            unwrap(self)
        if isinstance(part, np.generic):  # where NumPy gives a scalar, CuPy gives a view without axes
            part = self._host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return wrap(part)

    def __setitem__(self, index, value):
        if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim):
            raise TypeError(f"Unsupported type {type(value)}")
        unwrap(self)[unwrap(index)] = value if isinstance(value, np.ndarray) else unwrap(value)

    @property
    def shape(self):
        return self._host.shape

    @shape.setter
    def shape(self, value):
        self._host.shape = value

    @property
    def flags(self):
        host = self._host.flags
        return Flags(host.c_contiguous, host.f_contiguous, self.base is None)

    @property
    def T(self):
        return wrap(self._host.T)

    @property
    def data(self):
        return _Memory(self._host)

    @property
    def device(self):
        from .fake_cuda import Device

        return Device(self._device)

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._host.ctypes.data, False),
            "version": 3,
            "strides": None if self._host.flags.c_contiguous else self._host.strides,
        }

    def __getattr__(self, name):
        """What else the real class has, and NumPy's too."""
        if not real_cupy.has("ndarray", name):
            raise AttributeError(f"'cupy.ndarray' object has no attribute '{name}'")
        attribute = getattr(self._host, name)
        if not callable(attribute):
            return wrap(attribute) if isinstance(attribute, np.ndarray) else attribute
        return lambda *args, **kwargs: call("ndarray", name, attribute, args, kwargs, self=(self,))


def _operator(name):
    numpys = getattr(np.ndarray, name)

    def method(self, *others):
        # a 0-d host array is taken for a scalar, as by the real one
        others = [o if isinstance(o, np.ndarray) and not o.ndim else unwrap(o) for o in others]
        with np.errstate(all="ignore"):
            result = numpys(unwrap(self), *others)
        return self if result is self._host else result if result is NotImplemented else wrap(result)

    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
_REFLECTED_AND_IN_PLACE = [prefix + name for name in _BINARY for prefix in "ri"]
for _name in (*_BINARY, *_REFLECTED_AND_IN_PLACE, "lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
