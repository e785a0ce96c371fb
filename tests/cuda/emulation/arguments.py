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


def array_ranges(codes, values):
    """The memory of the arrays among the arguments; where arrays overlap, what either allows."""
    ranges = []
    for i, (code, value) in enumerate(zip(codes, values)):
        if code.endswith("*") and isinstance(value, np.ndarray) and value.size:
            begin, end = np.lib.array_utils.byte_bounds(value)
            ranges.append(Range(begin, end, b"argument %d" % i, code[0] == "m", False, min(4, value.itemsize)))
    ranges.sort(key=lambda r: r.begin)
    apart = []
    for r in ranges:
        if apart and r.begin < apart[-1].end:
            before = apart[-1]
            before.end, before.writable = max(before.end, r.end), before.writable or r.writable
            before.grain = min(before.grain, r.grain)
        else:
            apart.append(r)
    return apart
