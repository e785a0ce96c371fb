// A block's tile of a matrix product, Y (ROWS x COLUMNS) += A (ROWS x K) B (K x COLUMNS), step by step along K:
//
//              COLUMNS                     2 COLUMNS threads: two warps down, COLUMNS / 32 across, each with a
//           +---------------+              (ROWS / 2) x 32 part of Y in registers. A step is 128 bytes of a row of A:
//         K | B  [k][col]   |              32 floats, 64 halves or 16 doubles. A stage is one step's A and B in shared
//           +---------------+              memory; while the warps multiply one stage, cp.async fills the next two.
//  +-----+  +---+---+- - - -+
//  |     |  |w 0|w 2|                      A lies by rows, [row][k], where K is contiguous in memory (convolution),
//  |  A  |  |   |   |                      or by K, [k][row], where rows are (weight gradient). Rows are padded so that
//  |     |  +---+---+   Y                  neither the 16-byte copies in nor the warps' reads meet twice in a bank:
//  |     |  |w 1|w 3|                      by rows 16 bytes; by K 8 numbers, so that [k = q][row = g] of float32
//  |     |  |   |   |                      lie in banks 8 q + g, and 8 rows of halves in 8 groups of 4 banks.
//  +-----+  +---+---+- - - -+
//
// Lane 4 g + q of a warp owns, as the tensor cores have it, rows g, g + 8, .. and columns 8 j + 2 q, + 1 of its part:
// sums[i][j][e] is row 16 i + 8 (e / 2) + g, column 8 j + 2 q + e % 2. The exact product keeps to the same.
#pragma once
#include "numbers.cuh"
#include "pipeline.cuh"
#include "tensor_core.cuh"

constexpr int STAGES = 3;
constexpr int STEP_BYTES = 128;
template <class T> constexpr int K_OF_STEP = STEP_BYTES / int(sizeof(T));
template <class T> constexpr int PITCH_BY_ROWS = K_OF_STEP<T> + 16 / int(sizeof(T));
template <int ROWS_OR_COLUMNS> constexpr int PITCH_BY_K = ROWS_OR_COLUMNS + 8;

// How many numbers A takes in a stage, and a stage.
template <class T, int ROWS, bool BY_ROWS>
constexpr int A_TILE = BY_ROWS ? ROWS * PITCH_BY_ROWS<T> : K_OF_STEP<T> * PITCH_BY_K<ROWS>;
template <class T, int ROWS, int COLUMNS, bool BY_ROWS>
constexpr int STAGE = A_TILE<T, ROWS, BY_ROWS> + K_OF_STEP<T> * PITCH_BY_K<COLUMNS>;

template <class T, int ROWS> using Sums = Accumulator<T>[ROWS / 32][4][4];

// ---- into shared memory ---------------------------------------------------------------------------------

// WIDTH numbers from global to shared memory, zeros unless wanted.
template <int WIDTH, class T> __device__ __forceinline__ void copy(T* to, const T* from, bool wanted) {
    if constexpr (WIDTH * sizeof(T) >= 4)
        cp_async<WIDTH * sizeof(T)>(to, from, wanted);
    else
        *to = wanted ? *from : T(0.f);  // a single half: no asynchronous copy is so small
}

// A tile by K has one row for every THREADS threads: this thread's, and its first vector in it. The 16-byte copies of 8
// threads go at once: where these have several rows, the rows are so far apart that they lie in different banks.
template <class T, int COLUMNS> struct RowByK {
    static constexpr int THREADS = 2 * COLUMNS / K_OF_STEP<T>;
    static constexpr int AT_ONCE = 8 / THREADS, APART = 2 * THREADS / int(sizeof(T));  // rows
    static __device__ int row() {
        const int i = threadIdx.x / THREADS;
        return i / (AT_ONCE * APART) * (AT_ONCE * APART) + i % AT_ONCE * APART + i / AT_ONCE % APART;
    }
    static __device__ int vector() { return threadIdx.x % THREADS; }
};

// B's next step: this thread's row of it, `columns` long, begins at `from`.
template <int WIDTH, int COLUMNS, class T>
__device__ __forceinline__ void load_row_by_k(T* tile, const T* from, int columns, bool wanted) {
    typedef RowByK<T, COLUMNS> Mine;
    T* to = tile + Mine::row() * PITCH_BY_K<COLUMNS>;
#pragma unroll
    for (int i = 0; i < COLUMNS / WIDTH; i += Mine::THREADS) {
        const int column = (Mine::vector() + i) * WIDTH;
        copy<WIDTH>(to + column, from + column, wanted && column < columns);
    }
}

// ---- the product ----------------------------------------------------------------------------------------

// Fragments for mma, 32 bytes of K from k on: A's 16 rows from `row` on, or B's 16 columns, two fragments side by side.
// Their quarters are 8 rows (or columns) by 16 bytes of K; mma counts A's along the rows first, B's along K.
// ldmatrix moves 16 bytes of a row to four lanes: four floats are as good as eight halves.
template <class T> __device__ __forceinline__ void fragment_by_rows(unsigned (&a)[4], const T* tile, int row, int k) {
    const int lane = threadIdx.x % 32, quarter = lane / 8;
    const int r = row + lane % 8 + quarter % 2 * 8;
    load_matrices<false>(a, tile + r * PITCH_BY_ROWS<T> + k + quarter / 2 * (16 / int(sizeof(T))));
}
template <int PITCH, bool IS_B>
__device__ __forceinline__ void fragment_by_k(unsigned (&a)[4], const __half* tile, int row, int k) {
    const int lane = threadIdx.x % 32, quarter = lane / 8;
    const int of_k = IS_B ? quarter % 2 : quarter / 2, of_rows = IS_B ? quarter / 2 : quarter % 2;
    load_matrices<true>(a, tile + (k + lane % 8 + of_k * 8) * PITCH + row + of_rows * 8);
}
template <int PITCH, bool IS_B>
__device__ __forceinline__ void fragment_by_k(unsigned (&a)[4], const float* tile, int row, int k) {
    const int g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
        const int of_k = IS_B ? quarter % 2 : quarter / 2, of_rows = IS_B ? quarter / 2 : quarter % 2;
        a[quarter] = __float_as_uint(tile[(k + q + of_k * 4) * PITCH + row + g + of_rows * 8]);
    }
}

__device__ __forceinline__ void round_fragment(unsigned (&a)[4], const __half*) {}
__device__ __forceinline__ void round_fragment(unsigned (&a)[4], const float*) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = to_tf32(__uint_as_float(a[i]));
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const __half*) {
    mma_half(d, a, b);
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float*) {
    mma_tf32(d, a, b);
}

// One step on the tensor cores: a warp's part of Y in pieces of 16 x 8.
template <int ROWS, int COLUMNS, bool BY_ROWS, class T>
__device__ __forceinline__ void multiply_tile(Sums<T, ROWS>& sums, const T* a_tile, const T* b_tile) {
    const int warp = threadIdx.x / 32, first_row = warp % 2 * (ROWS / 2), first_column = warp / 2 * 32;
#pragma unroll
    for (int k = 0; k < K_OF_STEP<T>; k += 32 / int(sizeof(T))) {
        unsigned b[2][4];  // of 8 columns each: [0][0..1], [0][2..3], [1][0..1], [1][2..3]
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            fragment_by_k<PITCH_BY_K<COLUMNS>, true>(b[j], b_tile, first_column + 16 * j, k);
            round_fragment(b[j], b_tile);
        }
#pragma unroll
        for (int i = 0; i < ROWS / 32; ++i) {
            unsigned a[4];
            if constexpr (BY_ROWS)
                fragment_by_rows(a, a_tile, first_row + 16 * i, k);
            else
                fragment_by_k<PITCH_BY_K<ROWS>, false>(a, a_tile, first_row + 16 * i, k);
            round_fragment(a, a_tile);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const unsigned column[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
                mma(sums[i][j], a, column, a_tile);
            }
        }
    }
}

// The same in T's own arithmetic. 16 bytes of K at a time, which A by rows has in one piece.
template <int ROWS, int COLUMNS, bool BY_ROWS, class T>
__device__ __forceinline__ void multiply_tile_exactly(Sums<T, ROWS>& sums, const T* a_tile, const T* b_tile) {
    constexpr int WIDTH = 16 / int(sizeof(T));
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    const int first_row = warp % 2 * (ROWS / 2) + g, first_column = warp / 2 * 32 + 2 * q;
#pragma unroll 1
    for (int k = 0; k < K_OF_STEP<T>; k += WIDTH) {
        Vector<T, WIDTH> a[ROWS / 16];
#pragma unroll
        for (int i = 0; i < ROWS / 16; ++i) {
            if constexpr (BY_ROWS) {
                a[i] = load<WIDTH>(a_tile + (first_row + 8 * i) * PITCH_BY_ROWS<T> + k);
            } else {
#pragma unroll
                for (int v = 0; v < WIDTH; ++v) a[i].of[v] = a_tile[(k + v) * PITCH_BY_K<ROWS> + first_row + 8 * i];
            }
        }
#pragma unroll
        for (int v = 0; v < WIDTH; ++v) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const Vector<T, 2> b = load<2>(b_tile + (k + v) * PITCH_BY_K<COLUMNS> + first_column + 8 * j);
#pragma unroll
                for (int i = 0; i < ROWS / 16; ++i) {
                    sums[i / 2][j][i % 2 * 2] += widen(a[i].of[v]) * widen(b.of[0]);
                    sums[i / 2][j][i % 2 * 2 + 1] += widen(a[i].of[v]) * widen(b.of[1]);
                }
            }
        }
    }
}

// All steps. load(stage) starts this thread's copies of the next one; copies run two steps ahead of the products.
template <bool EXACT, int ROWS, int COLUMNS, bool BY_ROWS, class T, class Load>
__device__ __forceinline__ void multiply_steps(Sums<T, ROWS>& sums, T* stages, int steps, Load load) {
    constexpr int A_SIZE = A_TILE<T, ROWS, BY_ROWS>, SIZE = STAGE<T, ROWS, COLUMNS, BY_ROWS>;
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < steps) load(stages + s * SIZE);
        cp_async_commit();
    }
    for (int s = 0; s < steps; ++s) {
        cp_async_wait<STAGES - 2>();  // step s has come, for this thread,
        __syncthreads();              // for all; and all are done with step s - 1, whose stage is filled again
        if (s + STAGES - 1 < steps) load(stages + (s + STAGES - 1) % STAGES * SIZE);
        cp_async_commit();
        const T* tile = stages + s % STAGES * SIZE;
        if constexpr (EXACT)
            multiply_tile_exactly<ROWS, COLUMNS, BY_ROWS>(sums, tile, tile + A_SIZE);
        else
            multiply_tile<ROWS, COLUMNS, BY_ROWS>(sums, tile, tile + A_SIZE);
    }
    __syncthreads();  // the stages are free: nobody multiplies, and no copy is under way
}

// ---- out of the registers ---------------------------------------------------------------------------------

// Puts the sums in order where the stages were: [row][column], with the pitch of B.
template <int ROWS, int COLUMNS, bool BY_ROWS, class T>
__device__ __forceinline__ const Accumulator<T>* sums_to_shared(T* stages, const Sums<T, ROWS>& sums) {
    typedef Accumulator<T> Sum;
    constexpr int BYTES = STAGES * STAGE<T, ROWS, COLUMNS, BY_ROWS> * sizeof(T);
    static_assert(ROWS * PITCH_BY_K<COLUMNS> * sizeof(Sum) <= BYTES, "the sums fit where the stages were");
    Sum* const tile = reinterpret_cast<Sum*>(stages);
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    Sum* mine = tile + (warp % 2 * (ROWS / 2) + g) * PITCH_BY_K<COLUMNS> + warp / 2 * 32 + 2 * q;
#pragma unroll
    for (int i = 0; i < ROWS / 16; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const Vector<Sum, 2> pair = {{sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]}};
            store(mine + 8 * i * PITCH_BY_K<COLUMNS> + 8 * j, pair);
        }
    __syncthreads();
    return tile;
}
