"""The micro-kernel: a tile of a matrix product that is kept in the CPU's vector registers while it is summed.

    y = a @ b, a tile of ROWS rows by VECTORS vectors at a time; here with 4 rows and 2 vectors of 8 numbers:

                          b[k]  [ b b b b b b b b | b b b b b b b b ]   2 registers, loaded once
                                       |                  |
        a[0,k]  broadcast  ->   [ y y y y y y y y | y y y y y y y y ]
        a[1,k]  broadcast  ->   [ y y y y y y y y | y y y y y y y y ]   8 registers, summed in place:
        a[2,k]  broadcast  ->   [ y y y y y y y y | y y y y y y y y ]   y[i] += a[i,k] * b[k]
        a[3,k]  broadcast  ->   [ y y y y y y y y | y y y y y y y y ]

Each step of k loads 4 + 2 times and multiplies and adds 8 vectors: arithmetic, not memory, sets the pace, as the
rows of b are used 4 times and the numbers of a 16 times for each load. The larger the tile the better, until the
registers run out: hence 13 x 2 for the 32 registers of AVX-512 (26 sums, 2 of b, 1 of a), 6 x 2 for the 16 of AVX2.

Numba does not keep an array in registers by itself, so the four operations on a tile are written in LLVM's own
language (`@intrinsic`). Row i of a tile is found through a table of positions, array[table[first + i] + shift]: rows
may lie anywhere, and a tile that sticks out below repeats the last row's position (it is then computed twice, which
does no harm). Columns that stick out to the right are zeros in b, and are left out when storing.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_model


def _register_file() -> tuple[int, int, int]:
    """(bytes in a vector register, tile rows, tile vectors) for this machine."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 13, 2
    if features.get("avx2"):
        return 32, 6, 2
    return 16, 6, 2  # NEON, SSE2


# Its first argument, the typing context, is not for the caller to give: type checkers do not know that.
intrinsic: Any = numba_intrinsic

VECTOR_BYTES, ROWS, VECTORS = _register_file()
_i32, _i64 = ir.IntType(32), ir.IntType(64)


def tile_width(dtype: Any) -> int:
    """Columns of a tile of this dtype."""
    return VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize


def row_table(positions: np.ndarray) -> np.ndarray:
    """The positions of rows as the table that tiles take: filled up to whole tiles with the last one."""
    missing = -len(positions) % ROWS
    return np.concatenate([positions, np.repeat(positions[-1:], missing)]).astype(np.int64)


class TileType(types.Type):
    """Numba's name for a tile of float32 or float64."""

    def __init__(self, dtype: Any):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        self.vector = ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), self.lanes)
        super().__init__(f"Tile({dtype})")


@register_model(TileType)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: TileType):
        super().__init__(manager, tile, ir.ArrayType(tile.vector, ROWS * VECTORS))


class _Writer:
    """Writes the LLVM instructions of one operation on tiles."""

    def __init__(self, context: Any, builder: Any, tile: TileType):
        self.context, self.builder, self.tile = context, builder, tile

    def address(self, array_type: Any, array: Any, position: Any, vector: int | None = None) -> Any:
        """Of array[position], or of vector number `vector` from there."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        here = self.builder.gep(data, [position])
        if vector is None:
            return here
        there = self.builder.gep(here, [_i64(vector * self.tile.lanes)])
        return self.builder.bitcast(there, self.tile.vector.as_pointer())

    def row(self, table_type: Any, table: Any, first: Any, shift: Any, i: int) -> Any:
        """table[first + i] + shift"""
        entry = self.address(table_type, table, self.builder.add(first, _i64(i)))
        return self.builder.add(self.builder.load(entry), shift)

    def broadcast(self, number: Any) -> Any:
        """A vector with this number in every lane."""
        nothing = ir.Constant(ir.VectorType(number.type, self.tile.lanes), ir.Undefined)
        vector = self.builder.insert_element(nothing, number, _i32(0))
        lanes = ir.Constant(ir.VectorType(_i32, self.tile.lanes), [0] * self.tile.lanes)
        return self.builder.shuffle_vector(vector, nothing, lanes)

    def masks(self, width: Any) -> list[Any]:
        """For each vector of a row, which lanes lie in the first `width` columns."""
        wide, lanes = self.broadcast(width), self.tile.lanes
        columns = [
            ir.Constant(ir.VectorType(_i64, lanes), list(range(v * lanes, (v + 1) * lanes))) for v in range(VECTORS)
        ]
        return [self.builder.icmp_signed("<", column, wide) for column in columns]

    def vector_function(self, name: str, result: Any, *arguments: Any) -> Any:
        bits = 32 if self.tile.dtype == types.float32 else 64
        suffix = f"v{self.tile.lanes}f{bits}" + (".p0" if "masked" in name else "")
        function = ir.FunctionType(result, [a.type for a in arguments])
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, function, f"llvm.{name}.{suffix}"), arguments
        )


@intrinsic
def tile_load(typing, array, table, first, shift, width):
    """A tile whose row i holds the first `width` numbers from array[table[first + i] + shift] on, then zeros."""
    tile = TileType(array.dtype)

    def write(context, builder, signature, arguments):
        w = _Writer(context, builder, tile)
        array, table, first, shift, width = arguments
        masks = w.masks(width)
        rows = ir.Constant(ir.ArrayType(tile.vector, ROWS * VECTORS), None)
        for i in range(ROWS):
            position = w.row(signature.args[1], table, first, shift, i)
            for v in range(VECTORS):
                place = w.address(signature.args[0], array, position, v)
                zeros = ir.Constant(tile.vector, None)
                vector = w.vector_function("masked.load", tile.vector, place, _i32(4), masks[v], zeros)
                rows = builder.insert_value(rows, vector, i * VECTORS + v)
        return rows

    return tile(array, table, types.intp, types.intp, types.intp), write


def _add_products(tile: Any, steps: int, in_table: bool) -> Any:
    """Writes: tile[i] += sum over k < steps of number(i, k) b[at + k width]. The number is
    a[table[first + i] + shift + k], or, not `in_table`, a[shift + i + k]."""

    def write(context, builder, signature, arguments):
        w = _Writer(context, builder, tile)
        types_of = dict(zip(("sums", "a", "table", "first", "shift", "b", "at"), signature.args))
        sums, a, table, first, shift, b, at = arguments
        if in_table:
            rows = [w.row(types_of["table"], table, first, shift, i) for i in range(ROWS)]
        else:
            rows = [builder.add(shift, _i64(i)) for i in range(ROWS)]
        starts = [w.address(types_of["a"], a, row) for row in rows]
        for k in range(steps):
            vectors = [builder.load(w.address(types_of["b"], b, at, k * VECTORS + v), align=4) for v in range(VECTORS)]
            for i in range(ROWS):
                number = w.broadcast(builder.load(builder.gep(starts[i], [_i64(k)])))
                for v in range(VECTORS):
                    j = i * VECTORS + v
                    total = w.vector_function("fma", tile.vector, number, vectors[v], builder.extract_value(sums, j))
                    sums = builder.insert_value(sums, total, j)
        return sums

    return write


@intrinsic
def add_product(typing, tile, a, table, first, shift, b, at):
    """tile[i] += a[table[first + i] + shift] b[at :]."""
    signature = tile(tile, a, table, types.intp, types.intp, b, types.intp)
    return signature, _add_products(tile, 1, in_table=True)


@intrinsic
def add_four_products(typing, tile, a, table, first, shift, b, at):
    """Four steps of `add_product` along neighbouring numbers of each row, and neighbouring rows of b."""
    signature = tile(tile, a, table, types.intp, types.intp, b, types.intp)
    return signature, _add_products(tile, 4, in_table=True)


@intrinsic
def add_column_product(typing, tile, a, table, first, shift, b, at):
    """tile[i] += a[shift + i] b[at :]: `add_product` where the rows' numbers are neighbours. Takes no table."""
    signature = tile(tile, a, table, types.intp, types.intp, b, types.intp)
    return signature, _add_products(tile, 1, in_table=False)


@intrinsic
def tile_store(typing, tile, array, table, first, shift, width):
    """Writes the first `width` columns of row i to array[table[first + i] + shift] and after."""

    def write(context, builder, signature, arguments):
        w = _Writer(context, builder, tile)
        rows, array, table, first, shift, width = arguments
        masks = w.masks(width)
        for i in range(ROWS):
            position = w.row(signature.args[2], table, first, shift, i)
            for v in range(VECTORS):
                vector = builder.extract_value(rows, i * VECTORS + v)
                place = w.address(signature.args[1], array, position, v)
                w.vector_function("masked.store", ir.VoidType(), vector, place, _i32(4), masks[v])
        return context.get_dummy_value()

    return types.void(tile, array, table, types.intp, types.intp, types.intp), write


# ---- tiles of matrices whose rows lie evenly: row i begins at array[at + i stride] -----------------------------


@intrinsic
def zero_tile(typing, array):
    """A tile of zeros, of the array's dtype."""
    tile = TileType(array.dtype)
    zeros = ir.Constant(ir.ArrayType(tile.vector, ROWS * VECTORS), None)
    return tile(array), lambda context, builder, signature, values: zeros


@intrinsic
def tile_load_even(typing, array, at, stride):
    """A tile whose row i is array[at + i stride :]."""
    tile = TileType(array.dtype)

    def write(context, builder, signature, values):
        array, at, stride = values
        rows = ir.Constant(ir.ArrayType(tile.vector, ROWS * VECTORS), ir.Undefined)
        for i, v in np.ndindex(ROWS, VECTORS):
            address = _even_address(context, builder, signature.args[0], array, at, stride, i, v)
            rows = builder.insert_value(rows, builder.load(address, align=tile.dtype.bitwidth // 8), i * VECTORS + v)
        return rows

    return tile(array, types.intp, types.intp), write


@intrinsic
def tile_store_even(typing, tile, array, at, stride):
    """Writes row i to array[at + i stride :]."""

    def write(context, builder, signature, values):
        rows, array, at, stride = values
        for i, v in np.ndindex(ROWS, VECTORS):
            address = _even_address(context, builder, signature.args[1], array, at, stride, i, v)
            builder.store(builder.extract_value(rows, i * VECTORS + v), address, align=tile.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), write


@intrinsic
def add_even_product(typing, tile, a, at, stride, b, b_at):
    """tile[i] += a[at + i stride] b[b_at :]: the rows of a lie evenly, or with stride 1, its columns do."""

    def write(context, builder, signature, values):
        w = _Writer(context, builder, tile)
        sums, a, at, stride, b, b_at = values
        vectors = [builder.load(w.address(signature.args[4], b, b_at, v), align=4) for v in range(VECTORS)]
        for i in range(ROWS):
            row = builder.add(at, builder.mul(stride, _i64(i)))
            number = w.broadcast(builder.load(w.address(signature.args[1], a, row)))
            for v in range(VECTORS):
                j = i * VECTORS + v
                total = w.vector_function("fma", tile.vector, number, vectors[v], builder.extract_value(sums, j))
                sums = builder.insert_value(sums, total, j)
        return sums

    return tile(tile, a, types.intp, types.intp, b, types.intp), write


def _even_address(context, builder, array_type, array, at, stride, i, v):
    """Of vector v of row i."""
    w = _Writer(context, builder, TileType(array_type.dtype))
    return w.address(array_type, array, builder.add(at, builder.mul(stride, _i64(i))), v)
