// Convolution, its transpose, and the product of two matrices (a window of one pixel), channels last.
//
//   y[m, o] = bias[o] + sum_k x[pixel(m, tap of k), channel of k] weight[k, o]       then times slope, if negative
//
// A matrix product whose left factor exists nowhere: row m of it, all that the window sees at position m, is gathered
// while it is copied to shared memory, zeros where the window hangs over the edge ("implicit GEMM": Chetlur et al.
// 2014, arXiv:1410.0759). m counts the positions of all samples, k the channels of one tap after another.
//
//              o: COLUMNS                    a block: a tile of ROWS positions x COLUMNS channels of y, of one
//           k +-----------+                  group and, transposed, of one phase (blockIdx.y); blocks next to each
//             |  weight   |                  other in blockIdx.x share the positions
//             +-----------+                  what warps and threads own, and the stages: product_tile.cuh
//    k ->
//  +-------+  +-----------+                  flops: 2 M K O
//  | x at  |  |           |                  bytes from memory: x, weight and y once, as the second-level cache holds
//  | pixel |  |     y     | m: ROWS          what neighbours share; from that cache: ROWS + COLUMNS numbers for every
//  | (m, k)|  |           |                  ROWS COLUMNS multiply-adds. 128 x 128 floats at an A100's TF32 peak, 512
//  +-------+  +-----------+                  in a cycle and SM, are 32 bytes a cycle, of 47 that its cache can give.
#include "product_tile.cuh"
#include "window.cuh"

// x's next step: 128 bytes of K, the same for this thread's vectors (`tap`), at the position of each row.
template <int WIDTH, int ROWS, int COLUMNS, class T>
__device__ __forceinline__ void load_x(T* tile, const T* x, const Window& window, const Place* positions, Place tap) {
    constexpr int VECTORS = K_OF_STEP<T> / WIDTH, AT_ONCE = 2 * COLUMNS / VECTORS;
    const int vector = threadIdx.x % VECTORS, first = threadIdx.x / VECTORS, pixel = window.channels * window.groups;
#pragma unroll
    for (int i = 0; i < ROWS; i += AT_ONCE) {
        const Place position = positions[first + i];
        copy<WIDTH>(tile + (first + i) * PITCH_BY_ROWS<T> + vector * WIDTH,
                    x + ((long long)position.at * pixel + tap.at), inside(window, position, tap));
    }
}

// Rows of the finished tile to the pixels of y that they are; row r is pixel pixels[r], or none, at -1.
template <int WIDTH, int ROWS, int COLUMNS, class T>
__device__ __forceinline__ void store_y(T* y, const Accumulator<T>* tile, const int* pixels, int pitch, int columns,
                                        const T* bias, Accumulator<T> slope) {
    constexpr int VECTORS = COLUMNS / WIDTH;
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += 2 * COLUMNS) {
        const int row = i / VECTORS, column = i % VECTORS * WIDTH;
        if (pixels[row] < 0 || column >= columns) continue;
        const Vector<Accumulator<T>, WIDTH> sums = load<WIDTH>(tile + row * PITCH_BY_K<COLUMNS> + column);
        Vector<T, WIDTH> result;
#pragma unroll
        for (int v = 0; v < WIDTH; ++v) {
            const Accumulator<T> sum = bias ? sums.of[v] + widen(bias[column + v]) : sums.of[v];
            result.of[v] = T(sum < 0 ? sum * slope : sum);
        }
        store(y + (long long)pixels[row] * pitch + column, result);
    }
}

template <class T, bool EXACT, int ROWS, int COLUMNS, int X_WIDTH, int WEIGHT_WIDTH>
__global__ void __launch_bounds__(2 * COLUMNS, 1)
convolve(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ y,
         Window window, double slope) {
    constexpr int K = K_OF_STEP<T>;
    extern __shared__ __align__(16) unsigned char memory[];
    __shared__ Place positions[ROWS];
    __shared__ int pixels[ROWS];
    T* const stages = reinterpret_cast<T*>(memory);

    // this block's group, phase, and tile of y
    const int group = blockIdx.y % window.groups, y_pitch = window.columns * window.groups;
    const Slides slides = slides_of(window, blockIdx.y / window.groups);
    const int column_tiles = (window.columns + COLUMNS - 1) / COLUMNS, rows = window.samples * slides.positions();
    const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
    const int columns = window.columns - first_column;
    if (first_row >= rows) return;
    x += group * window.channels;
    weight += group * window.group_pitch + first_column;
    y += group * window.columns + first_column;
    if (bias) bias += group * window.columns + first_column;

    for (int r = threadIdx.x; r < ROWS; r += 2 * COLUMNS) {
        const Digits position = digits_of(first_row + r, position_sizes(slides));
        positions[r] = place_of_position(window, slides, position);
        pixels[r] = first_row + r < rows ? pixel_of_y(window, slides, position) : -1;
    }
    __syncthreads();

    // the taps and channels that this thread copies next, of x and of the weight
    const Sizes sizes = tap_sizes(slides, window.channels);
    const Digits step = digits_of(K, sizes);
    Digits of_x = digits_of(threadIdx.x % (K / X_WIDTH) * X_WIDTH, sizes);
    Digits of_weight = digits_of(RowByK<T, COLUMNS>::row(), sizes);
    const auto load_step = [&](T* tile) {
        load_x<X_WIDTH, ROWS, COLUMNS>(tile, x, window, positions, place_of_tap(window, slides, of_x));
        const T* const row = weight + weight_row(window, slides, of_weight);
        const bool exists = of_weight.of[3] < slides.d.taps;
        load_row_by_k<WEIGHT_WIDTH, COLUMNS>(tile + A_TILE<T, ROWS, true>, row, columns, exists);
        add(of_x, step, sizes);
        add(of_weight, step, sizes);
    };

    Sums<T, ROWS> sums = {};
    const int steps = (slides.taps() * window.channels + K - 1) / K;
    multiply_steps<EXACT, ROWS, COLUMNS, true>(sums, stages, steps, load_step);

    const Accumulator<T>* const finished = sums_to_shared<ROWS, COLUMNS, true>(stages, sums);
    store_y<WEIGHT_WIDTH, ROWS, COLUMNS>(y, finished, pixels, y_pitch, columns, bias, Accumulator<T>(slope));
}
