// Rows of g (M,C) added to the rows of y (V,C) that their keys name, without atomics: the same bits every time. The
// rows come sorted by key, equal keys in their old order, so that what goes to one row of y is a run of neighbours:
//
//   keys    | 3 3 3 7 | 7 7 7 7 | 7 9 9 9 |    row s of the sorted ones is row order[s] of g and goes to row keys[s] of y
//   chunks  |    0    |    1    |    2    |    a thread owns a vector of channels of a chunk, CHUNK rows
//
//   sum_runs    adds up the runs in a chunk. One that begins there goes to y; the rest of one that began in an earlier
//               chunk goes to carried[chunk]:  y[3], y[7] | carried[1] | carried[2], y[9]
//   join_runs   the chunk in which a run began that went on adds what later ones carried:  y[7] += carried[1] + carried[2]
//
// Bytes: g once, in whole rows, the rows of y that are named once, and 16 a row for order and keys; carried is small:
// 2 / CHUNK of g. Flops: one a number. So a run of n rows takes CHUNK + n / CHUNK steps one after another, not n.
#include "numbers.cuh"

constexpr int CHUNK = 32;

template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
sum_runs(const T* __restrict__ g, const long long* __restrict__ order, const long long* __restrict__ keys,
         T* __restrict__ y, T* __restrict__ carried, long long rows, long long chunks, int channels) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    const int vectors = channels / WIDTH;
    if (i >= chunks * vectors) return;
    const long long chunk = i / vectors, first = chunk * CHUNK, end = min(first + CHUNK, rows);
    const int c = i % vectors * WIDTH;
    long long key = keys[first];
    const bool goes_on = first > 0 && keys[first - 1] == key;
    T* to = goes_on ? carried + chunk * channels : y + key * channels;
    Vector<T, WIDTH> sum = {};
#pragma unroll 4
    for (long long s = first; s < end; ++s) {
        if (keys[s] != key) {
            store(to + c, sum);
            key = keys[s];
            to = y + key * channels;
            sum = {};
        }
        const Vector<T, WIDTH> row = load<WIDTH>(g + order[s] * channels + c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sum.of[k] += row.of[k];
    }
    store(to + c, sum);
}

template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
join_runs(const long long* __restrict__ keys, T* __restrict__ y, const T* __restrict__ carried, long long rows,
          long long chunks, int channels) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    const int vectors = channels / WIDTH;
    if (i >= chunks * vectors) return;
    const long long first = i / vectors * CHUNK;
    const int c = i % vectors * WIDTH;
    long long next = first + CHUNK;  // the beginning of a later chunk
    if (next >= rows) return;
    const long long key = keys[next - 1];
    if (keys[next] != key) return;                     // the last run of this chunk ends with it
    if (first > 0 && keys[first - 1] == key) return;  // it began in an earlier one
    Vector<T, WIDTH> sum = load<WIDTH>(y + key * channels + c);
#pragma unroll 4
    for (; next < rows && keys[next] == key; next += CHUNK) {
        const Vector<T, WIDTH> more = load<WIDTH>(carried + next / CHUNK * channels + c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sum.of[k] += more.of[k];
    }
    store(y + key * channels + c, sum);
}
