#include "attention_exact.cuh"

// One block: 64 queries of a head, COLUMNS columns of out.
template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, Exact<A>::BLOCKS)
attention_exact(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ out,
                A* __restrict__ lse, const Shape shape) {
    typedef Exact<A> E;
    constexpr int CHUNKS = COLUMNS / E::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    E& shared = *reinterpret_cast<E*>(memory);

    const int tiles = (shape.queries + SIDE - 1) / SIDE;
    const long long head = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * SIDE;  // with causal, those with most keys first
    const int first_column = blockIdx.y * COLUMNS;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d), k_rows(k, head, shape.heads, shape.keys, shape.d),
        v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    A top[4], total[4] = {}, sum[CHUNKS][4][E::WIDTH] = {};
    for (int i = 0; i < 4; ++i) top[i] = minus_infinity();
    const int keys = mask.keys_for(first_query + SIDE - 1);
    for (int first_key = 0; first_key < keys; first_key += SIDE) {
        A p[4][4];
        row_products(p, shared, q_rows, first_query, k_rows, first_key, shape.aligned);
        to_scores<false>(p, shared, mask, first_query, first_key);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            A largest = top[i];
#pragma unroll
            for (int j = 0; j < 4; ++j) largest = largest < p[i][j] ? p[i][j] : largest;
            largest = row_max(largest);
            const A base = finite_or_zero(largest), shrink = exponential(top[i] - base);
            top[i] = largest;
            total[i] *= shrink;
            for (int j = 0; j < 4; ++j) total[i] += p[i][j] = exponential(p[i][j] - base);
            for (int c = 0; c < CHUNKS; ++c)
                for (int n = 0; n < E::WIDTH; ++n) sum[c][i][n] *= shrink;
        }
        set_weights(shared, p);
        add_weighted<CHUNKS>(sum, shared, v_rows, first_key, first_column, shape.aligned);
    }

    A factor[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        total[i] = row_sum(total[i]);
        factor[i] = total[i] == A(0) ? A(0) : A(1) / total[i];
        const int query = first_query + thread_row(i);
        if (threadIdx.x % 16 == 0 && blockIdx.y == 0 && query < shape.queries)
            lse[head * shape.queries + query] = top[i] + logarithm(total[i]);
    }
    write_rows(Rows<T>(out, head, shape.heads, shape.queries, shape.e), sum, factor, first_query, first_column, shape.aligned);
}

// row_sums[n, h, l] = g_l . out_l; one warp a row.
template <class T, class A>
__global__ void __launch_bounds__(256)
gradient_row_sums(const T* __restrict__ g, const T* __restrict__ out, A* __restrict__ row_sums, long long rows,
                  const Shape shape) {
    const long long row = (blockIdx.x * 256LL + threadIdx.x) / 32;  // (n, l, h)
    if (row >= rows) return;
    A sum = A(0);
    for (int c = threadIdx.x % 32; c < shape.e; c += 32) sum += widen(g[row * shape.e + c]) * widen(out[row * shape.e + c]);
    sum = warp_sum(sum);
    const long long head = row % shape.heads, query = row / shape.heads % shape.queries;
    const long long sample = row / shape.heads / shape.queries;
    if (threadIdx.x % 32 == 0) row_sums[(sample * shape.heads + head) * shape.queries + query] = sum;
}

template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, Exact<A>::BLOCKS)
query_gradient_exact(const T* __restrict__ g, const A* __restrict__ row_sums, const A* __restrict__ lse,
                     const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                     const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dq,
                     const Shape shape) {
    typedef Exact<A> E;
    constexpr int CHUNKS = COLUMNS / E::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    E& shared = *reinterpret_cast<E*>(memory);

    const int tiles = (shape.queries + SIDE - 1) / SIDE;
    const long long head = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * SIDE;  // with causal, those with most keys first
    const int first_column = blockIdx.y * COLUMNS;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d), g_rows(g, head, shape.heads, shape.queries, shape.e),
        k_rows(k, head, shape.heads, shape.keys, shape.d), v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    A row_lse[4], row_sum[4], factor[4], sum[CHUNKS][4][E::WIDTH] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int query = first_query + thread_row(i);
        const bool there = query < shape.queries;
        row_lse[i] = there ? finite_or_zero(lse[head * shape.queries + query]) : A(0);
        row_sum[i] = there ? row_sums[head * shape.queries + query] : A(0);
        factor[i] = A(shape.scale);
    }
    const int keys = mask.keys_for(first_query + SIDE - 1);
    for (int first_key = 0; first_key < keys; first_key += SIDE) {
        A s[4][4], dp[4][4];
        row_products(s, shared, q_rows, first_query, k_rows, first_key, shape.aligned);
        row_products(dp, shared, g_rows, first_query, v_rows, first_key, shape.aligned);
        to_scores<false>(s, shared, mask, first_query, first_key);
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j)
                dp[i][j] = exponential(s[i][j] - row_lse[i]) * (dp[i][j] - row_sum[i]);  // dS
        set_weights(shared, dp);
        add_weighted<CHUNKS>(sum, shared, k_rows, first_key, first_column, shape.aligned);
    }
    write_rows(Rows<T>(dq, head, shape.heads, shape.queries, shape.d), sum, factor, first_query, first_column, shape.aligned);
}

template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, Exact<A>::BLOCKS * 64 / COLUMNS)
key_value_gradient_exact(const T* __restrict__ g, const A* __restrict__ row_sums, const A* __restrict__ lse,
                         const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                         const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dk,
                         T* __restrict__ dv, const Shape shape) {
    typedef Exact<A> E;
    constexpr int CHUNKS = COLUMNS / E::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    E& shared = *reinterpret_cast<E*>(memory);

    const int tiles = (shape.keys + SIDE - 1) / SIDE;
    const long long head = blockIdx.x / tiles;
    const int first_key = blockIdx.x % tiles * SIDE;
    const int first_column = blockIdx.y * COLUMNS;
    const Rows<const T> q_rows(q, head, shape.heads, shape.queries, shape.d), g_rows(g, head, shape.heads, shape.queries, shape.e),
        k_rows(k, head, shape.heads, shape.keys, shape.d), v_rows(v, head, shape.heads, shape.keys, shape.e);
    const Mask<T> mask(allowed, added, head, shape);

    A dk_sum[CHUNKS][4][E::WIDTH] = {}, dv_sum[CHUNKS][4][E::WIDTH] = {};
    for (int first_query = mask.queries_from(first_key) / SIDE * SIDE; first_query < shape.queries; first_query += SIDE) {
        A p[4][4], dp[4][4];
        row_products(p, shared, k_rows, first_key, q_rows, first_query, shape.aligned);
        row_products(dp, shared, v_rows, first_key, g_rows, first_query, shape.aligned);
        to_scores<true>(p, shared, mask, first_key, first_query);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int query = first_query + thread_column(j);
            const bool there = query < shape.queries;
            const A column_lse = there ? finite_or_zero(lse[head * shape.queries + query]) : A(0);
            const A column_sum = there ? row_sums[head * shape.queries + query] : A(0);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                p[i][j] = exponential(p[i][j] - column_lse);
                dp[i][j] = p[i][j] * (dp[i][j] - column_sum);  // dS
            }
        }
        set_weights(shared, p);
        add_weighted<CHUNKS>(dv_sum, shared, g_rows, first_query, first_column, shape.aligned);
        set_weights(shared, dp);
        add_weighted<CHUNKS>(dk_sum, shared, q_rows, first_query, first_column, shape.aligned);
    }
    const A one[4] = {A(1), A(1), A(1), A(1)};
    const A scale[4] = {A(shape.scale), A(shape.scale), A(shape.scale), A(shape.scale)};
    write_rows(Rows<T>(dk, head, shape.heads, shape.keys, shape.d), dk_sum, scale, first_key, first_column, shape.aligned);
    write_rows(Rows<T>(dv, head, shape.heads, shape.keys, shape.e), dv_sum, one, first_key, first_column, shape.aligned);
}
