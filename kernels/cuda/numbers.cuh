// Numbers of several types under one name: how they are stored, what they are computed in, and sums over threads.
#pragma once
#include <cuda_fp16.h>

// What sums of T are taken in: float16 is storage only.
template <class T> struct AccumulatorOf { typedef T type; };
template <> struct AccumulatorOf<__half> { typedef float type; };
template <class T> using Accumulator = typename AccumulatorOf<T>::type;

// T as the type it is computed in. A result goes back with T(value).
template <class T> __device__ __forceinline__ Accumulator<T> widen(T value) { return Accumulator<T>(value); }

// N numbers that are moved at once, or 16 bytes at a time where they are more: their address divides by that.
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Vector { T of[N]; };

template <int N, class T> __device__ __forceinline__ Vector<T, N> load(const T* from) {
    return *reinterpret_cast<const Vector<T, N>*>(from);
}
template <int N, class T> __device__ __forceinline__ void store(T* to, const Vector<T, N>& value) {
    *reinterpret_cast<Vector<T, N>*>(to) = value;
}

// N numbers of an array, array[at], ..., or `otherwise` if there is no array.
template <int N, class T, class A>
__device__ __forceinline__ void load_or(A (&values)[N], const T* array, int at, A otherwise) {
    Vector<T, N> v;
    if (array) v = load<N>(array + at);
    for (int i = 0; i < N; ++i) values[i] = array ? A(widen(v.of[i])) : otherwise;
}

// Stores values as numbers of type T, 16 bytes at a time.
template <class T, class A, int N> __device__ __forceinline__ void store_all(T* to, const A (&values)[N]) {
    constexpr int WIDTH = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
    for (int first = 0; first < N; first += WIDTH) {
        Vector<T, WIDTH> v;
        for (int i = 0; i < WIDTH; ++i) v.of[i] = T(values[first + i]);
        store<WIDTH>(to + first, v);
    }
}

// The sum over the 32 lanes of a warp, in every lane, in a fixed order.
template <class T> __device__ __forceinline__ T warp_sum(T value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}
template <class T> __device__ __forceinline__ T warp_max(T value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, value, distance);
        value = value < other || other != other ? other : value;  // a NaN stays
    }
    return value;
}

// The sum over all THREADS of a block, in every thread, in a fixed order. May be called again at once.
template <int THREADS, class T> __device__ __forceinline__ T block_sum(T value) {
    static_assert(THREADS % 32 == 0 && THREADS <= 1024, "whole warps");
    __shared__ T of_warp[THREADS / 32];
    value = warp_sum(value);
    __syncthreads();  // nobody still reads an earlier sum
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    T total = T(0);
    for (int w = 0; w < THREADS / 32; ++w) total += of_warp[w];
    return total;
}
