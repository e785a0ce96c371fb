// The gradient of a convolution's weight, in two launches.
//
//   dweight[r, o] = sum_m x[pixel(m, tap of r), channel of r] g[m, o]   r counts the channels of one tap after another
//
// A matrix product again, but summed over the positions m, of which there are many, for a result of which there is
// little: so the positions are dealt out to `parts` blocks, and the parts' sums are added up in a second launch, always
// in the same order. Both factors lie by K in shared memory, as they do in memory: a row there is a position.
//
//              o: COLUMNS                 a block: a tile of ROWS (taps, channels) x COLUMNS channels of g, summed over
//          m +-----------+                one part of the positions (blockIdx.y), of one group (blockIdx.z)
//            |     g     |
//            +-----------+                flops: 2 M R O.  bytes: x and g once from memory, if the second-level cache
//   m        +-----------+                holds what the tiles share; ROWS + COLUMNS numbers into the SM for
//  +-----+   |           |                ROWS COLUMNS multiply-adds; and the parts' sums, 4 R O parts, out and in.
//  |x at |   | dweight   | r: ROWS
//  |(m,r)|   |           |                the second launch: a thread a number of dweight
//  +-----+   +-----------+
//   r: ROWS
#include "product_tile.cuh"
#include "window.cuh"

// x's next step: this thread's row of it is one position, which all taps see at their places.
template <int WIDTH, int ROWS, int COLUMNS, class T>
__device__ __forceinline__ void load_x_by_k(T* tile, const T* x, const Window& window, const Place& position,
                                            const Place* taps) {
    typedef RowByK<T, COLUMNS> Mine;
    T* to = tile + Mine::row() * PITCH_BY_K<ROWS>;
    x += (long long)position.at * (window.channels * window.groups);
#pragma unroll
    for (int i = 0; i < ROWS / WIDTH; i += Mine::THREADS) {
        const int vector = Mine::vector() + i;
        const Place tap = taps[vector];
        copy<WIDTH>(to + vector * WIDTH, x + tap.at, inside(window, position, tap));
    }
}

template <class T, class SUM, bool EXACT, int ROWS, int COLUMNS, int X_WIDTH, int G_WIDTH>
__global__ void __launch_bounds__(2 * COLUMNS, 1)
weight_grad(const T* __restrict__ x, const T* __restrict__ g, SUM* __restrict__ parts, Window window,
            int steps_of_part) {
    constexpr int K = K_OF_STEP<T>;
    extern __shared__ __align__(16) unsigned char memory[];
    __shared__ Place taps[ROWS / X_WIDTH];
    T* const stages = reinterpret_cast<T*>(memory);

    // this block's group, part of the positions, and tile of dweight
    const int group = blockIdx.z, pitch = window.columns * window.groups;
    const Slides slides = slides_of(window, 0);
    const int column_tiles = (window.columns + COLUMNS - 1) / COLUMNS, rows = slides.taps() * window.channels;
    const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
    const int columns = window.columns - first_column, positions = window.samples * slides.positions();
    const int first_step = blockIdx.y * steps_of_part;
    const int steps = min(steps_of_part, (positions + K - 1) / K - first_step);
    x += group * window.channels;
    g += group * window.columns + first_column;
    parts += (long long)blockIdx.y * rows * pitch + group * window.columns + first_column;

    for (int v = threadIdx.x; v < ROWS / X_WIDTH; v += 2 * COLUMNS) {
        const Digits tap = digits_of(first_row + v * X_WIDTH, tap_sizes(slides, window.channels));
        taps[v] = place_of_tap(window, slides, tap);
    }
    __syncthreads();

    // the position that this thread copies next, of x and of g
    const Sizes sizes = position_sizes(slides);
    const Digits step = digits_of(K, sizes);
    int position = first_step * K + RowByK<T, COLUMNS>::row();
    Digits of_x = digits_of(position, sizes);
    const auto load_step = [&](T* tile) {
        load_x_by_k<X_WIDTH, ROWS, COLUMNS>(tile, x, window, place_of_position(window, slides, of_x), taps);
        load_row_by_k<G_WIDTH, COLUMNS>(tile + A_TILE<T, ROWS, false>, g + (long long)position * pitch, columns,
                                        position < positions);
        add(of_x, step, sizes);
        position += K;
    };

    Sums<T, ROWS> sums = {};
    multiply_steps<EXACT, ROWS, COLUMNS, false>(sums, stages, steps, load_step);

    const SUM* const finished = sums_to_shared<ROWS, COLUMNS, false>(stages, sums);
    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += 2 * COLUMNS) {
        const int row = i / COLUMNS, column = i % COLUMNS;
        if (first_row + row < rows && column < columns)
            parts[(long long)(first_row + row) * pitch + column] = finished[row * PITCH_BY_K<COLUMNS> + column];
    }
}

template <class T, class SUM>
__global__ void __launch_bounds__(256)
sum_parts(const SUM* __restrict__ parts, T* __restrict__ dweight, int numbers, int count) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= numbers) return;
    SUM sum = 0;
#pragma unroll 8
    for (int part = 0; part < count; ++part) sum += parts[(long long)part * numbers + i];
    dweight[i] = T(sum);
}
