// sigmoid(u), and the derivative of silu(u) = u sigmoid(u): s (1 + u (1 - s)) with s = sigmoid(u).
#pragma once

template <class A> __device__ __forceinline__ A sigmoid(A u) { return A(1) / (A(1) + exp(-u)); }  // 1 / inf is 0

template <class A> __device__ __forceinline__ A silu_slope(A u) {
    const A s = sigmoid(u);
    return s * (A(1) + u * (A(1) - s));
}
