// Group norm, with or without SiLU after it, and its gradient. A sample of x is a matrix of positions by channels; each
// is cut into units of positions, which blocks share out in tiles of channels (columns.cuh draws a block).
//
//                 channels ->                       stage 1   a block for each unit and tile: two sums of each channel,
//               |  group 0  |  group 1  |                     from which numbers are kept that can be added safely
//   unit 0      |  tile 0   |  tile 1   |           stage 2   a warp or a block for each sample and group: its sums
//   unit 1      |  tile 0   |  tile 1   |                     over units and channels, in float64
//   (positions) |                       |           stage 3   blocks as in stage 1: the output
//
// A tile knows nothing of groups: with one group, one for each channel, or anything between, it is the same two passes.
//
//   forward    reads x twice, writes y: 3 numbers moved for each of x; some 10 flops, 30 with SiLU
//   backward   reads g and x twice, writes dx: 5 numbers; some 20 flops, 60 with SiLU (which is computed twice rather
//              than kept). Its sums of stage 1, added up over the samples, are dbias and dweight (sums.cu).
//   Between the stages there are at most two numbers for each channel of 64 positions. What is still in the
//   second-level cache after stage 1, all of a sample of some MB, stage 3 reads from there.
//
// T is how numbers are stored, A what they are computed in. Layer norm of rows is in layer_norm.cu.
#include "columns.cuh"
#include "silu.cuh"

// partial (N, units, 2, C): of each channel of a unit, the mean and the sum of the squared distances from it.
//
// A thread takes its distances from p, the first of its n numbers. The sum of d^2 from there is q, the one from their
// mean, plus n (mean - p)^2, which is at most n q: however large the numbers, and however far out p lies, no more than
// n roundings are lost (n is 8, but in very large samples). What the threads have is moved to one place, the channel's
// first number in the unit, in float64, which has digits to spare.
template <class T, int WIDTH>
__global__ void __launch_bounds__(256, 1)
moments(const T* __restrict__ x, double* __restrict__ partial, int positions, int channels, int columns, int unit,
        int units) {
    const Place at = place<WIDTH>(columns, channels);
    const int n = blockIdx.x / units, k = blockIdx.x % units;
    const int count = min(unit, positions - k * unit);
    x += ((long long)n * positions + k * unit) * channels + at.channel;
    Vector<T, WIDTH> first = {};
    double sums[2][WIDTH] = {};
    if (at.active && at.row < count) {
        first = load<WIDTH>(x);
        const Vector<T, WIDTH> own = load<WIDTH>(x + (long long)at.row * channels);
        Accumulator<T> sum_d[WIDTH] = {}, sum_d2[WIDTH] = {};
#pragma unroll 4
        for (int p = at.row + at.rows; p < count; p += at.rows) {
            const Vector<T, WIDTH> v = load<WIDTH>(x + (long long)p * channels);
            for (int i = 0; i < WIDTH; ++i) {
                const Accumulator<T> d = widen(v.of[i]) - widen(own.of[i]);
                sum_d[i] += d;
                sum_d2[i] += d * d;
            }
        }
        const int numbers = (count - at.row + at.rows - 1) / at.rows;
        for (int i = 0; i < WIDTH; ++i) {
            const double moved = double(widen(own.of[i])) - double(widen(first.of[i]));
            sums[0][i] = sum_d[i] + numbers * moved;
            sums[1][i] = sum_d2[i] + moved * (2.0 * sum_d[i] + numbers * moved);
        }
    }
    sum_rows(sums, columns);
    if (!at.active || at.row > 0) return;
    partial += (long long)blockIdx.x * 2 * channels + at.channel;
    for (int i = 0; i < WIDTH; ++i) {
        const double d = sums[0][i] / count;
        sums[0][i] = double(widen(first.of[i])) + d;
        sums[1][i] -= d * d * count;
    }
    store_all(partial, sums[0]);
    store_all(partial + channels, sums[1]);
}

// mean and rstd (N, groups) from the moments of units and channels (Chan et al. 1979): a block of GROUP threads each.
template <class A, int GROUP>
__global__ void __launch_bounds__(GROUP, 1)
statistics(const double* __restrict__ partial, A* __restrict__ mean, A* __restrict__ rstd, int positions, int channels,
           int groups, int unit, int units, double eps) {
    const int n = blockIdx.x / groups, j = blockIdx.x % groups, size = channels / groups;
    partial += (long long)n * units * 2 * channels + j * size;
    const double total = (double)positions * size;
    double sum = 0;
    for (int i = threadIdx.x; i < units * size; i += GROUP) {
        const int k = i / size;
        sum += min(unit, positions - k * unit) * partial[(long long)k * 2 * channels + i % size];
    }
    const double average = block_sum<GROUP>(sum) / total;
    double squares = 0;
    for (int i = threadIdx.x; i < units * size; i += GROUP) {
        const int k = i / size;
        const double* of_channel = partial + (long long)k * 2 * channels + i % size;
        const double d = of_channel[0] - average;
        squares += of_channel[channels] + min(unit, positions - k * unit) * (d * d);
    }
    const double variance = block_sum<GROUP>(squares) / total;
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = A(average);
        rstd[blockIdx.x] = A(1 / sqrt(variance + eps));
    }
}

template <class T, class A, int WIDTH>
__global__ void __launch_bounds__(256, 1)
normalise(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
          const A* __restrict__ mean, const A* __restrict__ rstd, T* __restrict__ y, int positions, int channels,
          int groups, int columns, int unit, int units, bool silu) {
    const Place at = place<WIDTH>(columns, channels);
    if (!at.active) return;
    const int n = blockIdx.x / units, k = blockIdx.x % units, size = channels / groups;
    const int count = min(unit, positions - k * unit);
    const long long start = ((long long)n * positions + k * unit) * channels + at.channel;
    A center[WIDTH], scale[WIDTH], shift[WIDTH];
    load_or(scale, weight, at.channel, A(1));
    load_or(shift, bias, at.channel, A(0));
    for (int i = 0; i < WIDTH; ++i) {
        const int group = n * groups + (at.channel + i) / size;
        center[i] = mean[group];
        scale[i] *= rstd[group];
    }
#pragma unroll 4
    for (int p = at.row; p < count; p += at.rows) {
        Vector<T, WIDTH> v = load<WIDTH>(x + start + (long long)p * channels);
        for (int i = 0; i < WIDTH; ++i) {
            const A u = (widen(v.of[i]) - center[i]) * scale[i] + shift[i];
            v.of[i] = T(silu ? u * sigmoid(u) : u);
        }
        store<WIDTH>(y + start + (long long)p * channels, v);
    }
}

// What the two passes of the gradient know of a thread's channels.
template <class A, int WIDTH> struct Channels {
    A mean[WIDTH], rstd[WIDTH], weight[WIDTH], bias[WIDTH];

    template <class T>
    __device__ __forceinline__ Channels(const T* weights, const T* biases, const A* means, const A* rstds, int first,
                                        int n, int groups, int size) {
        load_or(weight, weights, first, A(1));
        load_or(bias, biases, first, A(0));
        for (int i = 0; i < WIDTH; ++i) {
            const int group = n * groups + (first + i) / size;
            mean[i] = means[group];
            rstd[i] = rstds[group];
        }
    }
    // n = (x - mean) rstd, and du for the gradient g of y: u = n weight + bias, and y = silu(u) or u.
    __device__ __forceinline__ A normal(A x, int i) const { return (x - mean[i]) * rstd[i]; }
    __device__ __forceinline__ A du(A g, A normal, int i, bool silu) const {
        return silu ? g * silu_slope(normal * weight[i] + bias[i]) : g;
    }
};

// partial (N, units, 2, C): of each channel of a unit, the sums of du and of du n.
template <class T, class A, int WIDTH>
__global__ void __launch_bounds__(256, 1)
gradient_sums(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ weight,
              const T* __restrict__ bias, const A* __restrict__ mean, const A* __restrict__ rstd,
              A* __restrict__ partial, int positions, int channels, int groups, int columns, int unit, int units,
              bool silu) {
    const Place at = place<WIDTH>(columns, channels);
    const int n = blockIdx.x / units, k = blockIdx.x % units;
    const int count = min(unit, positions - k * unit);
    A sums[2][WIDTH] = {};
    if (at.active) {
        const Channels<A, WIDTH> own(weight, bias, mean, rstd, at.channel, n, groups, channels / groups);
        const long long start = ((long long)n * positions + k * unit) * channels + at.channel;
#pragma unroll 4
        for (int p = at.row; p < count; p += at.rows) {
            const Vector<T, WIDTH> v = load<WIDTH>(x + start + (long long)p * channels);
            const Vector<T, WIDTH> w = load<WIDTH>(g + start + (long long)p * channels);
            for (int i = 0; i < WIDTH; ++i) {
                const A normal = own.normal(widen(v.of[i]), i), du = own.du(widen(w.of[i]), normal, i, silu);
                sums[0][i] += du;
                sums[1][i] += du * normal;
            }
        }
    }
    sum_rows(sums, columns);
    if (!at.active || at.row > 0) return;
    partial += (long long)blockIdx.x * 2 * channels + at.channel;
    store_all(partial, sums[0]);
    store_all(partial + channels, sums[1]);
}

// averages (N, groups, 2): those of dn = du weight and of dn n over a group. A block of GROUP threads for each.
template <class T, class A, int GROUP>
__global__ void __launch_bounds__(GROUP, 1)
group_averages(const A* __restrict__ partial, const T* __restrict__ weight, A* __restrict__ averages, int positions,
               int channels, int groups, int units) {
    const int n = blockIdx.x / groups, j = blockIdx.x % groups, size = channels / groups;
    partial += (long long)n * units * 2 * channels + j * size;
    double dn = 0, dn_n = 0;
    for (int i = threadIdx.x; i < units * size; i += GROUP) {
        const A* of_channel = partial + (long long)(i / size) * 2 * channels + i % size;
        const double w = weight ? double(widen(weight[j * size + i % size])) : 1;
        dn += w * of_channel[0];
        dn_n += w * of_channel[channels];
    }
    dn = block_sum<GROUP>(dn);
    dn_n = block_sum<GROUP>(dn_n);
    if (threadIdx.x == 0) {
        averages[2LL * blockIdx.x] = A(dn / ((double)positions * size));
        averages[2LL * blockIdx.x + 1] = A(dn_n / ((double)positions * size));
    }
}

// dx = rstd (dn - average(dn) - n average(dn n)); kernels/reference.py derives it.
template <class T, class A, int WIDTH>
__global__ void __launch_bounds__(256, 1)
input_gradient(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ weight,
               const T* __restrict__ bias, const A* __restrict__ mean, const A* __restrict__ rstd,
               const A* __restrict__ averages, T* __restrict__ dx, int positions, int channels, int groups,
               int columns, int unit, int units, bool silu) {
    const Place at = place<WIDTH>(columns, channels);
    if (!at.active) return;
    const int n = blockIdx.x / units, k = blockIdx.x % units, size = channels / groups;
    const int count = min(unit, positions - k * unit);
    const long long start = ((long long)n * positions + k * unit) * channels + at.channel;
    const Channels<A, WIDTH> own(weight, bias, mean, rstd, at.channel, n, groups, size);
    A average_dn[WIDTH], average_dn_n[WIDTH];
    for (int i = 0; i < WIDTH; ++i) {
        const A* of_group = averages + 2LL * (n * groups + (at.channel + i) / size);
        average_dn[i] = of_group[0];
        average_dn_n[i] = of_group[1];
    }
#pragma unroll 2
    for (int p = at.row; p < count; p += at.rows) {
        Vector<T, WIDTH> v = load<WIDTH>(x + start + (long long)p * channels);
        const Vector<T, WIDTH> w = load<WIDTH>(g + start + (long long)p * channels);
        for (int i = 0; i < WIDTH; ++i) {
            const A normal = own.normal(widen(v.of[i]), i);
            const A dn = own.du(widen(w.of[i]), normal, i, silu) * own.weight[i];
            v.of[i] = T((dn - average_dn[i] - normal * average_dn_n[i]) * own.rstd[i]);
        }
        store<WIDTH>(dx + start + (long long)p * channels, v);
    }
}
