// A block's 256 threads over a matrix of positions and channels, of which columns are summed.
//
//            a vector of WIDTH channels
//   row 0   |t0 |t1 |t2 |   thread t stands in row t / columns, column t % columns of the block. It always takes the
//   row 1   |t3 |t4 |t5 |   same channels, and every rows-th position: what belongs to a channel stays in registers,
//   row 0   |t0 |t1 |t2 |   and threads side by side read memory side by side. If 256 / columns is no whole number,
//   row 1   |t3 |t4 |t5 |   or the channels end, some threads have nothing to do.
//
// __launch_bounds__(256, 1) leaves a thread as many registers as it takes: without the 1, the compiler spills some to
// fit one more block into a multiprocessor.
//
// blockIdx.y counts tiles of `columns` vectors; blockIdx.x, the samples and the units into which a sample is cut.
#pragma once
#include "numbers.cuh"

constexpr int THREADS = 256;

struct Place {
    int row, rows, channel;  // channel: the first of the thread's WIDTH
    bool active;
};

template <int WIDTH> __device__ __forceinline__ Place place(int columns, int channels) {
    const int rows = THREADS / columns, row = threadIdx.x / columns;
    const int channel = (blockIdx.y * columns + threadIdx.x % columns) * WIDTH;
    return {row, rows, channel, row < rows && channel < channels};
}

// SUMS times WIDTH sums of each column over the rows of the block, in a fixed order, for the threads of row 0. All
// threads call this, once in a kernel.
template <int SUMS, int WIDTH, class A>
__device__ __forceinline__ void sum_rows(A (&values)[SUMS][WIDTH], int columns) {
    __shared__ A of_thread[SUMS * WIDTH][THREADS];
    const int rows = THREADS / columns, row = threadIdx.x / columns;
    for (int i = 0; i < SUMS * WIDTH; ++i) of_thread[i][threadIdx.x] = values[i / WIDTH][i % WIDTH];
    for (int reach = THREADS / 2; reach > 0; reach /= 2) {
        if (reach >= rows) continue;
        __syncthreads();
        if (row < reach && row + reach < rows)
            for (int i = 0; i < SUMS * WIDTH; ++i)
                of_thread[i][threadIdx.x] += of_thread[i][threadIdx.x + reach * columns];
    }
    for (int i = 0; i < SUMS * WIDTH; ++i) values[i / WIDTH][i % WIDTH] = of_thread[i][threadIdx.x];
}
