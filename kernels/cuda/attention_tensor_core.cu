#include "attention_tensor_core.cuh"

constexpr int M = 1;                  // a warp's rows are 16 M
constexpr int ROWS = 16 * M * WARPS;  // of a block
constexpr int OTHERS = 32;            // rows that come by at a time

template <class T, int HEAD>
__global__ void __launch_bounds__(128)
attention_tensor_core(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                      const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ out,
                      float* __restrict__ lse, const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, N = OTHERS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const q_tile = reinterpret_cast<T*>(memory);
    T* const k_tiles = q_tile + ROWS * P;
    T* const v_tiles = k_tiles + 2 * OTHERS * P;

    const int tiles = (shape.queries + ROWS - 1) / ROWS;
    const long long head = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * ROWS;  // with causal, those with most keys first
    const int warp_row = threadIdx.x / 32 * 16 * M;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d),
        k_rows(k, head, shape.heads, shape.keys, shape.d), v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    const int keys = mask.keys_for(first_query + ROWS - 1);
    load_tile<ROWS, HEAD>(q_tile, q_rows, first_query, shape.aligned);
    load_tile<OTHERS, HEAD>(k_tiles, k_rows, 0, shape.aligned);
    load_tile<OTHERS, HEAD>(v_tiles, v_rows, 0, shape.aligned);
    cp_async_commit();

    float top[M][2], total[M][2] = {}, sum[M][HEAD / 8][4] = {};
    for (int m = 0; m < M; ++m) top[m][0] = top[m][1] = minus_infinity();
    for (int first_key = 0, now = 0; first_key < keys; first_key += OTHERS, now ^= 1) {
        if (first_key + OTHERS < keys) {
            load_tile<OTHERS, HEAD>(k_tiles + (now ^ 1) * OTHERS * P, k_rows, first_key + OTHERS, shape.aligned);
            load_tile<OTHERS, HEAD>(v_tiles + (now ^ 1) * OTHERS * P, v_rows, first_key + OTHERS, shape.aligned);
        }
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();

        float p[M][N][4];
        row_products<HEAD>(p, q_tile + warp_row * P, k_tiles + now * OTHERS * P);
        to_scores<false>(p, mask, first_query + warp_row, first_key,
                         mask.plain(first_query, ROWS, first_key, OTHERS));
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float largest = top[m][half];
#pragma unroll
                for (int n = 0; n < N; ++n)
                    largest = fmaxf(largest, fmaxf(p[m][n][2 * half], p[m][n][2 * half + 1]));
                largest = row_max(largest);
                const float base = finite_or_zero(largest), shrink = exp2f(top[m][half] - base);
                top[m][half] = largest;
                total[m][half] *= shrink;
#pragma unroll
                for (int n = 0; n < N; ++n)
                    for (int i = 2 * half; i < 2 * half + 2; ++i) total[m][half] += p[m][n][i] = exp2f(p[m][n][i] - base);
#pragma unroll
                for (int n = 0; n < HEAD / 8; ++n)
                    for (int i = 2 * half; i < 2 * half + 2; ++i) sum[m][n][i] *= shrink;
            }
        add_weighted<HEAD>(sum, p, v_tiles + now * OTHERS * P);
        __syncthreads();  // everybody has read the tiles
    }
    cp_async_wait<0>();

    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float sum_of_row = row_sum(total[m][half]);
            factor[m][half] = sum_of_row == 0 ? 0 : 1 / sum_of_row;
            const int query = first_query + warp_row + 16 * m + lane_row(2 * half);
            if (lane() % 4 == 0 && query < shape.queries)
                lse[head * shape.queries + query] = top[m][half] * LN_2 + logf(sum_of_row);
        }
    write_rows<HEAD>(Rows<T>(out, head, shape.heads, shape.queries, shape.e), sum, factor, first_query + warp_row,
                     shape.aligned);
}

template <class T, int HEAD>
__global__ void __launch_bounds__(128)
query_gradient_tensor_core(const T* __restrict__ g, const float* __restrict__ row_sums, const float* __restrict__ lse,
                           const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                           const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dq,
                           const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, N = OTHERS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const q_tile = reinterpret_cast<T*>(memory);
    T* const g_tile = q_tile + ROWS * P;
    T* const k_tiles = g_tile + ROWS * P;
    T* const v_tiles = k_tiles + 2 * OTHERS * P;

    const int tiles = (shape.queries + ROWS - 1) / ROWS;
    const long long head = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * ROWS;  // with causal, those with most keys first
    const int warp_row = threadIdx.x / 32 * 16 * M;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d),
        g_rows(g, head, shape.heads, shape.queries, shape.e), k_rows(k, head, shape.heads, shape.keys, shape.d),
        v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    const int keys = mask.keys_for(first_query + ROWS - 1);
    load_tile<ROWS, HEAD>(q_tile, q_rows, first_query, shape.aligned);
    load_tile<ROWS, HEAD>(g_tile, g_rows, first_query, shape.aligned);
    load_tile<OTHERS, HEAD>(k_tiles, k_rows, 0, shape.aligned);
    load_tile<OTHERS, HEAD>(v_tiles, v_rows, 0, shape.aligned);
    cp_async_commit();

    float row_lse[M][2], row_sum[M][2], factor[M][2], sum[M][HEAD / 8][4] = {};
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int query = first_query + warp_row + 16 * m + lane_row(2 * half);
            const bool there = query < shape.queries;
            row_lse[m][half] = there ? finite_or_zero(lse[head * shape.queries + query]) * LOG2_E : 0;
            row_sum[m][half] = there ? row_sums[head * shape.queries + query] : 0;
            factor[m][half] = float(shape.scale);
        }
    for (int first_key = 0, now = 0; first_key < keys; first_key += OTHERS, now ^= 1) {
        if (first_key + OTHERS < keys) {
            load_tile<OTHERS, HEAD>(k_tiles + (now ^ 1) * OTHERS * P, k_rows, first_key + OTHERS, shape.aligned);
            load_tile<OTHERS, HEAD>(v_tiles + (now ^ 1) * OTHERS * P, v_rows, first_key + OTHERS, shape.aligned);
        }
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();

        float s[M][N][4], dp[M][N][4];
        row_products<HEAD>(s, q_tile + warp_row * P, k_tiles + now * OTHERS * P);
        row_products<HEAD>(dp, g_tile + warp_row * P, v_tiles + now * OTHERS * P);
        to_scores<false>(s, mask, first_query + warp_row, first_key,
                         mask.plain(first_query, ROWS, first_key, OTHERS));
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int n = 0; n < N; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    dp[m][n][i] = exp2f(s[m][n][i] - row_lse[m][i / 2]) * (dp[m][n][i] - row_sum[m][i / 2]);  // dS
        add_weighted<HEAD>(sum, dp, k_tiles + now * OTHERS * P);
        __syncthreads();  // everybody has read the tiles
    }
    cp_async_wait<0>();
    write_rows<HEAD>(Rows<T>(dq, head, shape.heads, shape.queries, shape.d), sum, factor, first_query + warp_row,
                     shape.aligned);
}

template <class T, int HEAD>
__global__ void __launch_bounds__(128)
key_value_gradient_tensor_core(const T* __restrict__ g, const float* __restrict__ row_sums,
                               const float* __restrict__ lse, const T* __restrict__ q, const T* __restrict__ k,
                               const T* __restrict__ v, const bool* __restrict__ allowed, const T* __restrict__ added,
                               T* __restrict__ dk, T* __restrict__ dv, const Shape shape) {
    constexpr int P = PITCH<T, HEAD>, N = OTHERS / 8;
    extern __shared__ __align__(16) unsigned char memory[];
    T* const k_tile = reinterpret_cast<T*>(memory);
    T* const v_tile = k_tile + ROWS * P;
    T* const q_tiles = v_tile + ROWS * P;
    T* const g_tiles = q_tiles + 2 * OTHERS * P;

    const int tiles = (shape.keys + ROWS - 1) / ROWS;
    const long long head = blockIdx.x / tiles;
    const int first_key = blockIdx.x % tiles * ROWS;
    const int warp_row = threadIdx.x / 32 * 16 * M;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d),
        g_rows(g, head, shape.heads, shape.queries, shape.e), k_rows(k, head, shape.heads, shape.keys, shape.d),
        v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    const int from = mask.queries_from(first_key) / OTHERS * OTHERS;
    load_tile<ROWS, HEAD>(k_tile, k_rows, first_key, shape.aligned);
    load_tile<ROWS, HEAD>(v_tile, v_rows, first_key, shape.aligned);
    load_tile<OTHERS, HEAD>(q_tiles, q_rows, from, shape.aligned);
    load_tile<OTHERS, HEAD>(g_tiles, g_rows, from, shape.aligned);
    cp_async_commit();

    float dk_sum[M][HEAD / 8][4] = {}, dv_sum[M][HEAD / 8][4] = {};
    for (int first_query = from, now = 0; first_query < shape.queries; first_query += OTHERS, now ^= 1) {
        if (first_query + OTHERS < shape.queries) {
            load_tile<OTHERS, HEAD>(q_tiles + (now ^ 1) * OTHERS * P, q_rows, first_query + OTHERS, shape.aligned);
            load_tile<OTHERS, HEAD>(g_tiles + (now ^ 1) * OTHERS * P, g_rows, first_query + OTHERS, shape.aligned);
        }
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();

        float p[M][N][4], dp[M][N][4];
        row_products<HEAD>(p, k_tile + warp_row * P, q_tiles + now * OTHERS * P);
        row_products<HEAD>(dp, v_tile + warp_row * P, g_tiles + now * OTHERS * P);
        to_scores<true>(p, mask, first_key + warp_row, first_query,
                        mask.plain(first_query, OTHERS, first_key, ROWS));
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int query = first_query + 8 * n + lane_column(i);
                const bool there = query < shape.queries;
                const float column_lse = there ? finite_or_zero(lse[head * shape.queries + query]) * LOG2_E : 0;
                const float column_sum = there ? row_sums[head * shape.queries + query] : 0;
#pragma unroll
                for (int m = 0; m < M; ++m)
                    for (int j = i; j < 4; j += 2) {
                        p[m][n][j] = exp2f(p[m][n][j] - column_lse);
                        dp[m][n][j] = p[m][n][j] * (dp[m][n][j] - column_sum);  // dS
                    }
            }
        add_weighted<HEAD>(dv_sum, p, g_tiles + now * OTHERS * P);
        add_weighted<HEAD>(dk_sum, dp, q_tiles + now * OTHERS * P);
        __syncthreads();  // everybody has read the tiles
    }
    cp_async_wait<0>();
    float one[M][2], scale[M][2];
    for (int m = 0; m < M; ++m)
        for (int half = 0; half < 2; ++half) one[m][half] = 1, scale[m][half] = float(shape.scale);
    write_rows<HEAD>(Rows<T>(dk, head, shape.heads, shape.keys, shape.d), dk_sum, scale, first_key + warp_row, shape.aligned);
    write_rows<HEAD>(Rows<T>(dv, head, shape.heads, shape.keys, shape.e), dv_sum, one, first_key + warp_row, shape.aligned);
}
