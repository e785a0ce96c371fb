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

Numba does not keep an array in registers by itself, so the operations on a tile are written in LLVM's own language
(`@intrinsic`). The rows of a, as of scratch arrays, lie evenly. Those of results may lie anywhere: row i is found in
a table of positions, array[table[first + i] + shift], and a tile that sticks out below repeats the last row's position
(it is then computed twice, which does no harm). Columns that stick out to the right are zeros in b, and are left out
when storing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_jitable, register_model

from kernels.cpu.jit import intrinsic
from kernels.cpu.vector import (
    REGISTERS,
    VECTOR_BYTES,
    VectorType,
    address_of,
    below,
    broadcast,
    call,
    lanes,
    masked_load,
    masked_store,
)

ROWS, VECTORS = (13, 2) if REGISTERS == 32 else (6, 2)
_i64 = ir.IntType(64)


def tile_width(dtype: Any) -> int:
    """Columns of a tile of this dtype."""
    return VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize


@register_jitable
def tile_columns(x: np.ndarray) -> int:
    """`tile_width` of the array's dtype, also in compiled code."""
    return VECTORS * lanes(x)


class TileType(types.Type):
    """Numba's name for a tile of float32 or float64."""

    def __init__(self, dtype: Any):
        self.vector = VectorType(dtype)
        super().__init__(f"Tile({dtype})")


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: TileType):
        super().__init__(manager, tile, ir.ArrayType(tile.vector.llvm, ROWS * VECTORS))


class _Row:
    """Where row i of a tile lies: array[table[first + i] + shift]."""

    def __init__(self, context: Any, builder: Any, array: tuple, table: tuple, first: Any, shift: Any, i: int):
        self.context, self.builder, self.array = context, builder, array
        entry = address_of(context, builder, table[0], table[1], builder.add(first, _i64(i)))
        self.position = builder.add(builder.load(entry), shift)

    def vector(self, vector: VectorType, v: int) -> Any:
        """The address of vector number v of the row."""
        position = self.builder.add(self.position, _i64(v * vector.count))
        return address_of(self.context, self.builder, self.array[0], self.array[1], position, vector.llvm)


def _masks(builder: Any, vector: VectorType, width: Any) -> list[Any]:
    """For each vector of a row, which lanes lie in the first `width` columns."""
    return [below(builder, vector, width, v * vector.count) for v in range(VECTORS)]


@intrinsic
def tile_zeros(typing, array):
    """A tile of zeros, of the dtype of the array."""
    tile = TileType(array.dtype)
    return tile(array), lambda context, builder, signature, arguments: ir.Constant(context.get_value_type(tile), None)


@intrinsic
def tile_of_row(typing, array, at, width):
    """A tile whose rows are all the first `width` numbers from array[at] on, then zeros."""
    tile = TileType(array.dtype)

    def write(context, builder, signature, values):
        masks = _masks(builder, tile.vector, values[2])
        rows = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for v in range(VECTORS):
            position = builder.add(values[1], _i64(v * tile.vector.count))
            address = address_of(context, builder, array, values[0], position, tile.vector.llvm)
            vector = masked_load(builder, tile.vector, address, masks[v])
            for i in range(ROWS):
                rows = builder.insert_value(rows, vector, i * VECTORS + v)
        return rows

    return tile(array, types.intp, types.intp), write


@intrinsic
def tile_load(typing, array, table, first, shift, width):
    """A tile whose row i holds the first `width` numbers from array[table[first + i] + shift] on, then zeros."""
    tile = TileType(array.dtype)

    def write(context, builder, signature, arguments):
        array, table = zip(signature.args[:2], arguments[:2])
        masks = _masks(builder, tile.vector, arguments[4])
        rows = ir.Constant(context.get_value_type(tile), None)
        for i in range(ROWS):
            row = _Row(context, builder, array, table, arguments[2], arguments[3], i)
            for v in range(VECTORS):
                vector = masked_load(builder, tile.vector, row.vector(tile.vector, v), masks[v])
                rows = builder.insert_value(rows, vector, i * VECTORS + v)
        return rows

    return tile(array, table, types.intp, types.intp, types.intp), write


@intrinsic
def tile_store(typing, tile, array, table, first, shift, width):
    """Writes the first `width` columns of row i to array[table[first + i] + shift] and after."""

    def write(context, builder, signature, arguments):
        rows = arguments[0]
        array, table = zip(signature.args[1:3], arguments[1:3])
        masks = _masks(builder, tile.vector, arguments[5])
        for i in range(ROWS):
            row = _Row(context, builder, array, table, arguments[3], arguments[4], i)
            for v in range(VECTORS):
                vector = builder.extract_value(rows, i * VECTORS + v)
                masked_store(builder, tile.vector, vector, row.vector(tile.vector, v), masks[v])
        return context.get_dummy_value()

    return types.void(tile, array, table, types.intp, types.intp, types.intp), write


@intrinsic
def tile_leaky(typing, tile, slope):
    """The tile with its negative numbers multiplied by slope, a float64."""

    def write(context, builder, signature, values):
        rows, vector = values[0], tile.vector
        factor = broadcast(builder, context.cast(builder, values[1], types.float64, vector.dtype), vector.count)
        for j in range(ROWS * VECTORS):
            v = builder.extract_value(rows, j)
            negative = builder.fcmp_ordered("<", v, ir.Constant(vector.llvm, [0.0] * vector.count))
            rows = builder.insert_value(rows, builder.select(negative, builder.fmul(v, factor), v), j)
        return rows

    return tile(tile, types.float64), write


# ---- tiles of matrices whose rows lie evenly: row i begins at array[at + i stride] -----------------------------


def _even_address(
    context: Any, builder: Any, array: tuple, at: Any, stride: Any, i: int, v: int, tile: TileType
) -> Any:
    """Of vector v of row i."""
    position = builder.add(builder.add(at, builder.mul(stride, _i64(i))), _i64(v * tile.vector.count))
    return address_of(context, builder, array[0], array[1], position, tile.vector.llvm)


@intrinsic
def tile_load_even(typing, array, at, stride):
    """A tile whose row i is array[at + i stride :]."""
    tile = TileType(array.dtype)

    def write(context, builder, signature, values):
        rows = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i, v in np.ndindex(ROWS, VECTORS):
            address = _even_address(context, builder, (array, values[0]), values[1], values[2], i, v, tile)
            rows = builder.insert_value(rows, builder.load(address, align=4), i * VECTORS + v)
        return rows

    return tile(array, types.intp, types.intp), write


@intrinsic
def tile_store_even(typing, tile, array, at, stride):
    """Writes row i to array[at + i stride :]."""

    def write(context, builder, signature, values):
        for i, v in np.ndindex(ROWS, VECTORS):
            address = _even_address(context, builder, (array, values[1]), values[2], values[3], i, v, tile)
            builder.store(builder.extract_value(values[0], i * VECTORS + v), address, align=4)
        return context.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), write


def _add_products(steps: int) -> Any:
    """Writes: tile[i] += sum over k < steps of a[at + i stride + k] b[b_at + k width :]."""

    def write(context, builder, signature, values):
        sums, a, at, stride, b, b_at = values
        tile, a_type, _, _, b_type, _ = signature.args
        vector = tile.vector
        rows = [builder.add(at, builder.mul(stride, _i64(i))) for i in range(ROWS)]
        starts = [address_of(context, builder, a_type, a, row) for row in rows]
        for k in range(steps):
            places = [builder.add(b_at, _i64((k * VECTORS + v) * vector.count)) for v in range(VECTORS)]
            vectors = [builder.load(address_of(context, builder, b_type, b, p, vector.llvm), align=4) for p in places]
            for i in range(ROWS):
                number = broadcast(builder, builder.load(builder.gep(starts[i], [_i64(k)])), vector.count)
                for v in range(VECTORS):
                    old = builder.extract_value(sums, i * VECTORS + v)
                    new = call(builder, f"fma.{vector.suffix}", vector.llvm, number, vectors[v], old)
                    sums = builder.insert_value(sums, new, i * VECTORS + v)
        return sums

    return write


@intrinsic
def add_product(typing, tile, a, at, stride, b, b_at):
    """tile[i] += a[at + i stride] b[b_at :]. With stride 1, the rows' numbers are neighbours: a product with a^T."""
    return tile(tile, a, types.intp, types.intp, b, types.intp), _add_products(1)


@intrinsic
def add_four_products(typing, tile, a, at, stride, b, b_at):
    """Four steps of `add_product` along neighbouring numbers of each row, and neighbouring rows of b."""
    return tile(tile, a, types.intp, types.intp, b, types.intp), _add_products(4)
