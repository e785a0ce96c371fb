// Activation functions and their derivatives, element by element: one pass over memory.
//
//   activation            y = f(x)             bytes: 2 of T a number, read once and written once
//   activation_backward   dx = g f'(v)         bytes: 3 of T a number
//
//   x:  |aaaa|bbbb|cccc|...|zz|    one thread one vector of 16 bytes, in 256 threads a block; the last vector may be
//                                  short: its numbers are moved one by one
//
// Flops: from 1 (relu) to some 40 (erf, tanh) a number. By the data sheets, 8 bytes take as long as 76 flops of float32
// on an A100 and as 160 on an H100, so all are bound by bytes. Which function it is, all threads of a launch agree on:
// the switch costs one jump.
#include "numbers.cuh"
#include "silu.cuh"

enum Function { RELU, LEAKY_RELU, SIGMOID, TANH, EXP, ERF, SILU, SOFTPLUS, GELU, GELU_TANH };  // as checks.ACTIVATIONS

template <int N, class T> __device__ __forceinline__ Vector<T, N> load_first(const T* from, long long n) {
    if (n >= N) return load<N>(from);
    Vector<T, N> value = {};
#pragma unroll
    for (int i = 0; i < N; ++i) {
        if (i < n) value.of[i] = from[i];
    }
    return value;
}
template <int N, class T> __device__ __forceinline__ void store_first(T* to, const Vector<T, N>& value, long long n) {
    if (n >= N) return store<N>(to, value);
#pragma unroll
    for (int i = 0; i < N; ++i) {
        if (i < n) to[i] = value.of[i];
    }
}

// The normal distribution function, and what Hendrycks & Gimpel 2016 approximate it by.
template <class T> __device__ __forceinline__ T normal_cdf(T x) {
    return T(0.5) + T(0.5) * erf(x * T(0.70710678118654752));
}
template <class T> __device__ __forceinline__ T tanh_cdf(T x) {
    return T(0.5) + T(0.5) * tanh(T(0.79788456080286536) * (x + T(0.044715) * x * x * x));  // sqrt(2 / pi)
}
template <class T> __device__ __forceinline__ T tanh_cdf_slope(T x) {
    const T p = tanh_cdf(x);
    return T(2) * p * (T(1) - p) * T(0.79788456080286536) * (T(1) + T(3 * 0.044715) * x * x);
}

// v = f(v) for every number of a vector, and d = f(d, v).
template <class T, int N, class F> __device__ __forceinline__ void each(Vector<T, N>& v, F f) {
#pragma unroll
    for (int i = 0; i < N; ++i) v.of[i] = f(v.of[i]);
}
template <class T, int N, class F>
__device__ __forceinline__ void each(Vector<T, N>& d, const Vector<T, N>& v, F f) {
#pragma unroll
    for (int i = 0; i < N; ++i) d.of[i] = f(d.of[i], v.of[i]);
}

template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
activation(const T* __restrict__ x, T* __restrict__ y, long long size, int function, T slope) {
    const long long at = (blockIdx.x * 256LL + threadIdx.x) * WIDTH;
    if (at >= size) return;
    Vector<T, WIDTH> v = load_first<WIDTH>(x + at, size - at);
    switch (function) {
        case RELU: each(v, [](T x) { return x < T(0) ? T(0) : x; }); break;  // a NaN stays
        case LEAKY_RELU: each(v, [=](T x) { return x > T(0) ? x : x * slope; }); break;
        case SIGMOID: each(v, [](T x) { return sigmoid(x); }); break;
        case TANH: each(v, [](T x) { return tanh(x); }); break;
        case EXP: each(v, [](T x) { return exp(x); }); break;
        case ERF: each(v, [](T x) { return erf(x); }); break;
        case SILU: each(v, [](T x) { return x / (T(1) + exp(-x)); }); break;
        case SOFTPLUS: each(v, [](T x) { return (x < T(0) ? T(0) : x) + log1p(exp(-fabs(x))); }); break;
        case GELU: each(v, [](T x) { return x * normal_cdf(x); }); break;
        case GELU_TANH: each(v, [](T x) { return x * tanh_cdf(x); }); break;
    }
    store_first(y + at, v, size - at);
}

// v holds y = f(x) for relu, sigmoid and tanh, whose derivatives are simpler in it, and x for the others.
template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
activation_backward(const T* __restrict__ g, const T* __restrict__ v, T* __restrict__ dx, long long size, int function,
                    T slope) {
    const long long at = (blockIdx.x * 256LL + threadIdx.x) * WIDTH;
    if (at >= size) return;
    const Vector<T, WIDTH> seen = load_first<WIDTH>(v + at, size - at);
    Vector<T, WIDTH> d = load_first<WIDTH>(g + at, size - at);
    switch (function) {
        case RELU: each(d, seen, [](T g, T y) { return g * T(y > T(0)); }); break;
        case LEAKY_RELU: each(d, seen, [=](T g, T x) { return x > T(0) ? g : g * slope; }); break;
        case SIGMOID: each(d, seen, [](T g, T y) { return g * (y * (T(1) - y)); }); break;
        case TANH: each(d, seen, [](T g, T y) { return g * (T(1) - y * y); }); break;
        case EXP: each(d, seen, [](T g, T x) { return g * exp(x); }); break;
        case ERF: each(d, seen, [](T g, T x) { return g * (T(1.1283791670955126) * exp(-x * x)); }); break;  // 2/sqrt(pi)
        case SILU: each(d, seen, [](T g, T x) { return g * silu_slope(x); }); break;
        case SOFTPLUS: each(d, seen, [](T g, T x) { return g * sigmoid(x); }); break;
        case GELU:
            each(d, seen, [](T g, T x) {
                const T density = T(0.39894228040143268) * exp(T(-0.5) * x * x);  // 1 / sqrt(2 pi)
                return g * (normal_cdf(x) + x * density);
            });
            break;
        case GELU_TANH: each(d, seen, [](T g, T x) { return g * (tanh_cdf(x) + x * tanh_cdf_slope(x)); }); break;
    }
    store_first(dx + at, d, size - at);
}
