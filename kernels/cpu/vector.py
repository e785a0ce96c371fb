"""Vectors: as many numbers as fit one of the CPU's vector registers, as a type of Numba's.

    v = load(x, at)                     x[at], x[at + 1], ..., of a flat array: 16 float32 or 8 float64 on AVX-512
    store(x, at, 2 * v + 1)             one instruction for all of them

    for at in range(0, x.size, lanes(x)):                     any length: the last vector is loaded and stored in part
        store_first(y, at, exp(load_first(x, at, x.size - at)), y.size - at)

A loop over numbers is vectorised by the compiler if it can prove that nothing stands in the way, which takes it a long
time and often fails. A loop over vectors says so itself. Each function here is a line or two of LLVM's language; with
a scalar on one side, + - * / turn it into a vector first. a * b + c is one instruction, rounded once.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast, models, overload, register_jitable, register_model

from kernels.cpu.jit import intrinsic, kernel_part, share


def _register_file() -> tuple[int, int]:
    """(bytes in a vector register, number of registers) of this machine, or of the one that Numba writes for."""
    config: Any = numba.config
    if config.CPU_FEATURES is None:
        features = {name for name, present in llvm.get_host_cpu_features().items() if present}
    else:
        features = {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    if "avx512f" in features:
        return 64, 32
    if "avx2" in features:
        return 32, 16
    return 16, 32 if "neon" in features else 16  # NEON, SSE2


VECTOR_BYTES, REGISTERS = _register_file()
_i32, _i64 = ir.IntType(32), ir.IntType(64)
FUSE = ("contract",)  # a * b + c may be rounded once


def lanes(x: np.ndarray) -> int:
    """Numbers in a vector of the array's dtype."""
    return VECTOR_BYTES // x.itemsize


@overload(lanes, inline="always")
def _lanes(x):
    n = VECTOR_BYTES * 8 // x.dtype.bitwidth
    return lambda x: n


@register_jitable
def whole(n: int, unit: int) -> int:
    """n, rounded up to a multiple of the unit."""
    return (n + unit - 1) // unit * unit


@register_jitable
def whole_vectors(x: np.ndarray, n: int) -> int:
    """n, rounded up to whole vectors of the array's dtype."""
    return whole(n, lanes(x))


@kernel_part(inline="always")
def first_of_part(x, part, parts):
    """Where the part's share of the flat array x begins: the shares are whole vectors."""
    return min(x.size, share(-(-x.size // lanes(x)), part, parts) * lanes(x))


# ---- the type ------------------------------------------------------------------------------------------


class VectorType(types.Type):
    """Numba's name for a vector of numbers; of bools for the result of a comparison."""

    def __init__(self, dtype: Any, count: int | None = None):
        self.dtype = dtype
        self.count = VECTOR_BYTES * 8 // dtype.bitwidth if count is None else count
        super().__init__(f"Vector({dtype}, {self.count})")

    @property
    def llvm(self) -> Any:
        number = {types.boolean: ir.IntType(1), types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
        return ir.VectorType(number.get(self.dtype) or ir.IntType(self.dtype.bitwidth), self.count)

    @property
    def suffix(self) -> str:
        """As LLVM's functions spell it: v16f32."""
        return f"v{self.count}{'f' if isinstance(self.dtype, types.Float) else 'i'}{self.dtype.bitwidth}"


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: VectorType):
        super().__init__(manager, vector, vector.llvm)


@lower_cast(types.Number, VectorType)
def _spread(context, builder, source, target, number):
    return broadcast(builder, context.cast(builder, number, source, target.dtype), target.count)


# ---- what writes LLVM, here and in tile.py -------------------------------------------------------------


def broadcast(builder: Any, number: Any, count: int) -> Any:
    """A vector with this number in every lane."""
    nothing = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    one = builder.insert_element(nothing, number, _i32(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_i32, count), [0] * count))


def address_of(context: Any, builder: Any, array_type: Any, array: Any, position: Any, vector: Any = None) -> Any:
    """The address of array[position], or of the vector (its LLVM type) that starts there."""
    here = builder.gep(context.make_array(array_type)(context, builder, array).data, [position])
    return here if vector is None else builder.bitcast(here, vector.as_pointer())


def below(builder: Any, vector: VectorType, n: Any, start: int = 0) -> Any:
    """Which of the lanes start, start + 1, ... are less than n."""
    most = start + vector.count
    n = builder.select(
        builder.icmp_signed("<", n, _i64(most)), n, _i64(most)
    )  # fits 32 bits, of which more fit a vector
    numbers = ir.Constant(ir.VectorType(_i32, vector.count), list(range(start, most)))
    return builder.icmp_signed("<", numbers, broadcast(builder, builder.trunc(n, _i32), vector.count))


def masked_load(builder: Any, vector: VectorType, address: Any, mask: Any) -> Any:
    """The numbers where the mask is set, zeros elsewhere, whose memory is not touched."""
    zeros = ir.Constant(vector.llvm, None)
    return call(builder, f"masked.load.{vector.suffix}.p0", vector.llvm, address, _i32(1), mask, zeros)


def masked_store(builder: Any, vector: VectorType, value: Any, address: Any, mask: Any) -> None:
    call(builder, f"masked.store.{vector.suffix}.p0", ir.VoidType(), value, address, _i32(1), mask)


def call(builder: Any, name: str, result: Any, *arguments: Any, flags: tuple[str, ...] = ()) -> Any:
    """Calls LLVM's own function llvm.name."""
    function_type = ir.FunctionType(result, [a.type for a in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}")
    return builder.call(function, arguments, fastmath=flags)


# ---- memory --------------------------------------------------------------------------------------------


@intrinsic
def load(typing, x, at):
    """The vector that starts at x[at], of a flat array."""
    vector = VectorType(x.dtype)

    def write(context, builder, signature, values):
        return builder.load(
            address_of(context, builder, signature.args[0], values[0], values[1], vector.llvm), align=_align(x)
        )

    return vector(x, types.intp), write


@intrinsic
def load_first(typing, x, at, n):
    """The first n numbers of that vector, then zeros; n may be larger than a vector."""
    vector = VectorType(x.dtype)

    def write(context, builder, signature, values):
        address = address_of(context, builder, signature.args[0], values[0], values[1], vector.llvm)
        return masked_load(builder, vector, address, below(builder, vector, values[2]))

    return vector(x, types.intp, types.intp), write


@intrinsic
def store(typing, x, at, value):
    """Writes the vector `value`, or a number in all lanes of one, to x[at] and after."""
    vector = value if isinstance(value, VectorType) else VectorType(x.dtype)

    def write(context, builder, signature, values):
        address = address_of(context, builder, signature.args[0], values[0], values[1], vector.llvm)
        builder.store(values[2], address, align=_align(x))
        return context.get_dummy_value()

    return types.void(x, types.intp, vector), write


@intrinsic
def store_first(typing, x, at, value, n):
    """Writes the first n of its numbers."""
    vector = value if isinstance(value, VectorType) else VectorType(x.dtype)

    def write(context, builder, signature, values):
        address = address_of(context, builder, signature.args[0], values[0], values[1], vector.llvm)
        masked_store(builder, vector, values[2], address, below(builder, vector, values[3]))
        return context.get_dummy_value()

    return types.void(x, types.intp, vector, types.intp), write


def _prefetch(for_writing: int) -> Any:
    @intrinsic
    def prefetch(typing, x, at):
        """Asks for the cache line of x[at], which need not exist, without waiting for it."""

        def write(context, builder, signature, values):
            line = builder.bitcast(address_of(context, builder, x, *values), ir.IntType(8).as_pointer())
            call(builder, "prefetch.p0", ir.VoidType(), line, _i32(for_writing), _i32(3), _i32(1))
            return context.get_dummy_value()

        return types.void(x, types.intp), write

    return prefetch


prefetch, prefetch_to_write = _prefetch(0), _prefetch(1)


@intrinsic
def add_widened(typing, sums, at, v):
    """sums[at + i] += v[i], in the float64 of the flat array `sums`."""
    wide = VectorType(types.float64, v.count)

    def write(context, builder, signature, values):
        address = address_of(context, builder, signature.args[0], values[0], values[1], wide.llvm)
        addend = values[2] if v.dtype == types.float64 else builder.fpext(values[2], wide.llvm)
        builder.store(builder.fadd(builder.load(address, align=8), addend), address, align=8)
        return context.get_dummy_value()

    return types.void(sums, types.intp, v), write


def _align(x: Any) -> int:
    return x.dtype.bitwidth // 8  # that of a number: a vector may start anywhere


@intrinsic
def spread(typing, x, number):
    """A vector of the dtype of the array x with `number` in every lane."""
    vector = VectorType(x.dtype)
    return vector(x, vector), lambda context, builder, signature, values: values[1]


# ---- arithmetic ----------------------------------------------------------------------------------------


def _operation(function: Any, arguments: int, write: Any, compares: bool = False) -> None:
    """Lets a function of Python's take vectors, or vectors and numbers. write(builder, vector, *values) does it."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, VectorType)]
            fits = [a == vectors[0] or isinstance(a, types.Number) for a in args] if vectors else [False]
            if len(args) == arguments and all(fits):
                v = vectors[0]
                return signature(VectorType(types.boolean, v.count) if compares else v, *[v] * arguments)
            return None

    @lower_builtin(function, *[VectorType] * arguments)
    def _lower(context, builder, signature, values):
        return write(builder, signature.args[0], *values)


def _is_float(vector: VectorType) -> bool:
    return isinstance(vector.dtype, types.Float)


for _add in (operator.add, operator.iadd):
    _operation(_add, 2, lambda b, v, x, y: b.fadd(x, y, flags=FUSE) if _is_float(v) else b.add(x, y))
for _sub in (operator.sub, operator.isub):
    _operation(_sub, 2, lambda b, v, x, y: b.fsub(x, y, flags=FUSE) if _is_float(v) else b.sub(x, y))
for _mul in (operator.mul, operator.imul):
    _operation(_mul, 2, lambda b, v, x, y: b.fmul(x, y, flags=FUSE) if _is_float(v) else b.mul(x, y))
_operation(operator.truediv, 2, lambda b, v, x, y: b.fdiv(x, y, flags=FUSE))
_operation(operator.neg, 1, lambda b, v, x: b.fneg(x) if _is_float(v) else b.neg(x))
_operation(operator.and_, 2, lambda b, v, x, y: b.and_(x, y))
_operation(operator.or_, 2, lambda b, v, x, y: b.or_(x, y))
_operation(operator.xor, 2, lambda b, v, x, y: b.xor(x, y))
_operation(operator.lshift, 2, lambda b, v, x, y: b.shl(x, y))
_operation(operator.rshift, 2, lambda b, v, x, y: b.ashr(x, y) if v.dtype.signed else b.lshr(x, y))


def _comparison(function: Any, sign: str) -> None:
    def write(builder, v, x, y):
        if _is_float(v):
            return builder.fcmp_ordered(sign, x, y) if sign != "!=" else builder.fcmp_unordered(sign, x, y)
        return (builder.icmp_signed if v.dtype.signed else builder.icmp_unsigned)(sign, x, y)

    _operation(function, 2, write, compares=True)


for _compare, _sign in ((operator.lt, "<"), (operator.gt, ">"), (operator.eq, "=="), (operator.ne, "!=")):
    _comparison(_compare, _sign)


@intrinsic
def choose(typing, mask, a, b):
    """a in the lanes where the mask is set, b in the others; one of them may be a number."""
    vector = a if isinstance(a, VectorType) else b
    write = lambda context, builder, signature, values: builder.select(*values)  # noqa: E731
    return vector(mask, vector, vector), write


@intrinsic
def keep_first(typing, v, n):
    """The first n numbers of v, then zeros."""

    def write(context, builder, signature, values):
        return builder.select(below(builder, v, values[1]), values[0], ir.Constant(v.llvm, None))

    return v(v, types.intp), write


@intrinsic
def first_or(typing, v, n, number):
    """The first n numbers of v, then `number` in the other lanes."""

    def write(context, builder, signature, values):
        return builder.select(below(builder, v, values[1]), values[0], values[2])

    return v(v, types.intp, v), write


@intrinsic
def multiply_add(typing, number, v, w):
    """number v + w, rounded once on every processor, as in a tile's sums; `number` is one number for all lanes."""
    write = lambda context, builder, signature, values: call(builder, f"fma.{v.suffix}", v.llvm, *values)  # noqa: E731
    return v(v, v, v), write


@intrinsic
def square_root(typing, v):
    return v(v), lambda context, builder, signature, values: call(builder, f"sqrt.{v.suffix}", v.llvm, *values)


@intrinsic
def nearest(typing, v):
    """Each number rounded to the nearest whole one."""
    return v(v), lambda context, builder, signature, values: call(builder, f"rint.{v.suffix}", v.llvm, *values)


@intrinsic
def absolute(typing, v):
    return v(v), lambda context, builder, signature, values: call(builder, f"fabs.{v.suffix}", v.llvm, *values)


@intrinsic
def larger(typing, a, b):
    """The larger one in each lane; a nan in a is kept. b may be a number."""
    write = lambda context, builder, signature, values: builder.select(  # noqa: E731
        builder.fcmp_ordered("<", *values), values[1], values[0]
    )
    return a(a, a), write


@intrinsic
def smaller(typing, a, b):
    """The smaller one in each lane; a nan in a is kept. b may be a number."""
    write = lambda context, builder, signature, values: builder.select(  # noqa: E731
        builder.fcmp_ordered(">", *values), values[1], values[0]
    )
    return a(a, a), write


@intrinsic
def total(typing, v):
    """The sum over the lanes, taken pair by pair."""

    def write(context, builder, signature, values):
        zero = ir.Constant(v.llvm.element, -0.0)
        return call(builder, f"vector.reduce.fadd.{v.suffix}", v.llvm.element, zero, *values, flags=("reassoc",))

    return v.dtype(v), write


@intrinsic
def most(typing, v):
    """The largest of the lanes that are not nan."""

    def write(context, builder, signature, values):
        return call(builder, f"vector.reduce.fmax.{v.suffix}", v.llvm.element, *values)

    return v.dtype(v), write


@intrinsic
def in_float64(typing, v):
    """The same numbers in float64, as many lanes: in two registers where v is float32."""
    wide = VectorType(types.float64, v.count)

    def write(context, builder, signature, values):
        return values[0] if v == wide else builder.fpext(values[0], wide.llvm)

    return wide(v), write


@intrinsic
def in_dtype_of(typing, x, v):
    """A vector of unsigned whole numbers in the dtype of the array x."""
    vector = VectorType(x.dtype, v.count)
    return vector(x, v), lambda context, builder, signature, values: builder.uitofp(values[1], vector.llvm)


@intrinsic
def split_power_of_two(typing, v):
    """(n, m) with v = 2^n m and m from sqrt(1/2) to sqrt(2), for positive normal numbers, read from their bits."""
    mantissa, root_half = (23, 0x3F3504F3) if v.dtype == types.float32 else (52, 0x3FE6A09E667F3BCD)

    def write(context, builder, signature, values):
        whole = ir.VectorType(ir.IntType(v.dtype.bitwidth), v.count)
        every = lambda n: ir.Constant(whole, [n] * v.count)  # noqa: E731
        bits = builder.bitcast(values[0], whole)
        exponent = builder.ashr(builder.sub(bits, every(root_half)), every(mantissa))
        m = builder.bitcast(builder.sub(bits, builder.shl(exponent, every(mantissa))), v.llvm)
        narrow = exponent if v.dtype == types.float32 else builder.trunc(exponent, ir.VectorType(_i32, v.count))
        n = builder.sitofp(narrow, v.llvm)
        return context.make_tuple(builder, signature.return_type, [n, m])

    return types.UniTuple(v, 2)(v), write


@intrinsic
def counting(typing, first):
    """A uint64 vector first, first + 1, ..."""
    vector = VectorType(types.uint64)

    def write(context, builder, signature, values):
        return builder.add(
            broadcast(builder, values[0], vector.count), ir.Constant(vector.llvm, list(range(vector.count)))
        )

    return vector(types.uint64), write


@intrinsic
def halves(typing, low, high):
    """uint64 vectors of numbers below 2^32 as one uint32 vector, low[0], high[0], low[1], high[1], ..."""
    vector = VectorType(types.uint32, 2 * low.count)

    def write(context, builder, signature, values):
        shifted = builder.shl(values[1], ir.Constant(low.llvm, [32] * low.count))
        return builder.bitcast(builder.or_(values[0], shifted), vector.llvm)

    return vector(low, high), write


@intrinsic
def interleave(typing, a, b):
    """The vector a[0], b[0], a[1], b[1], ..."""
    vector = VectorType(a.dtype, 2 * a.count)
    order = ir.Constant(ir.VectorType(_i32, vector.count), [i // 2 + i % 2 * a.count for i in range(vector.count)])
    return vector(a, b), lambda context, builder, signature, values: builder.shuffle_vector(*values, order)


@intrinsic
def power_of_two(typing, v):
    """2^n for whole numbers n, where that is a normal number: made from its bits."""
    mantissa, bias = (23, 127) if v.dtype == types.float32 else (52, 1023)

    def write(context, builder, signature, values):
        whole = ir.VectorType(ir.IntType(v.dtype.bitwidth), v.count)
        exponent = builder.add(builder.fptosi(values[0], whole), ir.Constant(whole, [bias] * v.count))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [mantissa] * v.count)), v.llvm)

    return v(v), write


@intrinsic
def store_transposed(typing, x, at, step, rows, columns, scale, y, y_at, y_step):
    """y[y_at + j y_step + i] = scale x[at + i step + j] for a square of as many rows and columns as a vector has lanes;
    0 from row `rows` and column `columns` of x on.

    The square is swapped with its mirror image by halves, then quarters, ...:   a b  ->  a c    of vectors i, i + half
                                                                                 c d      b d
    """
    vector = VectorType(x.dtype)
    n = vector.count

    def write(context, builder, signature, values):
        x, at, step, rows, columns, scale, y, y_at, y_step = values
        x_type, y_type = signature.args[0], signature.args[6]
        lines = []
        for i in range(n):
            address = address_of(context, builder, x_type, x, builder.add(at, builder.mul(step, _i64(i))), vector.llvm)
            there = builder.select(builder.icmp_signed("<", _i64(i), rows), columns, _i64(0))
            lines.append(builder.fmul(masked_load(builder, vector, address, below(builder, vector, there)), scale))
        half = n // 2
        while half:
            first = [j if not j & half else n + j - half for j in range(n)]
            second = [j + half if not j & half else n + j for j in range(n)]
            for i in [i for i in range(n) if not i & half]:
                a, b = lines[i], lines[i + half]
                lines[i], lines[i + half] = [
                    builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_i32, n), order))
                    for order in (first, second)
                ]
            half //= 2
        for j, line in enumerate(lines):
            address = address_of(
                context, builder, y_type, y, builder.add(y_at, builder.mul(y_step, _i64(j))), vector.llvm
            )
            builder.store(line, address, align=_align(vector))
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, i, i, vector, y, i, i), write


@intrinsic
def scaled(typing, v, n):
    """v 2^n for whole numbers n, rounded once; nan where v is nan. An instruction of AVX-512's."""
    name = f"x86.avx512.mask.scalef.{'ps' if v.dtype == types.float32 else 'pd'}.512"

    def write(context, builder, signature, values):
        every_lane, as_usual = ir.IntType(v.count)(-1), _i32(4)  # the lanes to compute; how to round
        return call(builder, name, v.llvm, *values, values[0], every_lane, as_usual)

    return v(v, n), write
