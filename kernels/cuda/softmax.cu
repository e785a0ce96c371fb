// Softmax of each row of x (M,L), y = exp(x - max) / sum of that, and its gradient, dx = y (g - sum of g y).
//
//   row 0  | warp 0 ............ |    L <= 1024: a warp for each row        longer rows, up to 8192: a block for each,
//   row 1  | warp 1 ............ |    (512 and 4096 numbers of float64)     and longer ones still are read twice
//
//   softmax            x once, y once; an exponential and some 4 flops for each number
//   softmax_backward   g and y once, dx once; 4 flops
//
// T is how numbers are stored, A what they are computed in. rows.cuh draws a row that stays in registers. A row of
// -inf becomes nan, as -inf - -inf is.
#include "rows.cuh"

template <class T, class A, int WIDTH, int VECTORS, int TEAM>
__global__ void __launch_bounds__(256, 1)
softmax(const T* __restrict__ x, T* __restrict__ y, long long rows, int length) {
    const long long row = row_of_thread<TEAM>();
    if (row >= rows) return;  // a whole warp
    A e[VECTORS][WIDTH];
    load_row<TEAM>(e, x + row * length, length, minus_infinity<A>());
    A top = e[0][0];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) top = larger(top, e[v][i]);
    top = row_max<TEAM>(top);
    A sum = 0;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) {
            e[v][i] = exp(e[v][i] - top);
            sum += e[v][i];
        }
    const A factor = A(1) / row_sum<TEAM>(sum);
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) e[v][i] *= factor;
    store_row<TEAM>(y + row * length, e, length);
}

template <class T, class A, int WIDTH, int VECTORS, int TEAM>
__global__ void __launch_bounds__(256, 1)
softmax_backward(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx, long long rows, int length) {
    const long long row = row_of_thread<TEAM>();
    if (row >= rows) return;  // a whole warp
    A d[VECTORS][WIDTH], p[VECTORS][WIDTH];
    load_row<TEAM>(d, g + row * length, length, A(0));
    load_row<TEAM>(p, y + row * length, length, A(0));
    A sum = 0;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) sum += d[v][i] * p[v][i];
    sum = row_sum<TEAM>(sum);
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) d[v][i] = p[v][i] * (d[v][i] - sum);
    store_row<TEAM>(dx + row * length, d, length);
}

// The same for rows of any length: a block goes through its row twice.
//
// A thread adds up exp(x - top) for the largest number so far, and scales that down when a larger one comes (Milakov &
// Gimelshein 2018, arXiv:1805.02867); as long as top is -inf, there is nothing to add.
template <class T, class A, int WIDTH>
__global__ void __launch_bounds__(256, 1)
long_softmax(const T* __restrict__ x, T* __restrict__ y, int length) {
    x += (long long)blockIdx.x * length;
    y += (long long)blockIdx.x * length;
    A top = minus_infinity<A>(), sum = 0;
    for (long long at = threadIdx.x * WIDTH; at < length; at += 256 * WIDTH) {
        const Vector<T, WIDTH> v = load<WIDTH>(x + at);
        A now = top;
        for (int i = 0; i < WIDTH; ++i) now = larger(now, A(widen(v.of[i])));
        if (now == minus_infinity<A>()) continue;
        sum *= exp(top - now);
        for (int i = 0; i < WIDTH; ++i) sum += exp(widen(v.of[i]) - now);
        top = now;
    }
    const A highest = row_max<256>(top);
    const A factor = A(1) / row_sum<256>(sum * exp(top - highest));
    for (long long at = threadIdx.x * WIDTH; at < length; at += 256 * WIDTH) {
        Vector<T, WIDTH> v = load<WIDTH>(x + at);
        for (int i = 0; i < WIDTH; ++i) v.of[i] = T(exp(widen(v.of[i]) - highest) * factor);
        store<WIDTH>(y + at, v);
    }
}

template <class T, class A, int WIDTH>
__global__ void __launch_bounds__(256, 1)
long_softmax_backward(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx, int length) {
    const long long row = (long long)blockIdx.x * length;
    A sum = 0;
    for (long long at = threadIdx.x * WIDTH; at < length; at += 256 * WIDTH) {
        const Vector<T, WIDTH> d = load<WIDTH>(g + row + at), p = load<WIDTH>(y + row + at);
        for (int i = 0; i < WIDTH; ++i) sum += widen(d.of[i]) * widen(p.of[i]);
    }
    sum = row_sum<256>(sum);
    for (long long at = threadIdx.x * WIDTH; at < length; at += 256 * WIDTH) {
        Vector<T, WIDTH> d = load<WIDTH>(g + row + at);
        const Vector<T, WIDTH> p = load<WIDTH>(y + row + at);
        for (int i = 0; i < WIDTH; ++i) d.of[i] = T(widen(p.of[i]) * (widen(d.of[i]) - sum));
        store<WIDTH>(dx + row + at, d);
    }
}
