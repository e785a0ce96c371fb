// Layer norm: each row of x (M,C) is normalised by itself, with or without SiLU after it; and its gradient.
//
//   row 0  | warp 0 ............ |    C <= 1024: a warp for each row        longer rows, up to 8192: a block for each
//   row 1  | warp 1 ............ |    (512 and 4096 numbers of float64; norm.cu does what is longer still)
//
//   forward    The row stays in registers: x is read once, y written once. Some 10 flops for each number.
//   backward   The same for g, x and dx; some 20 flops. A team takes every units-th row and adds up du and du n of its
//              columns in registers, so that the sums over rows cost 2 numbers for each column of a unit (sums.cu
//              adds those up).
//
// T is how numbers are stored, A what they are computed in. rows.cuh draws a row.
#include "rows.cuh"
#include "silu.cuh"

template <class T, class A, int WIDTH, int VECTORS, int TEAM>
__global__ void __launch_bounds__(256, 1)
layer_norm(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ y,
           A* __restrict__ mean, A* __restrict__ rstd, long long rows, int channels, A eps, bool silu) {
    const long long row = row_of_thread<TEAM>();
    if (row >= rows) return;  // a whole warp
    A u[VECTORS][WIDTH];
    load_row<TEAM>(u, x + row * channels, channels, A(0));
    A sum = 0;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) sum += u[v][i];
    const A middle = row_sum<TEAM>(sum) / channels;
    A sum_d = 0, sum_d2 = 0;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v)
        for (int i = 0; i < WIDTH; ++i) {
            const A d = start_of<TEAM, WIDTH>(v) < channels ? u[v][i] - middle : A(0);
            sum_d += d;
            sum_d2 += d * d;
        }
    const A rest = row_sum<TEAM>(sum_d) / channels;  // what rounding left of the mean
    const A variance = row_sum<TEAM>(sum_d2) / channels - rest * rest;
    const A average = middle + rest, factor = A(1) / sqrt(variance + eps);
    if (threadIdx.x % TEAM == 0) {
        mean[row] = average;
        rstd[row] = factor;
    }
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int start = start_of<TEAM, WIDTH>(v);
        if (start < channels) {
            A w[WIDTH], b[WIDTH];
            load_or(w, weight, start, A(1));
            load_or(b, bias, start, A(0));
            for (int i = 0; i < WIDTH; ++i) {
                const A n = (u[v][i] - average) * factor * w[i] + b[i];
                u[v][i] = silu ? n * sigmoid(n) : n;
            }
        }
    }
    store_row<TEAM>(y + row * channels, u, channels);
}

// dx, and partial (units, 2, C): the sums of du and of du n over the rows u, u + units, ... for each unit u.
template <class T, class A, int WIDTH, int VECTORS, int TEAM>
__global__ void __launch_bounds__(256, 1)
layer_norm_backward(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ weight,
                    const T* __restrict__ bias, const A* __restrict__ mean, const A* __restrict__ rstd,
                    T* __restrict__ dx, A* __restrict__ partial, long long rows, int channels, int units, bool silu) {
    const long long unit = row_of_thread<TEAM>();
    if (unit >= units) return;  // a whole warp
    A sum_du[VECTORS][WIDTH] = {}, sum_du_n[VECTORS][WIDTH] = {};
    for (long long row = unit; row < rows; row += units) {
        A n[VECTORS][WIDTH], d[VECTORS][WIDTH];
        const A average = mean[row], factor = rstd[row];
        load_row<TEAM>(n, x + row * channels, channels, average);
        load_row<TEAM>(d, g + row * channels, channels, A(0));
        A dn = 0, dn_n = 0;
#pragma unroll
        for (int v = 0; v < VECTORS; ++v) {
            const int start = start_of<TEAM, WIDTH>(v);
            if (start < channels) {
                A w[WIDTH], b[WIDTH];
                load_or(w, weight, start, A(1));
                load_or(b, bias, start, A(0));
                for (int i = 0; i < WIDTH; ++i) {
                    n[v][i] = (n[v][i] - average) * factor;
                    const A du = silu ? d[v][i] * silu_slope(n[v][i] * w[i] + b[i]) : d[v][i];
                    sum_du[v][i] += du;
                    sum_du_n[v][i] += du * n[v][i];
                    d[v][i] = du * w[i];
                    dn += d[v][i];
                    dn_n += d[v][i] * n[v][i];
                }
            }
        }
        const A average_dn = row_sum<TEAM>(dn) / channels, average_dn_n = row_sum<TEAM>(dn_n) / channels;
#pragma unroll
        for (int v = 0; v < VECTORS; ++v)
            for (int i = 0; i < WIDTH; ++i) d[v][i] = (d[v][i] - average_dn - n[v][i] * average_dn_n) * factor;
        store_row<TEAM>(dx + row * channels, d, channels);
    }
    store_row<TEAM>(partial + unit * 2 * channels, sum_du, channels);
    store_row<TEAM>(partial + (unit * 2 + 1) * channels, sum_du_n, channels);
}
