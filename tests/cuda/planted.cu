// Mistakes that the emulator must find: kernel<true> makes one, kernel<false> is its correct twin.
// All run on two blocks of 64 threads and take x and y of 128 numbers; dynamic shared memory has 64.
#include "numbers.cuh"
#include "pipeline.cuh"
#include "tensor_core.cuh"

#define AT (blockIdx.x * 64 + threadIdx.x)

// ---- barriers -------------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void no_barrier_before_reading(const float* x, float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[AT];
    if (!PLANTED) __syncthreads();
    y[AT] = tile[63 - threadIdx.x];
}

template <bool PLANTED> __global__ void no_barrier_before_writing_again(const float* x, float* y) {
    __shared__ float tile[64];
    float sum = 0;
    for (int step = 0; step < 2; ++step) {
        tile[threadIdx.x] = x[AT] + step;
        __syncthreads();
        sum += tile[63 - threadIdx.x];
        if (!PLANTED) __syncthreads();
    }
    y[AT] = sum;
}

template <bool PLANTED> __global__ void barrier_for_some(const float* x, float* y) {
    if (!PLANTED || threadIdx.x < 32) __syncthreads();
    y[AT] = x[AT];
}

template <bool PLANTED> __global__ void barrier_after_some_have_left(const float* x, float* y) {
    if (PLANTED && threadIdx.x == 63) return;
    __syncthreads();
    y[AT] = x[AT];
}

template <bool PLANTED> __global__ void two_different_barriers(const float* x, float* y) {
    if (PLANTED && threadIdx.x < 32)
        __syncthreads();  // one
    else
        __syncthreads();  // the other
    y[AT] = x[AT];
}

template <bool PLANTED> __global__ void no_barrier_of_the_warp(const float* x, float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[AT];
    if (!PLANTED) __syncwarp();
    y[AT] = tile[threadIdx.x ^ 1];
}

template <bool PLANTED> __global__ void barrier_of_the_warp_for_the_block(const float* x, float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[AT];
    if (PLANTED) __syncwarp();
    else __syncthreads();
    y[AT] = tile[threadIdx.x ^ 32];
}

// ---- blocks ---------------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void two_blocks_write_one_place(const float* x, float* y) {
    y[PLANTED ? threadIdx.x : AT] = x[AT];
}

template <bool PLANTED> __global__ void a_block_reads_what_another_writes(const float* x, float* y) {
    y[AT] = x[AT];
    if (PLANTED && blockIdx.x == 1) y[AT] += y[threadIdx.x];
}

template <bool PLANTED> __global__ void a_block_writes_what_another_read(const float* x, float* y) {
    if (blockIdx.x == 0) y[AT] = x[AT] + (PLANTED ? y[AT + 64] : 0);
    else y[AT] = x[AT];
}

// ---- bounds ---------------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void past_the_end_of_x(const float* x, float* y) { y[AT] = x[AT + PLANTED]; }
template <bool PLANTED> __global__ void past_the_end_of_y(const float* x, float* y) { y[AT + PLANTED] = x[AT]; }
template <bool PLANTED> __global__ void before_the_beginning_of_x(const float* x, float* y) { y[AT] = x[AT - PLANTED]; }

template <bool PLANTED> __global__ void past_the_end_of_a_shared_array(const float* x, float* y) {
    __shared__ float tile[64], neighbour[64];
    neighbour[threadIdx.x] = 0;
    tile[threadIdx.x + PLANTED] = x[AT];
    y[AT] = tile[threadIdx.x + PLANTED] + neighbour[threadIdx.x];
}

template <bool PLANTED> __global__ void past_the_end_of_a_shared_array_by_pointer(const float* x, float* y) {
    __shared__ float tile[64];
    float* to = tile;
    to[threadIdx.x + PLANTED] = x[AT];
    y[AT] = to[threadIdx.x + PLANTED];
}

template <bool PLANTED> __global__ void past_the_end_of_dynamic_shared_memory(const float* x, float* y) {
    extern __shared__ float tile[];
    tile[threadIdx.x + PLANTED] = x[AT];
    y[AT] = tile[threadIdx.x + PLANTED];
}

// ---- memory ---------------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void shared_memory_never_written(const float* x, float* y) {
    __shared__ float tile[64];
    if (!PLANTED || threadIdx.x != 5) tile[threadIdx.x] = x[AT];
    y[AT] = tile[threadIdx.x];
}

template <bool PLANTED> __global__ void shared_memory_of_the_last_block(const float* x, float* y) {
    extern __shared__ float tile[];
    if (!PLANTED || blockIdx.x == 0) tile[threadIdx.x] = x[AT];
    y[AT] = tile[threadIdx.x];
}

template <bool PLANTED> __global__ void write_through_const(const float* x, float* y) {
    y[AT] = x[AT];
    if (PLANTED) const_cast<float*>(x)[AT] = 0;
}

template <bool PLANTED> __global__ void misaligned_vector(const float* x, float* y) {
    const int at = threadIdx.x < 4 ? 4 * threadIdx.x + (threadIdx.x ? PLANTED : 0) : 0;
    y[AT] = load<4>(x + at).of[0];
}

// ---- asynchronous copies --------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void no_wait_for_copies(const float* x, float* y) {
    __shared__ float tile[64];
    cp_async<4>(&tile[threadIdx.x], &x[AT]);
    cp_async_commit();
    if (!PLANTED) cp_async_wait<0>();
    y[AT] = tile[threadIdx.x];
    if (PLANTED) cp_async_wait<0>();
}

template <bool PLANTED> __global__ void wait_for_too_few_copies(const float* x, float* y) {
    __shared__ float tile[2][64];
    for (int stage = 0; stage < 2; ++stage) {
        cp_async<4>(&tile[stage][threadIdx.x], &x[AT]);
        cp_async_commit();
    }
    cp_async_wait<PLANTED ? 1 : 0>();
    y[AT] = tile[0][threadIdx.x] + tile[1][threadIdx.x];
    cp_async_wait<0>();
}

template <bool PLANTED> __global__ void no_commit_of_copies(const float* x, float* y) {
    __shared__ float tile[64];
    cp_async<4>(&tile[threadIdx.x], &x[AT]);
    if (!PLANTED) cp_async_commit();
    cp_async_wait<0>();
    y[AT] = tile[threadIdx.x];
}

template <bool PLANTED> __global__ void no_barrier_after_copies(const float* x, float* y) {
    __shared__ float tile[64];
    cp_async<4>(&tile[threadIdx.x], &x[AT]);
    cp_async_commit();
    cp_async_wait<0>();
    if (!PLANTED) __syncthreads();
    y[AT] = tile[63 - threadIdx.x];
}

template <bool PLANTED> __global__ void copies_to_what_is_still_read(const float* x, float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[AT];
    __syncthreads();
    y[AT] = tile[63 - threadIdx.x];
    if (!PLANTED) __syncthreads();
    cp_async<4>(&tile[threadIdx.x], &x[AT]);
    cp_async_commit();
    __syncthreads();
    cp_async_wait<0>();
}

template <bool PLANTED> __global__ void copies_never_waited_for(const float* x, float* y) {
    __shared__ float tile[64];
    cp_async<4>(&tile[threadIdx.x], &x[AT]);
    cp_async_commit();
    if (!PLANTED) cp_async_wait<0>();
    y[AT] = x[AT];
}

template <bool PLANTED> __global__ void misaligned_copy(const float* x, float* y) {
    alignas(16) __shared__ float tile[64 + 4];
    if (threadIdx.x < 16) cp_async<16>(&tile[4 * threadIdx.x + PLANTED], &x[4 * threadIdx.x]);
    cp_async_commit();
    cp_async_wait<0>();
    y[AT] = x[AT];
}

// ---- warps ----------------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void shuffle_from_outside_the_mask(const float* x, float* y) {
    float value = x[AT];
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xffffu, value, PLANTED ? 16 : 8);
    y[AT] = value;
}

template <bool PLANTED> __global__ void shuffle_by_a_lane_outside_the_mask(const float* x, float* y) {
    y[AT] = __shfl_sync(PLANTED ? 0x7fffffffu : 0xffffffffu, x[AT], 0);
}

template <bool PLANTED> __global__ void shuffle_for_some(const float* x, float* y) {
    float value = x[AT];
    if (!PLANTED || threadIdx.x % 32 != 7) value = __shfl_sync(0xffffffffu, value, 0);
    y[AT] = value;
}

template <bool PLANTED> __global__ void different_shuffles_meet(const float* x, float* y) {
    if (PLANTED && threadIdx.x % 2)
        y[AT] = __shfl_sync(0xffffffffu, x[AT], 0);
    else
        y[AT] = __shfl_xor_sync(0xffffffffu, x[AT], 1);
}

template <bool PLANTED> __global__ void tensor_core_for_some(const float* x, float* y) {
    float d[4] = {x[AT]};
    const unsigned a[4] = {}, b[2] = {};
    if (!PLANTED || threadIdx.x % 32) mma_tf32(d, a, b);
    y[AT] = d[0];
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------
template <bool PLANTED> __global__ void integer_overflow(const float* x, float* y) {
    int big = 1 << 30;
    for (unsigned i = 0; i < threadIdx.x % 2 * PLANTED + 0u; ++i) big *= 4;
    y[AT] = x[AT] + (big == 0);
}

template <bool PLANTED> __global__ void shift_beyond_the_width(const float* x, float* y) {
    y[AT] = x[AT] + (1u << (PLANTED ? threadIdx.x : 0));
}
