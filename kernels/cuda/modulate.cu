// What a modulated layer does besides its convolution: y = gain leaky_relu(u), u = scale x + noise + bias; and backwards.
// A sample of x is a matrix of positions by channels, which blocks share out in units and tiles (columns.cuh draws one):
//
//                 channels ->
//               |  tile 0   |  tile 1   |    scale and bias belong to a column, and stay in a thread's registers;
//   unit 0      |           |           |    noise belongs to a row.
//   unit 1      |           |           |    Backwards each is a sum of du: over a unit's rows, which sums.cu adds up over
//   (positions) |           |           |    units; over a tile's columns, which it adds up over tiles if there are several.
//
//   modulate            reads x, writes y: 2 numbers moved for each of x; 5 flops
//   modulate_backward   reads g and x, writes dx: 3 numbers moved; some 10 flops
//
// A thread takes EACH positions, so that one barrier serves the sums over columns of all of them.
#include "columns.cuh"

constexpr int EACH = 8;  // as in modulate.py

// What a thread knows of its channels.
template <class T, int WIDTH> struct Channels {
    T scale[WIDTH], bias[WIDTH];

    __device__ __forceinline__ Channels(const T* scales, const T* biases, int first, int n, int channels) {
        load_or(scale, scales ? scales + (long long)n * channels : scales, first, T(1));
        load_or(bias, biases, first, T(0));
    }
};

template <class T, int WIDTH>
__global__ void __launch_bounds__(256, 1)
modulate(const T* __restrict__ x, const T* __restrict__ scale, const T* __restrict__ noise, const T* __restrict__ bias,
         T* __restrict__ y, int positions, int channels, int columns, int unit, int units, T slope, T gain) {
    const Place at = place<WIDTH>(columns, channels);
    if (!at.active) return;
    const int n = blockIdx.x / units, k = blockIdx.x % units;
    const int count = min(unit, positions - k * unit);
    const long long first = (long long)n * positions + k * unit;
    const Channels<T, WIDTH> own(scale, bias, at.channel, n, channels);
#pragma unroll 4
    for (int p = at.row; p < count; p += at.rows) {
        const long long here = (first + p) * channels + at.channel;
        const T of_pixel = noise ? noise[first + p] : T(0);
        Vector<T, WIDTH> v = load<WIDTH>(x + here);
        for (int i = 0; i < WIDTH; ++i) {
            const T u = v.of[i] * own.scale[i] + (of_pixel + own.bias[i]);
            v.of[i] = gain * (u > T(0) ? u : u * slope);
        }
        store<WIDTH>(y + here, v);
    }
}

// sums (2, N, units, C): of du, and of du x, over units of positions. dnoise (tiles, N, positions): of du over tiles of
// channels; nothing without noise.
template <class T, int WIDTH>
__global__ void __launch_bounds__(256, 1)
modulate_backward(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ scale,
                  const T* __restrict__ noise, const T* __restrict__ bias, T* __restrict__ dx, T* __restrict__ dnoise,
                  T* __restrict__ partial, int positions, int channels, int columns, int unit, int units, T slope,
                  T gain) {
    __shared__ T of_thread[EACH][THREADS];
    const Place at = place<WIDTH>(columns, channels);
    const int n = blockIdx.x / units, k = blockIdx.x % units, samples = gridDim.x / units;
    const int count = min(unit, positions - k * unit);
    const long long first = (long long)n * positions + k * unit;
    T sums[2][WIDTH] = {}, over_channels[EACH] = {};
    if (at.active) {
        const Channels<T, WIDTH> own(scale, bias, at.channel, n, channels);
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const int p = at.row + e * at.rows;
            if (p >= count) break;
            const long long here = (first + p) * channels + at.channel;
            const T of_pixel = noise ? noise[first + p] : T(0);
            const Vector<T, WIDTH> v = load<WIDTH>(x + here);
            Vector<T, WIDTH> d = load<WIDTH>(g + here);
            for (int i = 0; i < WIDTH; ++i) {
                const T u = v.of[i] * own.scale[i] + (of_pixel + own.bias[i]);
                const T du = gain * (u > T(0) ? d.of[i] : d.of[i] * slope);
                sums[0][i] += du;
                sums[1][i] += du * v.of[i];
                over_channels[e] += du;
                d.of[i] = du * own.scale[i];
            }
            store<WIDTH>(dx + here, d);
        }
    }
    if (noise) {
        for (int e = 0; e < EACH; ++e) of_thread[e][threadIdx.x] = over_channels[e];
        __syncthreads();
        for (int p = threadIdx.x; p < count; p += THREADS) {
            T sum = 0;
            for (int c = 0; c < columns; ++c)  // from another column in each thread: from another bank
                sum += of_thread[p / at.rows][p % at.rows * columns + (p + c) % columns];
            dnoise[(long long)blockIdx.y * samples * positions + first + p] = sum;
        }
    }
    sum_rows(sums, columns);
    if (!at.active || at.row > 0) return;
    partial += (long long)blockIdx.x * channels + at.channel;
    store_all(partial, sums[0]);
    store_all(partial + (long long)gridDim.x * channels, sums[1]);
}
