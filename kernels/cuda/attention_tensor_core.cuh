// Tiles of rows on tensor cores: the two products that attention is made of, by 4 warps of 16 M rows each.
//
//   row products   sum[r][c]  = sum_k a[r][k] b[c][k]       scores q k^T, and g v^T
//   weighted sums  sum[r][n] += sum_c w[r][c] b[c][n]       p v, and the gradients
//
//                 b: OTHERS rows            b: OTHERS rows of HEAD numbers, in shared memory either way. Every
//              +---------------+           +--------+       row is followed by 16 bytes of nothing, so that 8 rows
//   warp 0     |               |   warp 0  |        |       below each other lie in different banks: ldmatrix and
//     16 M {   |  w = f(sum)   |     16 M {|  sum   |       the loads of the weighted sums have no conflicts.
//   warp 1     |               |   warp 1  |        |       sum and w stay in registers, spread over the 32 lanes as
//     ...      +---------------+     ...   +--------+       tensor_core.cuh says: matrices of 16 x 8, [m][n][i].
//
// The sums of row products lie as D does, and the weights must lie as A. For halves these are the same places. For
// TF32, what lies at D[g][2q] and D[g][2q+1] is taken for A[g][q] and A[g][q+4], and rows 2q and 2q+1 of b for q and
// q+4: the order does not matter to a sum.
//
// Words of 4 bytes that a warp reads from shared memory for one multiplication, of 16 x 8 sums:
//
//   weighted sums   64 / M of b
//   row products    64 / M of b and 128 / N of a, with N = OTHERS / 8: these load 128 (M + N / 2) for M N of them
//                         M = 2   M = 1
//        OTHERS = 32       64      96
//        OTHERS = 16       96     128
//
// A multiplication takes an A100 two cycles, in which shared memory gives 64 words: all row products but the first of
// these wait for it.
#pragma once
#include "attention.cuh"
#include "pipeline.cuh"
#include "tensor_core.cuh"

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;
constexpr int WARPS = 4, THREADS = 32 * WARPS;

// Rows that go by at a time: so few for large heads that registers suffice, and 99 kB of shared memory.
template <int HEAD> constexpr int OTHERS = HEAD > 64 ? 16 : 32;
// A row of a tile in shared memory: HEAD numbers, and 16 bytes between it and the next.
template <class T, int HEAD> constexpr int PITCH = HEAD + 16 / (int)sizeof(T);

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }
// Where d[0..3] of a 16 x 8 matrix lie, see tensor_core.cuh.
__device__ __forceinline__ int lane_row(int i) { return lane() / 4 + i / 2 * 8; }
__device__ __forceinline__ int lane_column(int i) { return lane() % 4 * 2 + i % 2; }

// ROWS rows into shared memory, while the threads go on; zeros for what is not there.
template <int ROWS, int HEAD, class T>
__device__ __forceinline__ void load_tile(T* to, const Rows<const T>& from, int first_row, bool aligned) {
    constexpr int WIDTH = 16 / sizeof(T), VECTORS = HEAD / WIDTH, STEP = THREADS / VECTORS;  // VECTORS of a row
    const int column = threadIdx.x % VECTORS * WIDTH;
    to += column;
#pragma unroll 4
    for (int row = threadIdx.x / VECTORS; row < ROWS; row += STEP) {
        const T* const source = from.row(first_row + row) + column;
        const bool row_there = first_row + row < from.count;
        if (aligned) {
            cp_async<16>(to + row * PITCH<T, HEAD>, source, row_there && column < from.columns);
        } else {
#pragma unroll 1
            for (int w = 0; w < WIDTH; ++w)
                to[row * PITCH<T, HEAD> + w] = row_there && column + w < from.columns ? source[w] : T(0.0f);
        }
    }
}

// A stage of the pipeline: OTHERS rows of a, then as many of b. There are two, one to work on while the other fills.
template <class T, int HEAD> constexpr int STAGE = 2 * OTHERS<HEAD> * PITCH<T, HEAD>;
template <int HEAD, class T>
__device__ __forceinline__ void load_stage(T* to, const Rows<const T>& a, const Rows<const T>& b, int first_row,
                                           bool aligned) {
    load_tile<OTHERS<HEAD>, HEAD>(to, a, first_row, aligned);
    load_tile<OTHERS<HEAD>, HEAD>(to + STAGE<T, HEAD> / 2, b, first_row, aligned);
}

// Operands as the tensor cores read them.
template <class T, int N> __device__ __forceinline__ void round_operands(unsigned (&numbers)[N]) {
    if constexpr (sizeof(T) == 4)
        for (int i = 0; i < N; ++i) numbers[i] = to_tf32(__uint_as_float(numbers[i]));
}
template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const unsigned b[2] = {b0, b1};
    if constexpr (sizeof(T) == 4) mma_tf32(d, a, b);
    else mma_half(d, a, b);
}
__device__ __forceinline__ unsigned pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
}

// sum[r][c] = sum_k a[r][k] b[c][k] for the 16 M rows of this warp and 8 N rows of b.
template <int HEAD, int M, int N, class T>
__device__ __forceinline__ void row_products(float (&sum)[M][N][4], const T* a, const T* b) {
    constexpr int STEP = 32 / sizeof(T), P = PITCH<T, HEAD>;  // numbers of k that one multiplication takes
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n)
            for (int i = 0; i < 4; ++i) sum[m][n][i] = 0;
    a += lane() % 16 * P + lane() / 16 * (STEP / 2);
    b += (lane() / 16 * 8 + lane() % 8) * P + lane() / 8 % 2 * (STEP / 2);
#pragma unroll
    for (int k = 0; k < HEAD; k += STEP) {
        unsigned left[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) {
            load_matrices<false>(left[m], a + 16 * m * P + k);
            round_operands<T>(left[m]);
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned right[4];
            load_matrices<false>(right, b + 8 * n * P + k);
            round_operands<T>(right);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply_add<T>(sum[m][n], left[m], right[0], right[1]);
                multiply_add<T>(sum[m][n + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// sum[r][n] += sum_c w[r][c] b[c][n]: the weights of 8 N rows of b are where row_products left its sums.
template <int HEAD, int M, int N, class T>
__device__ __forceinline__ void add_weighted(float (&sum)[M][HEAD / 8][4], const float (&w)[M][N][4], const T* b) {
    constexpr int P = PITCH<T, HEAD>;
    if constexpr (sizeof(T) == 4) {
        b += lane() % 4 * 2 * P + lane() / 4;
#pragma unroll
        for (int c = 0; c < N; ++c) {
            unsigned left[M][4];
#pragma unroll
            for (int m = 0; m < M; ++m) {
                left[m][0] = to_tf32(w[m][c][0]);
                left[m][1] = to_tf32(w[m][c][2]);
                left[m][2] = to_tf32(w[m][c][1]);
                left[m][3] = to_tf32(w[m][c][3]);
            }
#pragma unroll
            for (int n = 0; n < HEAD / 8; ++n) {
                const unsigned b0 = to_tf32(b[8 * c * P + 8 * n]), b1 = to_tf32(b[(8 * c + 1) * P + 8 * n]);
#pragma unroll
                for (int m = 0; m < M; ++m) multiply_add<T>(sum[m][n], left[m], b0, b1);
            }
        }
    } else {
        b += lane() % 16 * P + lane() / 16 * 8;
#pragma unroll
        for (int c = 0; c < N; c += 2) {
            unsigned left[M][4];
#pragma unroll
            for (int m = 0; m < M; ++m) {
                left[m][0] = pack(w[m][c][0], w[m][c][1]);
                left[m][1] = pack(w[m][c][2], w[m][c][3]);
                left[m][2] = pack(w[m][c + 1][0], w[m][c + 1][1]);
                left[m][3] = pack(w[m][c + 1][2], w[m][c + 1][3]);
            }
#pragma unroll
            for (int n = 0; n < HEAD / 8; n += 2) {
                unsigned right[4];
                load_matrices<true>(right, b + 8 * c * P + 8 * n);
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    multiply_add<T>(sum[m][n], left[m], right[0], right[1]);
                    multiply_add<T>(sum[m][n + 1], left[m], right[2], right[3]);
                }
            }
        }
    }
}

// Row products as scores, times log2(e): powers of 2 are what the hardware has.
template <bool ROWS_ARE_KEYS, int M, int N, class T>
__device__ __forceinline__ void to_scores(float (&products)[M][N][4], const Mask<T>& mask, int first_row,
                                          int first_column) {
    const float scale = float(mask.shape.scale) * LOG2_E;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n)
            for (int i = 0; i < 4; ++i) products[m][n][i] *= scale;
    if (ROWS_ARE_KEYS ? mask.plain(first_column, 8 * N, first_row, 16 * M)
                      : mask.plain(first_row, 16 * M, first_column, 8 * N))
        return;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = first_row + 16 * m + lane_row(i), column = first_column + 8 * n + lane_column(i);
                const float added = ROWS_ARE_KEYS ? mask(column, row) : mask(row, column);
                products[m][n][i] = added == minus_infinity() ? added : products[m][n][i] + added * LOG2_E;
            }
}

// The sums of a warp as rows of the result, each times a factor of its row.
template <int HEAD, int M, class T>
__device__ __forceinline__ void write_rows(const Rows<T>& to, const float (&sum)[M][HEAD / 8][4],
                                           const float (&factor)[M][2], int first_row, bool aligned) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first_row + 16 * m + lane_row(2 * half);
            if (row >= to.count) continue;
#pragma unroll
            for (int n = 0; n < HEAD / 8; ++n) {
                const int column = 8 * n + lane_column(0);
                Vector<T, 2> result;
                for (int i = 0; i < 2; ++i) result.of[i] = T(sum[m][n][2 * half + i] * factor[m][half]);
                if (aligned && column < to.columns) store<2>(to.row(row) + column, result);
                else
                    for (int i = 0; i < 2; ++i)
                        if (column + i < to.columns) to.row(row)[column + i] = result.of[i];
            }
        }
}

// Over the 4 lanes of a row.
__device__ __forceinline__ float row_sum(float value) {
    for (int distance = 2; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}
__device__ __forceinline__ float row_max(float value) {
    for (int distance = 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}
