// The sum of every column: x (N,M,C) -> y (N,units,C), over units of the M positions; with one unit, over all of them.
//
//                 channels ->
//   unit 0   |  tile 0  |  tile 1  |    a block for each unit and tile: its rows of threads take turns at the positions
//   unit 1   |  tile 0  |  tile 1  |    (columns.cuh draws them). Many positions take two launches: units, whose sums
//            |          |          |    stay in float64, and then the sums of those.
//
// Bytes: x once. Flops: one addition each, in float64.
#include "columns.cuh"

template <class T, class S, int WIDTH>
__global__ void __launch_bounds__(256, 1)
sum_columns(const T* __restrict__ x, S* __restrict__ y, int positions, int channels, int columns, int unit, int units) {
    const Place at = place<WIDTH>(columns, channels);
    const int n = blockIdx.x / units, k = blockIdx.x % units;
    const int count = min(unit, positions - k * unit);
    x += ((long long)n * positions + k * unit) * channels + at.channel;
    double sums[1][WIDTH] = {};
    if (at.active) {
#pragma unroll 4
        for (int p = at.row; p < count; p += at.rows) {
            const Vector<T, WIDTH> v = load<WIDTH>(x + (long long)p * channels);
            for (int i = 0; i < WIDTH; ++i) sums[0][i] += double(v.of[i]);
        }
    }
    sum_rows(sums, columns);
    if (!at.active || at.row > 0) return;
    store_all(y + (long long)blockIdx.x * channels + at.channel, sums[0]);
}
