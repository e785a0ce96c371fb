// Small correct kernels, for tests of the emulator and of the launcher.
#include "numbers.cuh"
#include "pipeline.cuh"
#include "tensor_core.cuh"

// ---- one warp's tensor cores: d (16,8) = a b ------------------------------------------------------------------------
template <bool ROUNDED> __global__ void multiply_tf32(const float* a, const float* b, float* d) {
    const int g = threadIdx.x / 4, q = threadIdx.x % 4;
    const auto bits = [](float x) { return ROUNDED ? to_tf32(x) : __float_as_uint(x); };
    const unsigned left[4] = {bits(a[g * 8 + q]), bits(a[(g + 8) * 8 + q]), bits(a[g * 8 + q + 4]),
                              bits(a[(g + 8) * 8 + q + 4])};
    const unsigned right[2] = {bits(b[q * 8 + g]), bits(b[(q + 4) * 8 + g])};
    float sums[4] = {};
    mma_tf32(sums, left, right);
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = sums[i];
}

// a (16,16), b (16,8): through shared memory and ldmatrix, as attention does it.
__global__ void multiply_half(const __half* a, const __half* b, float* d) {
    alignas(16) __shared__ __half left[16][16], right[16][8];
    for (int i = threadIdx.x; i < 256; i += 32) left[i / 16][i % 16] = a[i];
    for (int i = threadIdx.x; i < 128; i += 32) right[i / 8][i % 8] = b[i];
    __syncwarp();
    const int matrix = threadIdx.x / 8, row = threadIdx.x % 8;
    unsigned of_a[4], of_b[4];
    load_matrices<false>(of_a, &left[matrix % 2 * 8 + row][matrix / 2 * 8]);
    load_matrices<true>(of_b, &right[matrix % 2 * 8 + row][0]);
    const unsigned both[2] = {of_b[0], of_b[1]};
    float sums[4] = {};
    mma_half(sums, of_a, both);
    const int g = threadIdx.x / 4, q = threadIdx.x % 4;
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = sums[i];
}

// ---- y[i] = x[i], or 0 from i = wanted on: by asynchronous copies of 4 numbers each -----------------------------------
template <class T> __global__ void copy_wanted(const T* x, T* y, int wanted) {
    alignas(16) __shared__ T tile[32 * 4];
    const int i = threadIdx.x * 4;
    cp_async<4 * sizeof(T)>(&tile[i], x + i, i < wanted);
    cp_async_commit();
    cp_async_wait<0>();
    store<4>(y + i, load<4>(tile + i));
}

// ---- the sum of a row, and of its squares: x (rows,n) -> y (rows,2) ---------------------------------------------------
__global__ void sums_of_rows(const float* x, float* y, int n) {
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < n; i += 64) {
        const float value = x[blockIdx.x * n + i];
        sum += value;
        squares += value * value;
    }
    sum = block_sum<64>(sum);
    squares = block_sum<64>(squares);
    if (threadIdx.x == 0) y[blockIdx.x * 2] = sum, y[blockIdx.x * 2 + 1] = squares;
}

// ---- y = x^T of 32x32 by one warp: x is read by rows, y is written by rows, the tile is read by columns ---------------
template <int PITCH> __global__ void transpose(const float* x, float* y) {
    __shared__ float tile[32][PITCH];
    for (int row = 0; row < 32; ++row)
        tile[row][threadIdx.x] = x[row * 32 + threadIdx.x];
    __syncwarp();
    for (int row = 0; row < 32; ++row)
        y[row * 32 + threadIdx.x] = tile[threadIdx.x][row];
}

// ---- every kind of parameter -----------------------------------------------------------------------------------------
struct Shape { int rows; float scale; long long size; };

template <class T> __global__ void scaled(const T* x, T* y, T factor, int n, bool negative) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = (negative ? -factor : factor) * x[i];
}
__global__ void described(const Shape shape, unsigned char small, unsigned long long large, double* y) {
    y[0] = shape.rows, y[1] = shape.scale, y[2] = shape.size, y[3] = small, y[4] = large;
}
__global__ void present(const float* x, int* y) { y[threadIdx.x] = x != nullptr; }
__global__ void dynamic(float* y, int n) {
    extern __shared__ float memory[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) memory[i] = i;
    __syncthreads();
    if (threadIdx.x == 0) y[0] = memory[n - 1];
}
