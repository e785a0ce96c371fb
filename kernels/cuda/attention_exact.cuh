// Tiles of 64 x 64 by 256 threads in plain arithmetic: the two products that attention is made of.
//
//   row products   sum[r][c]  = sum_k a[r][k] b[c][k]       scores q k^T, and g v^T
//   weighted sums  sum[r][n] += sum_c w[r][c] b[c][n]       p v, and the gradients
//
//            c = x + 16 j                     n = 4 x + w           Thread (y, x) = (t / 16, t % 16) owns the rows
//          +--------+                       +-------------+         y, y + 16, y + 32, y + 48 and, of a product, the
//          |  b     | DEPTH numbers of      | b    COLUMNS|         columns x, x + 16, x + 32, x + 48, 4 x 4 sums; of
//          |        | each row at a time    |      at a   |         weighted sums, the 16 bytes of columns at x.
//   r =    +--------+              r =      |      time   |
//   y+16 i +--------+              y+16 i   +-------------+         Rows lie 16 bytes further apart in shared memory
//   | a |  |  sum   |              |  w  |  |     sum     |         than they are long: 8 threads that read 16 bytes
//   +---+  +--------+              +-----+  +-------------+         each, one below the other, hit all 32 banks once.
//
// For 4 steps of k a thread reads 8 vectors of shared memory and adds 64 products. The rows that a row's weights belong
// to are those of one half of a warp, so what it writes of w only its warp reads.
#pragma once
#include "attention.cuh"

constexpr int SIDE = 64;      // rows and columns of a tile
constexpr int THREADS = 256;

template <class A> struct Exact {
    static constexpr int WIDTH = 16 / sizeof(A);           // numbers that are moved at once
    static constexpr int DEPTH = 8 * WIDTH;                // numbers of a row that are in shared memory
    static constexpr int PITCH = DEPTH + WIDTH;
    static constexpr int COLUMNS = 16 * WIDTH;             // columns of weighted sums that are taken at once
    static constexpr int WEIGHTS_PITCH = SIDE + WIDTH;
    static constexpr int BLOCKS = WIDTH / 2;               // that a multiprocessor must have registers for
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    static constexpr int GRADIENT_BLOCKS = 1;              // earlier ones need more registers for addresses
#else
    static constexpr int GRADIENT_BLOCKS = BLOCKS;
#endif

    A parts[2 * SIDE * PITCH];          // of a and b, or COLUMNS columns of b for weighted sums
    A weights[SIDE * WEIGHTS_PITCH];
};

__device__ __forceinline__ int thread_row(int i) { return threadIdx.x / 16 + 16 * i; }
__device__ __forceinline__ int thread_column(int j) { return threadIdx.x % 16 + 16 * j; }

// SIDE rows, of NUMBERS columns each, into shared memory; zeros for what is not there.
template <int NUMBERS, int PITCH, class A, class T>
__device__ __forceinline__ void load_part(A* to, const Rows<const T>& from, int first_row, int first_column,
                                          bool aligned) {
    constexpr int WIDTH = Exact<A>::WIDTH, VECTORS = NUMBERS / WIDTH;  // of a row
    static_assert(THREADS % VECTORS == 0, "a thread's vectors lie one below the other");
    constexpr int AT_ONCE = sizeof(A) == 4 ? 2 : 1;  // vectors on their way: float64 has no registers for more
    const int offset = threadIdx.x % VECTORS * WIDTH, column = first_column + offset;
    const T* const source = from.row(first_row) + column;
    if (aligned) {
#pragma unroll AT_ONCE
        for (int row = threadIdx.x / VECTORS, n = 0; n < SIDE * VECTORS / THREADS; ++n, row += THREADS / VECTORS) {
            Vector<T, WIDTH> read = {};
            if (first_row + row < from.count && column < from.columns)
                read = load<WIDTH>(source + row * from.stride);
            Vector<A, WIDTH> numbers;
            for (int w = 0; w < WIDTH; ++w) numbers.of[w] = widen(read.of[w]);
            store<WIDTH>(to + row * PITCH + offset, numbers);
        }
    } else {
#pragma unroll 1
        for (int row = threadIdx.x / VECTORS; row < SIDE; row += THREADS / VECTORS)
#pragma unroll 1
            for (int w = 0; w < WIDTH; ++w) {
                const bool there = first_row + row < from.count && column + w < from.columns;
                to[row * PITCH + offset + w] = there ? widen(source[row * from.stride + w]) : A(0);
            }
    }
}

// Row products of SIDE rows of a and SIDE rows of b.
template <class A, class T>
__device__ __forceinline__ void row_products(A (&sum)[4][4], Exact<A>& shared, const Rows<const T>& a, int first_a,
                                             const Rows<const T>& b, int first_b, bool aligned) {
    typedef Exact<A> E;
    A* const b_part = shared.parts + SIDE * E::PITCH;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) sum[i][j] = A(0);
    for (int first = 0; first < a.columns; first += E::DEPTH) {
        __syncthreads();  // nobody still reads the parts
        load_part<E::DEPTH, E::PITCH>(shared.parts, a, first_a, first, aligned);
        load_part<E::DEPTH, E::PITCH>(b_part, b, first_b, first, aligned);
        __syncthreads();
        const int depth = min(E::DEPTH, a.columns - first);
#pragma unroll 1
        for (int k = 0; k < depth; k += E::WIDTH) {
            Vector<A, E::WIDTH> left[4], right[4];
            for (int i = 0; i < 4; ++i) left[i] = load<E::WIDTH>(shared.parts + thread_row(i) * E::PITCH + k);
            for (int j = 0; j < 4; ++j) right[j] = load<E::WIDTH>(b_part + thread_column(j) * E::PITCH + k);
            for (int w = 0; w < E::WIDTH; ++w)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    for (int j = 0; j < 4; ++j) sum[i][j] += left[i].of[w] * right[j].of[w];
        }
    }
}

// Row products as scores. What the mask adds goes through shared memory, where each thread finds its own again: 16
// addresses at once would not fit the registers.
template <bool ROWS_ARE_KEYS, class A, class T>
__device__ __forceinline__ void to_scores(A (&products)[4][4], Exact<A>& shared, const Mask<T>& mask, int first_row,
                                          int first_column) {
    const bool plain = ROWS_ARE_KEYS ? mask.plain(first_column, SIDE, first_row, SIDE)
                                     : mask.plain(first_row, SIDE, first_column, SIDE);
    A* const mine = shared.weights + thread_row(0) * Exact<A>::WEIGHTS_PITCH + thread_column(0);
    if (!plain) {
#pragma unroll 1
        for (int n = 0; n < 16; ++n) {
            const int row = first_row + thread_row(n / 4), column = first_column + thread_column(n % 4);
            mine[n / 4 * 16 * Exact<A>::WEIGHTS_PITCH + n % 4 * 16] =
                ROWS_ARE_KEYS ? mask(column, row) : mask(row, column);
        }
    }
    const A scale = A(mask.shape.scale);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            products[i][j] *= scale;
            if (plain) continue;
            const A added = mine[i * 16 * Exact<A>::WEIGHTS_PITCH + j * 16];
            products[i][j] = added == minus_infinity() ? added : products[i][j] + added;
        }
}

// The columns of a thread's row products are the weights of the rows of b in the sums that follow, after its barrier.
template <class A> __device__ __forceinline__ void set_weights(Exact<A>& shared, const A (&weights)[4][4]) {
    __syncwarp();  // nobody still reads the last ones
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            shared.weights[thread_row(i) * Exact<A>::WEIGHTS_PITCH + thread_column(j)] = weights[i][j];
}

// Adds sum_c w[r][c] b[first_b + c][n] for CHUNKS * COLUMNS columns n of b from first_column on.
template <int CHUNKS, class A, class T>
__device__ __forceinline__ void add_weighted(A (&sum)[CHUNKS][4][Exact<A>::WIDTH], Exact<A>& shared,
                                             const Rows<const T>& b, int first_b, int first_column, bool aligned) {
    typedef Exact<A> E;
    const int depth = min(SIDE, b.count - first_b);
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; ++chunk) {
        const int first = first_column + chunk * E::COLUMNS;
        if (first >= b.columns) break;
        __syncthreads();  // nobody still reads the parts
        load_part<E::COLUMNS, E::COLUMNS>(shared.parts, b, first_b, first, aligned);
        __syncthreads();
#pragma unroll 1
        for (int k = 0; k < depth; k += E::WIDTH) {
            Vector<A, E::WIDTH> left[4];
            for (int i = 0; i < 4; ++i) left[i] = load<E::WIDTH>(shared.weights + thread_row(i) * E::WEIGHTS_PITCH + k);
            for (int w = 0; w < E::WIDTH; ++w) {
                const auto right = load<E::WIDTH>(shared.parts + (k + w) * E::COLUMNS + threadIdx.x % 16 * E::WIDTH);
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    for (int n = 0; n < E::WIDTH; ++n) sum[chunk][i][n] += left[i].of[w] * right.of[n];
            }
        }
    }
}

// The sums as rows of the result, each times a factor of its row.
template <int CHUNKS, class A, class T>
__device__ __forceinline__ void write_rows(const Rows<T>& to, const A (&sum)[CHUNKS][4][Exact<A>::WIDTH],
                                           const A (&factor)[4], int first_row, int first_column, bool aligned) {
    constexpr int WIDTH = Exact<A>::WIDTH;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; ++chunk) {
        const int column = first_column + chunk * Exact<A>::COLUMNS + threadIdx.x % 16 * WIDTH;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = first_row + thread_row(i);
            if (row >= to.count || column >= to.columns) continue;
            Vector<T, WIDTH> result;
            for (int n = 0; n < WIDTH; ++n) result.of[n] = T(sum[chunk][i][n] * factor[i]);
            if (aligned) {
                store<WIDTH>(to.row(row) + column, result);
            } else {
                for (int n = 0; n < WIDTH; ++n)
                    if (column + n < to.columns) to.row(row)[column + n] = result.of[n];
            }
        }
    }
}

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }

// Over the 16 threads of a row.
template <class A> __device__ __forceinline__ A row_sum(A value) {
    for (int distance = 8; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}
template <class A> __device__ __forceinline__ A row_max(A value) {
    for (int distance = 8; distance > 0; distance /= 2) {
        const A other = __shfl_xor_sync(0xffffffffu, value, distance);
        value = value < other ? other : value;
    }
    return value;
}
