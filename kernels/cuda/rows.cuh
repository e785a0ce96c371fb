// A row of numbers, held in the registers of a team of threads: a warp, or a block of 256.
//
//   row   |t0 |t1 |...|t31|t0 |t1 |...|t31|t0 |t1 |      thread t of TEAM = 32 takes the vectors t, t + 32, ... of
//         '---- vector 0 -----'---- vector 1 -----'      WIDTH numbers, at most VECTORS of them
//
// WIDTH divides the length of a row. Blocks have 256 threads: eight rows, or one. __launch_bounds__(256, 1) leaves a
// thread as many registers as it takes (columns.cuh says why).
#pragma once
#include "numbers.cuh"

// Which row this thread works on.
template <int TEAM> __device__ __forceinline__ long long row_of_thread() {
    return blockIdx.x * (256LL / TEAM) + threadIdx.x / TEAM;
}
// Where in the row the thread's vector v begins.
template <int TEAM, int WIDTH> __device__ __forceinline__ int start_of(int v) {
    return (v * TEAM + threadIdx.x % TEAM) * WIDTH;
}

// The thread's numbers of a row, with `beyond` where the row has ended.
template <int TEAM, class T, class A, int VECTORS, int WIDTH>
__device__ __forceinline__ void load_row(A (&row)[VECTORS][WIDTH], const T* from, int length, A beyond) {
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int start = start_of<TEAM, WIDTH>(v);
        Vector<T, WIDTH> numbers;
        if (start < length) numbers = load<WIDTH>(from + start);
        for (int i = 0; i < WIDTH; ++i) row[v][i] = start < length ? A(widen(numbers.of[i])) : beyond;
    }
}
template <int TEAM, class T, class A, int VECTORS, int WIDTH>
__device__ __forceinline__ void store_row(T* to, const A (&row)[VECTORS][WIDTH], int length) {
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int start = start_of<TEAM, WIDTH>(v);
        if (start < length) store_all(to + start, row[v]);
    }
}

// The sum, or the largest, of what the threads of a row bring, in each of them. A NaN is the largest.
template <int TEAM, class A> __device__ __forceinline__ A row_sum(A value) {
    if constexpr (TEAM == 32) return warp_sum(value);
    else return block_sum<TEAM>(value);
}
template <class A> __device__ __forceinline__ A minus_infinity() { return A(__int_as_float(0xff800000)); }
template <class A> __device__ __forceinline__ A larger(A a, A b) { return a < b || b != b ? b : a; }

template <int TEAM, class A> __device__ __forceinline__ A row_max(A value) {
    value = warp_max(value);
    if constexpr (TEAM > 32) {
        __shared__ A of_warp[TEAM / 32];
        __syncthreads();  // nobody still reads an earlier one
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
        __syncthreads();
        for (int w = 0; w < TEAM / 32; ++w) value = larger(value, of_warp[w]);
    }
    return value;
}
