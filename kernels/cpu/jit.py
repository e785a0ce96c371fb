"""How the CPU kernels are compiled, and how their work is shared out over threads.

A parallel kernel is written as the work of one *part*:

    @parallel_kernel
    def _scale(part, parts, x, factor):
        for i in range(share(x.size, part, parts), share(x.size, part + 1, parts)):
            x[i] *= factor

    _scale(x.size, x, np.float32(2))        # the first number says how much work it is

The call compiles the body for these dtypes and ranks (once; the machine code is kept on disk), and then lets every
thread take parts until none is left. Which thread takes which part is chance, so a part may write only what is its
own: results do not depend on the number of threads.

Numba's own `prange` would compile each body twice, once as a part of the loop around it. Here that loop is compiled
once for all kernels: it calls the body, which it knows only by its address, through a trampoline:

    _call(address, ...)  ->  _run: prange over the threads  ->  trampoline: while a part is left, body(part, ...)
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# An idle thread stays awake for some 0.1 ms, since waking it takes as long as a small kernel, and then sleeps. A
# training step of the digits' U-Net takes 67 ms; 76 if it sleeps five times sooner, 86 if at once. Next to another busy
# process on two cores it is the other way round: 210, 155, 143. OpenMP's default is to stay awake for milliseconds.
# Read when OpenMP is first loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.np.ufunc.parallel import _launch_threads

# Its first argument, the typing context, is not for the caller to give: type checkers do not know that.
intrinsic: Any = numba_intrinsic

# ---- the machine code on disk --------------------------------------------------------------------------


def _forget_stale_code() -> None:
    """Deletes the machine code that Numba kept if any file here, or the compiler, has changed since.

    Numba itself looks only at the file that a kernel stands in, not at those whose functions it calls. (With
    NUMBA_CACHE_DIR the code is elsewhere: empty that folder yourself after changing a kernel.)
    """
    folder = Path(__file__).parent
    stamp = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for source in sorted(folder.glob("*.py")):
        stamp.update(source.read_bytes())
    cache = folder / "__pycache__"
    written = cache / "kernels.stamp"
    try:
        if not written.exists() or written.read_text() != stamp.hexdigest():
            for file in cache.glob("*.nb[ic]"):
                file.unlink(missing_ok=True)
            cache.mkdir(exist_ok=True)
            written.write_text(stamp.hexdigest())
    except OSError:
        pass  # a read-only installation, which does not change either


_forget_stale_code()

# Multiplications and additions may be fused and sums reordered, which vectorises them; nan and inf still propagate.
# A division by zero gives inf or nan, as in NumPy.
_options = dict(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})

# A function that kernels call. It makes no arrays, so that Numba need not count who holds those it gets: a count is an
# atomic operation, for which the threads would wait for each other.
kernel_part = partial(njit, _nrt=False, **_options)

# One that makes arrays, as the bodies of kernels may.
allocating_part = partial(njit, **_options)

# ---- threads -------------------------------------------------------------------------------------------

_config: Any = numba.config
_threads: int = _config.NUMBA_NUM_THREADS

SMALL = 2**16  # numbers moved, or 16 multiply-adds each, in the time that it takes to involve another thread
PARTS_PER_THREAD = 4  # so that a thread which is held up leaves its share to the others


def set_num_threads(n: int) -> None:
    """How many threads a kernel may use from now on; results are the same for any number."""
    global _threads
    most = _config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"set_num_threads: needs an int, got {type(n).__name__} {n!r}")
    if not 1 <= n <= most:
        raise ValueError(f"set_num_threads: needs 1 to {most} (the machine's cores, or NUMBA_NUM_THREADS); got {n}")
    _threads = int(n)


def get_num_threads() -> int:
    return _threads


@kernel_part()
def share(n, part, parts):
    """Where the part's share of n things begins; it ends where the next part's begins."""
    return n * part // parts


# ---- parallel kernels ----------------------------------------------------------------------------------


class ParallelKernel:
    """See the top of this file. `PARTS_PER_THREAD` parts for each thread, unless `parts` says otherwise."""

    def __init__(self, body: Callable):
        self.name = body.__name__
        self.body: Any = allocating_part(body)
        self.addresses: dict[bytes, int] = {}  # of the compiled bodies, by the arguments' types as Numba writes them

    def __call__(self, work: int, *arguments: Any, parts: int | None = None) -> None:
        """Runs the body for all parts. `work` decides whether it is worth more than one thread."""
        fingerprint = compute_fingerprint(arguments)
        address = self.addresses.get(fingerprint) or self._compile(fingerprint, arguments)
        threads = 1 if work < SMALL else _threads
        if parts is None:
            parts = 1 if threads == 1 else threads * PARTS_PER_THREAD
        if _call(address, threads, parts, arguments):
            raise MemoryError(f"{self.name}: there is no memory for the scratch arrays of a part")

    def _compile(self, fingerprint: bytes, arguments: tuple) -> int:
        if any(isinstance(a, np.ndarray) and not a.flags.carray for a in arguments):
            raise TypeError(f"{self.name}: kernels take contiguous writable arrays only")
        signature = (types.intp, types.intp, *[numba.typeof(a) for a in arguments])
        _launch_threads()  # Numba forgets to where `_call` comes from disk: it is `_run`, within it, that needs them
        _announce(self.body)
        self.body.compile(signature)
        compiled = self.body.overloads[signature]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        self.addresses[fingerprint] = address
        return address


def parallel_kernel(body: Callable) -> ParallelKernel:
    return ParallelKernel(body)


_announced = False


def _announce(body: Any) -> None:
    """Says once on the terminal that kernels are being compiled, when one is that is not on disk."""
    global _announced
    cached = Path(body.stats.cache_path) if body.stats.cache_path else None
    name = f"{body.py_func.__module__.rpartition('.')[2]}.{body.py_func.__name__}-"
    if not _announced and (cached is None or not any(cached.glob(f"{name}*.nbi"))):
        _announced = True
        print("minigen: compiling kernels for this machine; this takes up to a minute, once", file=sys.stderr)


@intrinsic
def _trampoline(typing, address, parts, arguments):
    """(trampoline, shared), two addresses: the trampoline called with `shared` takes parts and runs the body that is at
    `address` for each, until none is left. All threads share {whether a part failed, the next part, parts, address,
    arguments}."""

    def write(context, builder, signature, values):
        address, parts, packed = values
        i64 = ir.IntType(64)
        body_types = (types.intp, types.intp, *signature.args[2].types)
        body_type = context.call_conv.get_function_type(types.none, body_types)
        shared_type = ir.LiteralStructType([i64, i64, i64, i64, packed.type])

        for i, kind in enumerate(signature.args[2].types):  # nor need the body count who holds its arguments
            if isinstance(kind, types.Array):
                packed = builder.insert_value(packed, ir.Constant(packed.type.elements[i].elements[0], None), (i, 0))
        shared = cgutils.alloca_once(builder, shared_type)
        for field, value in enumerate((i64(0), i64(0), parts, address, packed)):
            builder.store(value, cgutils.gep_inbounds(builder, shared, 0, field))

        function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [i64]), f"{builder.function.name}.parts")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        fields = b.inttoptr(function.args[0], shared_type.as_pointer())
        failed, next_part, *others = [cgutils.gep_inbounds(b, fields, 0, field) for field in range(5)]
        count, body, packed = [b.load(field) for field in others]
        body = b.inttoptr(body, body_type.as_pointer())
        unpacked = [b.extract_value(packed, i) for i in range(len(body_types) - 2)]
        take, run, end = [function.append_basic_block(name) for name in ("take", "run", "end")]
        b.branch(take)
        b.position_at_end(take)
        part = b.atomic_rmw("add", next_part, i64(1), "monotonic")
        b.cbranch(b.icmp_signed("<", part, count), run, end)
        b.position_at_end(run)
        status, _ = context.call_conv.call_function(b, body, types.none, body_types, [part, count, *unpacked])
        with b.if_then(status.is_error):
            b.atomic_rmw("xchg", failed, i64(1), "monotonic")
        b.branch(take)
        b.position_at_end(end)
        b.ret_void()

        addresses = [builder.ptrtoint(pointer, i64) for pointer in (function, shared)]
        return context.make_tuple(builder, signature.return_type, addresses)

    return types.UniTuple(types.intp, 2)(types.intp, types.intp, arguments), write


@intrinsic
def _jump(typing, trampoline, shared):
    """Calls the function at the address `trampoline` with `shared`."""

    def write(context, builder, signature, values):
        function_type = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(values[0], function_type.as_pointer()), [values[1]])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), write


@intrinsic
def _number_at(typing, address):
    """The 64-bit integer at an address."""

    def write(context, builder, signature, values):
        return builder.load(builder.inttoptr(values[0], ir.IntType(64).as_pointer()))

    return types.intp(types.intp), write


@njit(parallel=True, cache=True, nogil=True)
def _run(trampoline, shared, threads):
    for _ in prange(threads):
        _jump(trampoline, shared)


@njit(cache=True, nogil=True)
def _call(address, threads, parts, arguments):
    trampoline, shared = _trampoline(address, parts, arguments)
    if threads == 1:
        _jump(trampoline, shared)
    else:
        _run(trampoline, shared, threads)
    return _number_at(shared)
