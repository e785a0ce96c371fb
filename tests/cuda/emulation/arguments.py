"""A kernel's arguments: NumPy values as its C++ parameters take them, and which memory it may touch.

Parameters are told by kernel_entry.h: 'i4' for int, 'f8' for double, 'x24' for a struct of 24 bytes, 'cf4*' for
const float* (and const float4*), 'mu1*' for unsigned char*.
"""

import ctypes

import numpy as np


class Range(ctypes.Structure):
    """Range of checker.h."""

    _fields_ = [
        ("begin", ctypes.c_size_t),
        ("end", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("writable", ctypes.c_int),
        ("shared", ctypes.c_int),
        ("grain", ctypes.c_int),
    ]


def cell(what, code, value):
    """A C object that holds the argument; TypeError unless it is exactly what the parameter takes."""
    if code.endswith("*"):
        if isinstance(value, np.uint64) and value == 0:
            return ctypes.c_void_p(0)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{what} must be an array for {code}, not {type(value).__name__}")
        if code[1] != "x" and _code(value.dtype) != code[1:-1]:
            raise TypeError(f"{what} must be an array for {code}, got one of {value.dtype}")
        return ctypes.c_void_p(value.ctypes.data)
    if code.startswith("x"):
        if not isinstance(value, np.ndarray | np.void) or value.dtype.names is None or value.nbytes != int(code[1:]):
            raise TypeError(f"{what} must be a record of {code[1:]} bytes, got {value!r}")
    elif not isinstance(value, np.generic) or _code(value.dtype) != code:
        raise TypeError(f"{what} must be a NumPy scalar for {code}, got {value!r} ({type(value).__name__})")
    return ctypes.create_string_buffer(value.tobytes())


def _code(dtype):
    return dtype.kind.replace("b", "u") + str(dtype.itemsize)


def array_ranges(codes, values, allocations=()):
    """The memory of the arrays among the arguments; where arrays overlap, what either allows.

    const unsigned long long* is a table of addresses. What it points to among the `allocations`, the arrays that there
    are on the device, may be read and written too.
    """
    ranges = []
    for i, (code, value) in enumerate(zip(codes, values)):
        if code.endswith("*") and isinstance(value, np.ndarray) and value.size:
            ranges.append(_range(value, b"argument %d" % i, code[0] == "m"))
            if code == "cu8*":
                ranges += _pointed_into(value, allocations)
    return _joined(ranges)


def _range(array, name, writable):
    begin, end = np.lib.array_utils.byte_bounds(array)
    return Range(begin, end, name, writable, False, min(4, array.itemsize))


def _pointed_into(table, allocations):
    ranges = sorted((_range(a, b"an array in a table of addresses", True) for a in allocations), key=_begin)
    addresses = table.ravel().tolist()
    at = np.searchsorted([r.begin for r in ranges], addresses, "right") - 1
    return [ranges[i] for i, address in zip(at, addresses) if i >= 0 and address < ranges[i].end]


def _begin(r):
    return r.begin


def _joined(ranges):
    joined = []
    for r in sorted(ranges, key=_begin):
        last = joined[-1] if joined else None
        if last and r.begin < last.end:
            grain = min(last.grain, r.grain)
            joined[-1] = Range(last.begin, max(last.end, r.end), last.name, last.writable or r.writable, False, grain)
        else:
            joined.append(r)
    return joined
