// FIR resampling, both axes in one kernel: x (N,H,W,C) with zeros between and around its pixels, filtered by taps (k,)
// along W and along H, and every down-th pixel of that: y (N,Ho,Wo,C).
//
//        W (C within) ->                a block makes tile_rows of y in 64 columns, each a vector of channels: 8 vectors
//      +----------------+               (128 bytes) of 8 pixels, or as many more pixels as a pixel has fewer vectors
//    H |  tile | tile   |
//    | +-------+--------+
//    v |  tile | tile   |               1. rows of x that the tile sees, filtered along W -> shared memory
//      +-------+--------+                    across  |64 columns|  rows of x: (tile_rows down + k) / up
//                                       2. `across` filtered along H -> y
//
//    thread = 64 group + column; the 4 groups take turns with the rows. Vectors next to each other in global and in shared
//    memory belong to threads next to each other: 16 bytes each, no bank conflicts.
//
// Bytes: x and y once each from and to memory (pixels that neighbouring tiles share come from a cache). Flops: only taps
// that meet a sample are multiplied, 2 k / up a number of y along H, and as many along W of the rows in between.
#include "numbers.cuh"

struct Axis { int size, out, up, down, before; };  // of x, of y; zeros in front (cropped, if negative)

// The samples of x that output p of an axis sees: from first on and before last. Tap `tap` meets the first of them,
// tap - up the next: they are those of a convolution, the other way round.
struct Seen { int first, last, tap; };

__device__ __forceinline__ Seen seen_by(int p, Axis axis, int taps) {
    const int start = p * axis.down - axis.before;  // where the last tap lies, zeros counted
    const int end = start + taps;
    const int first = start > 0 ? (start + axis.up - 1) / axis.up : 0;
    const int last = end > 0 ? min((end + axis.up - 1) / axis.up, axis.size) : 0;
    return {first, last, taps - 1 - (first * axis.up - start)};
}

// The sum over i of taps[seen.tap - i up] from[i step], a vector of numbers.
template <class T, int WIDTH>
__device__ __forceinline__ Vector<T, WIDTH> weigh(const T* from, long long step, Seen seen, int up,
                                                  const T* __restrict__ taps) {
    Vector<T, WIDTH> sum = {};
#pragma unroll 4
    for (int i = 0; i < seen.last - seen.first; ++i) {
        const T tap = taps[seen.tap - i * up];
        const Vector<T, WIDTH> v = load<WIDTH>(from + i * step);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) sum.of[j] += tap * v.of[j];
    }
    return sum;
}

// columns: of a tile, in pixels; vectors: of a pixel; chunk: those of them that a tile has.
template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
upfirdn2d(const T* __restrict__ x, const T* __restrict__ taps, T* __restrict__ y, Axis h, Axis w, int taps_count,
          int vectors, int chunk, int tile_rows) {
    extern __shared__ __align__(16) unsigned char memory[];
    T* across = reinterpret_cast<T*>(memory);  // [row of x][column][number of the vector]
    const int column = threadIdx.x % 64, group = threadIdx.x / 64;

    const int tile_columns = 64 / chunk;  // in pixels
    const int chunks = (vectors + chunk - 1) / chunk;
    const int tiles_w = (w.out + tile_columns - 1) / tile_columns, tiles_h = (h.out + tile_rows - 1) / tile_rows;
    unsigned tile = blockIdx.x;
    const int c = tile % chunks * chunk + column % chunk;
    tile /= chunks;
    const int q = tile % tiles_w * tile_columns + column / chunk;  // of y, as are p and the rows
    tile /= tiles_w;
    const int first_row = tile % tiles_h * tile_rows, last_row = min(first_row + tile_rows, h.out);
    const long long n = tile / tiles_h;
    const bool inside = column < tile_columns * chunk && q < w.out && c < vectors;

    const int top = seen_by(first_row, h, taps_count).first, bottom = seen_by(last_row - 1, h, taps_count).last;
    const Seen seen_w = seen_by(q, w, taps_count);
    for (int i = top + group; inside && i < bottom; i += 4) {
        const T* from = x + (((n * h.size + i) * w.size + seen_w.first) * vectors + c) * WIDTH;
        const Vector<T, WIDTH> sum = weigh<T, WIDTH>(from, (long long)vectors * WIDTH, seen_w, w.up, taps);
        store<WIDTH>(across + ((i - top) * 64 + column) * WIDTH, sum);
    }
    __syncthreads();
    for (int p = first_row + group; inside && p < last_row; p += 4) {
        const Seen seen_h = seen_by(p, h, taps_count);
        const T* from = across + ((seen_h.first - top) * 64 + column) * WIDTH;
        const Vector<T, WIDTH> sum = weigh<T, WIDTH>(from, 64 * WIDTH, seen_h, h.up, taps);
        store<WIDTH>(y + (((n * h.out + p) * w.out + q) * vectors + c) * WIDTH, sum);
    }
}
