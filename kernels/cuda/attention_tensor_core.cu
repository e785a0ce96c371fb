// Attention on tensor cores (sm_80 and later), forward and backward: float16, and float32 rounded to TF32.
//
//   The same algorithm as attention_exact.cu says it. A block's own rows, 64 M of a head, stay in shared memory; the
//   others go by in two stages: while the warps work on one, the next comes by cp.async, 16 bytes at a time.
//
//                    stage 0      stage 1                                    stage 0      stage 1
//                 k |      |  v  |      |                                 q |      |  g  |      |
//                   +------+     +------+                                   +------+     +------+
//     warp 0  +---+ +------+     +------+          warp 0  +---+ +---+      +------+
//     warp 1  | q | | p, dS|  x  v or k = out, dq  warp 1  | k | | v |      | p, dS|^T x g, q  =  dv, dk
//     ...     +---+ +------+                       ...     +---+ +---+      +------+
//      64 M queries                                 64 keys
//
//   Head sizes d and e are padded with zeros in shared memory to HEAD = 32, 64 or 128; larger ones are for the exact
//   kernels: the sums of 16 rows would not fit a warp's registers.
//
//   For N H heads of D numbers, L queries and S keys:
//     forward             flops 4 L S D    numbers: q and out once, k and v once for every 128 queries
//     query_gradient      flops 6 L S D    numbers: q, g and dq once, k and v once for every 64 queries
//     key_value_gradient  flops 8 L S D    numbers: k, v, dk and dv once, q and g once for every 64 keys
//   so 64 and more flops for every number read, mostly from the second-level cache.
#include "attention_tensor_core.cuh"

template <class T, int HEAD, int M>
__global__ void __launch_bounds__(128, 2)
attention_tensor_core(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                      const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ out,
                      float* __restrict__ lse, const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, ROWS = 16 * M * WARPS, COLUMNS = OTHERS<HEAD>, N = COLUMNS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const q_tile = reinterpret_cast<T*>(memory);
    T* const stages = q_tile + ROWS * P;
    const int tiles = (shape.queries + ROWS - 1) / ROWS, head_number = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * ROWS;  // with causal, those with most keys first
    const int warp_row = threadIdx.x / 32 * 16 * M;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<T> out_rows(out, head_number, shape.heads, shape.queries, shape.e);
    lse += (long long)head_number * shape.queries;

    load_tile<ROWS, HEAD>(q_tile, head.q, first_query, shape.aligned);
    load_stage<HEAD>(stages, head.k, head.v, 0, shape.aligned);
    cp_async_commit();

    float top[M][2], total[M][2] = {}, sum[M][HEAD / 8][4] = {};
    for (int m = 0; m < M; ++m) top[m][0] = top[m][1] = minus_infinity();
    const int keys = head.mask.keys_for(first_query + ROWS - 1);
    for (int first_key = 0, now = 0; first_key < keys; first_key += COLUMNS, now ^= 1) {
        const T* const k_tile = stages + now * STAGE<T, HEAD>;
        const T* const v_tile = k_tile + STAGE<T, HEAD> / 2;
        if (first_key + COLUMNS < keys)
            load_stage<HEAD>(stages + (now ^ 1) * STAGE<T, HEAD>, head.k, head.v, first_key + COLUMNS, shape.aligned);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // this stage is there

        float p[M][N][4];
        row_products<HEAD>(p, q_tile + warp_row * P, k_tile);
        to_scores<false>(p, head.mask, first_query + warp_row, first_key);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {  // a lane's two rows of 16
                float largest = top[m][half];
#pragma unroll
                for (int n = 0; n < N; ++n)
                    largest = fmaxf(largest, fmaxf(p[m][n][2 * half], p[m][n][2 * half + 1]));
                largest = row_max(largest);
                const float base = finite_or_zero(largest), shrink = exp2f(top[m][half] - base);
                top[m][half] = largest;
                total[m][half] *= shrink;
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    for (int n = 0; n < N; ++n) total[m][half] += p[m][n][i] = exp2f(p[m][n][i] - base);
                    for (int n = 0; n < HEAD / 8; ++n) sum[m][n][i] *= shrink;
                }
            }
        add_weighted<HEAD>(sum, p, v_tile);
        __syncthreads();  // nobody still reads this stage
    }
    cp_async_wait<0>();

    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float all = row_sum(total[m][half]);
            factor[m][half] = all == 0 ? 0 : 1 / all;
            const int query = first_query + warp_row + 16 * m + lane_row(2 * half);
            if (lane() % 4 == 0 && query < shape.queries) lse[query] = top[m][half] * LN_2 + logf(all);
        }
    write_rows<HEAD>(out_rows, sum, factor, first_query + warp_row, shape.aligned);
}

// dq = scale dS k with dS = p (g v^T - row_sum).
template <class T, int HEAD, int M>
__global__ void __launch_bounds__(128, 2)
query_gradient_tensor_core(const T* __restrict__ g, const float* __restrict__ row_sums, const float* __restrict__ lse,
                           const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                           const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dq,
                           const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, ROWS = 16 * M * WARPS, COLUMNS = OTHERS<HEAD>, N = COLUMNS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const q_tile = reinterpret_cast<T*>(memory);
    T* const g_tile = q_tile + ROWS * P;
    T* const stages = g_tile + ROWS * P;
    const int tiles = (shape.queries + ROWS - 1) / ROWS, head_number = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * ROWS;  // with causal, those with most keys first
    const int warp_row = threadIdx.x / 32 * 16 * M;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<const T> g_rows(g, head_number, shape.heads, shape.queries, shape.e);
    const Rows<T> dq_rows(dq, head_number, shape.heads, shape.queries, shape.d);
    lse += (long long)head_number * shape.queries;
    row_sums += (long long)head_number * shape.queries;

    load_tile<ROWS, HEAD>(q_tile, head.q, first_query, shape.aligned);
    load_tile<ROWS, HEAD>(g_tile, g_rows, first_query, shape.aligned);
    load_stage<HEAD>(stages, head.k, head.v, 0, shape.aligned);
    cp_async_commit();

    float row_lse[M][2], row_sum[M][2], scale[M][2], sum[M][HEAD / 8][4] = {};
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int query = first_query + warp_row + 16 * m + lane_row(2 * half);
            row_lse[m][half] = query < shape.queries ? finite_or_zero(lse[query]) * LOG2_E : 0;
            row_sum[m][half] = query < shape.queries ? row_sums[query] : 0;
            scale[m][half] = float(shape.scale);
        }
    const int keys = head.mask.keys_for(first_query + ROWS - 1);
    for (int first_key = 0, now = 0; first_key < keys; first_key += COLUMNS, now ^= 1) {
        const T* const k_tile = stages + now * STAGE<T, HEAD>;
        const T* const v_tile = k_tile + STAGE<T, HEAD> / 2;
        if (first_key + COLUMNS < keys)
            load_stage<HEAD>(stages + (now ^ 1) * STAGE<T, HEAD>, head.k, head.v, first_key + COLUMNS, shape.aligned);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // this stage is there

        float p[M][N][4], ds[M][N][4];
        row_products<HEAD>(p, q_tile + warp_row * P, k_tile);
        to_scores<false>(p, head.mask, first_query + warp_row, first_key);
        row_products<HEAD>(ds, g_tile + warp_row * P, v_tile);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int n = 0; n < N; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    ds[m][n][i] = exp2f(p[m][n][i] - row_lse[m][i / 2]) * (ds[m][n][i] - row_sum[m][i / 2]);
        add_weighted<HEAD>(sum, ds, k_tile);
        __syncthreads();  // nobody still reads this stage
    }
    cp_async_wait<0>();
    write_rows<HEAD>(dq_rows, sum, scale, first_query + warp_row, shape.aligned);
}

// dv = p^T g and dk = scale dS^T q. Rows of the tiles are keys, columns queries.
template <class T, int HEAD, int M>
__global__ void __launch_bounds__(128, 2)
key_value_gradient_tensor_core(const T* __restrict__ g, const float* __restrict__ row_sums,
                               const float* __restrict__ lse, const T* __restrict__ q, const T* __restrict__ k,
                               const T* __restrict__ v, const bool* __restrict__ allowed, const T* __restrict__ added,
                               T* __restrict__ dk, T* __restrict__ dv, const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, ROWS = 16 * M * WARPS, COLUMNS = OTHERS<HEAD>, N = COLUMNS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const k_tile = reinterpret_cast<T*>(memory);
    T* const v_tile = k_tile + ROWS * P;
    T* const stages = v_tile + ROWS * P;
    const int tiles = (shape.keys + ROWS - 1) / ROWS, head_number = blockIdx.x / tiles;
    const int first_key = blockIdx.x % tiles * ROWS, warp_row = threadIdx.x / 32 * 16 * M;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<const T> g_rows(g, head_number, shape.heads, shape.queries, shape.e);
    const Rows<T> dk_rows(dk, head_number, shape.heads, shape.keys, shape.d);
    const Rows<T> dv_rows(dv, head_number, shape.heads, shape.keys, shape.e);
    lse += (long long)head_number * shape.queries;
    row_sums += (long long)head_number * shape.queries;

    const int from = head.mask.queries_from(first_key);
    load_tile<ROWS, HEAD>(k_tile, head.k, first_key, shape.aligned);
    load_tile<ROWS, HEAD>(v_tile, head.v, first_key, shape.aligned);
    load_stage<HEAD>(stages, head.q, g_rows, from, shape.aligned);
    cp_async_commit();

    float dk_sum[M][HEAD / 8][4] = {}, dv_sum[M][HEAD / 8][4] = {};
    for (int first_query = from, now = 0; first_query < shape.queries; first_query += COLUMNS, now ^= 1) {
        const T* const q_tile = stages + now * STAGE<T, HEAD>;
        const T* const g_tile = q_tile + STAGE<T, HEAD> / 2;
        if (first_query + COLUMNS < shape.queries)
            load_stage<HEAD>(stages + (now ^ 1) * STAGE<T, HEAD>, head.q, g_rows, first_query + COLUMNS, shape.aligned);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // this stage is there

        float p[M][N][4], ds[M][N][4];
        row_products<HEAD>(p, k_tile + warp_row * P, q_tile);
        row_products<HEAD>(ds, v_tile + warp_row * P, g_tile);
        to_scores<true>(p, head.mask, first_key + warp_row, first_query);
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int query = first_query + 8 * n + lane_column(i);
                const float column_lse = query < shape.queries ? finite_or_zero(lse[query]) * LOG2_E : 0;
                const float column_sum = query < shape.queries ? row_sums[query] : 0;
#pragma unroll
                for (int m = 0; m < M; ++m)
                    for (int j = i; j < 4; j += 2) {  // this column's two rows of 16
                        p[m][n][j] = exp2f(p[m][n][j] - column_lse);
                        ds[m][n][j] = p[m][n][j] * (ds[m][n][j] - column_sum);
                    }
            }
        add_weighted<HEAD>(dv_sum, p, g_tile);
        add_weighted<HEAD>(dk_sum, ds, q_tile);
        __syncthreads();  // nobody still reads this stage
    }
    cp_async_wait<0>();
    float scale[M][2], one[M][2];
    for (int m = 0; m < M; ++m)
        for (int half = 0; half < 2; ++half) scale[m][half] = float(shape.scale), one[m][half] = 1;
    write_rows<HEAD>(dk_rows, dk_sum, scale, first_key + warp_row, shape.aligned);
    write_rows<HEAD>(dv_rows, dv_sum, one, first_key + warp_row, shape.aligned);
}
