"""What attention does with its blocks of scores on the register tile of `tile.py`.

A block has the scores of KEYS keys, its rows, and QUERIES queries, side by side. It is multiplied row by row (a tile
is ROWS keys, summed over queries) or column by column (ROWS queries, summed over keys):

    scores = k q^T             row by row of k, in panels of q^T
    out   += block^T v         column by column of the block, in panels of v; likewise dq += dS^T k
    dv    += block g           row by row of the block, in panels of g; likewise dk += dS q

A panel of a matrix is as many of its columns as a tile is wide, row under row, the last one filled up with zeros.
Everything that belongs to one part of a kernel lies in one array, `memory`; the other arguments say where.
"""

from __future__ import annotations

from kernels.cpu.jit import kernel_part
from kernels.cpu.tile import (
    ROWS,
    add_product,
    tile_columns,
    tile_load_even,
    tile_store_even,
    tile_zeros,
)
from kernels.cpu.vector import lanes, load, load_first, spread, store, store_first, store_transposed, whole

QUERIES = 64  # of a block, which has 17 kB in float32: half of the first-level cache
KEYS = -(-64 // ROWS) * ROWS  # whole tiles

# ---- scratch memory ------------------------------------------------------------------------------------


@kernel_part()
def fill(memory, start, end, value):
    for i in range(start, end, lanes(memory)):
        store(memory, i, spread(memory, value))


@kernel_part()
def pack(x, start, step, rows, columns, scale, memory, panels, height):
    """scale x (rows, columns), whose row i begins at x[start + i step], in panels of `height` rows."""
    width = tile_columns(x)
    for i in range(height):
        for c in range(0, whole(columns, width), lanes(x)):
            here = panels + c // width * height * width + i * width + c % width
            store(memory, here, load_first(x, start + i * step + c, columns - c if i < rows else 0) * scale)


@kernel_part()
def unpack(memory, panels, height, rows, columns, scale, x, start, step):
    """The inverse of `pack`."""
    width = tile_columns(x)
    for i in range(rows):
        for c in range(0, columns, lanes(x)):
            here = panels + c // width * height * width + i * width + c % width
            store_first(x, start + i * step + c, load(memory, here) * scale, columns - c)


@kernel_part()
def pack_transposed(x, start, step, rows, columns, scale, memory, panels):
    """scale x^T (columns, rows) in panels, whose height is the columns rounded up to whole vectors."""
    width, n = tile_columns(x), lanes(x)
    for i in range(0, whole(rows, width), n):
        for c in range(0, columns, n):
            here = panels + i // width * whole(columns, n) * width + c * width + i % width
            store_transposed(x, start + i * step + c, step, rows - i, columns - c, scale, memory, here, width)


# ---- products with a block -----------------------------------------------------------------------------
# Matrices are in panels of as many rows as the argument after them says; they begin at the first row that is used.


@kernel_part()
def set_products(memory, rows, height, size, columns, keys, queries, block):
    """block = rows @ columns: rows (keys, size), columns (size, queries)."""
    width, depth = tile_columns(memory), whole(size, lanes(memory))
    for c in range(0, queries, width):
        for r in range(0, keys, ROWS):
            tile = tile_zeros(memory)
            for p in range(0, size, width):
                row, column = rows + p * height + r * width, columns + c * depth + p * width
                for i in range(min(width, size - p)):
                    tile = add_product(tile, memory, row + i, width, memory, column + i * width)
            tile_store_even(tile, memory, block + r * QUERIES + c, QUERIES)


@kernel_part()
def add_for_keys(memory, block, keys, queries, panels, height, size, sums, sums_height):
    """sums += block @ panels: panels (queries, size), sums (keys, size)."""
    width = tile_columns(memory)
    for p in range(0, size, width):
        for r in range(0, keys, ROWS):
            here = sums + p * sums_height + r * width
            tile = tile_load_even(memory, here, width)
            for i in range(queries):
                number, row = block + r * QUERIES + i, panels + p * height + i * width
                tile = add_product(tile, memory, number, QUERIES, memory, row)
            tile_store_even(tile, memory, here, width)


@kernel_part()
def add_for_queries(memory, block, keys, queries, panels, height, size, sums, sums_height):
    """sums += block^T @ panels: panels (keys, size), sums (queries, size)."""
    width = tile_columns(memory)
    for p in range(0, size, width):
        for r in range(0, queries, ROWS):
            here = sums + p * sums_height + r * width
            tile = tile_load_even(memory, here, width)
            for i in range(keys):
                number, row = block + i * QUERIES + r, panels + p * height + i * width
                tile = add_product(tile, memory, number, 1, memory, row)
            tile_store_even(tile, memory, here, width)
