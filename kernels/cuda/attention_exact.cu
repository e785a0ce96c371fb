// Attention in plain arithmetic, forward and backward: float32 in "highest" precision, float64, any GPU and head size.
//
//   out = softmax(scale q k^T + mask) v for each head, without the matrix of scores: while the keys go by, keep of each
//   query the largest score m so far, l = sum exp(s - m) and o = sum exp(s - m) v; when a larger m' comes, scale both
//   by exp(m - m'). In the end out = o / l and lse = m + log l, from which the backward pass finds any probability
//   again, as exp(s - lse). Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4.
//
//                            keys go by, 64 at a time                    queries go by
//                     k |      |  -->  |      | v                 q |      |  -->  |      | g
//                       +------+       +------+                     +------+       +------+
//     one block:  +---+ +------+       +------+        +---+ +---+  +------+       +------+
//     64 queries  | q | | p, dS|  x k or v =  | out,   | k | | v |  |p^T,dS^T  x g, q =   | dv,  64 keys
//     of a head   +---+ +------+       | dq   +------+ +---+ +---+  +------+       | dk   +------+ of a head
//
//   The tiles of 64 x 64 and the products with them: attention_exact.cuh. A block gives COLUMNS columns of its results;
//   a head with more takes more blocks, which find the scores anew.
//
//   For N H heads of D numbers, L queries and S keys, in numbers of T:
//     forward             flops 4 L S D    bytes: q and out once, k and v once for every 64 queries
//     query_gradient      flops 6 L S D    bytes: q, g and dq once, k and v once for every 64 queries
//     key_value_gradient  flops 8 L S D    bytes: k, v, dk and dv once, q and g once for every 64 keys
//   each time 64 and more flops for every number that is read, mostly from the second-level cache: flops bind. Parts of
//   the block's own rows are read again with every tile (from that cache too) to leave shared memory to other blocks.
#include "attention_exact.cuh"

template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, Exact<A>::BLOCKS)
attention_exact(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ out,
                A* __restrict__ lse, const Shape shape) {
    constexpr int WIDTH = Exact<A>::WIDTH, CHUNKS = COLUMNS / Exact<A>::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    Exact<A>& shared = *reinterpret_cast<Exact<A>*>(memory);
    const int tiles = (shape.queries + SIDE - 1) / SIDE, head_number = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * SIDE;  // with causal, those with most keys first
    const int first_column = blockIdx.y * COLUMNS;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<T> out_rows(out, head_number, shape.heads, shape.queries, shape.e);
    lse += (long long)head_number * shape.queries;

    A top[4], total[4] = {}, sum[CHUNKS][4][WIDTH] = {};
    for (int i = 0; i < 4; ++i) top[i] = minus_infinity();
    const int keys = head.mask.keys_for(first_query + SIDE - 1);
    for (int first_key = 0; first_key < keys; first_key += SIDE) {
        A p[4][4];
        row_products(p, shared, head.q, first_query, head.k, first_key, shape.aligned);
        to_scores<false>(p, shared, head.mask, first_query, first_key);
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
            for (int chunk = 0; chunk < CHUNKS; ++chunk)
                for (int n = 0; n < WIDTH; ++n) sum[chunk][i][n] *= shrink;
        }
        set_weights(shared, p);
        add_weighted<CHUNKS>(sum, shared, head.v, first_key, first_column, shape.aligned);
    }

    A factor[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        total[i] = row_sum(total[i]);
        factor[i] = total[i] == A(0) ? A(0) : A(1) / total[i];
        const int query = first_query + thread_row(i);
        if (threadIdx.x % 16 == 0 && blockIdx.y == 0 && query < shape.queries)
            lse[query] = top[i] + logarithm(total[i]);
    }
    write_rows(out_rows, sum, factor, first_query, first_column, shape.aligned);
}

// g_l . out_l for each row of scores: what the gradient of the softmax subtracts, see reference.py. One warp a row.
template <class T, class A>
__global__ void __launch_bounds__(256)
gradient_row_sums(const T* __restrict__ g, const T* __restrict__ out, A* __restrict__ row_sums, long long rows,
                  int heads, int queries, int columns) {
    const long long row = blockIdx.x * 8LL + threadIdx.x / 32;  // (n, l, h)
    if (row >= rows) return;
    A sum = A(0);
    for (int c = threadIdx.x % 32; c < columns; c += 32)
        sum += widen(g[row * columns + c]) * widen(out[row * columns + c]);
    sum = warp_sum(sum);
    const int h = row % heads;
    const long long at = row / heads, l = at % queries, n = at / queries;
    if (threadIdx.x % 32 == 0) row_sums[(n * heads + h) * queries + l] = sum;
}

// dq = scale dS k with dS = p (g v^T - row_sum).
template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, Exact<A>::GRADIENT_BLOCKS)
query_gradient_exact(const T* __restrict__ g, const A* __restrict__ row_sums, const A* __restrict__ lse,
                     const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                     const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dq,
                     const Shape shape) {
    constexpr int WIDTH = Exact<A>::WIDTH, CHUNKS = COLUMNS / Exact<A>::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    Exact<A>& shared = *reinterpret_cast<Exact<A>*>(memory);
    const int tiles = (shape.queries + SIDE - 1) / SIDE, head_number = blockIdx.x / tiles;
    const int first_query = (tiles - 1 - blockIdx.x % tiles) * SIDE;  // with causal, those with most keys first
    const int first_column = blockIdx.y * COLUMNS;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<const T> g_rows(g, head_number, shape.heads, shape.queries, shape.e);
    const Rows<T> dq_rows(dq, head_number, shape.heads, shape.queries, shape.d);
    lse += (long long)head_number * shape.queries;
    row_sums += (long long)head_number * shape.queries;

    A row_lse[4], row_sum[4], scale[4], sum[CHUNKS][4][WIDTH] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int query = first_query + thread_row(i);
        row_lse[i] = query < shape.queries ? finite_or_zero(lse[query]) : A(0);
        row_sum[i] = query < shape.queries ? row_sums[query] : A(0);
        scale[i] = A(shape.scale);
    }
    const int keys = head.mask.keys_for(first_query + SIDE - 1);
    for (int first_key = 0; first_key < keys; first_key += SIDE) {
        A p[4][4], ds[4][4];
        row_products(p, shared, head.q, first_query, head.k, first_key, shape.aligned);
        to_scores<false>(p, shared, head.mask, first_query, first_key);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) p[i][j] = exponential(p[i][j] - row_lse[i]);
        row_products(ds, shared, g_rows, first_query, head.v, first_key, shape.aligned);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) ds[i][j] = p[i][j] * (ds[i][j] - row_sum[i]);
        set_weights(shared, ds);
        add_weighted<CHUNKS>(sum, shared, head.k, first_key, first_column, shape.aligned);
    }
    write_rows(dq_rows, sum, scale, first_query, first_column, shape.aligned);
}

// dv = p^T g and dk = scale dS^T q. Rows of the tiles are keys, columns queries.
template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256, COLUMNS == 64 ? Exact<A>::GRADIENT_BLOCKS : 1)
key_value_gradient_exact(const T* __restrict__ g, const A* __restrict__ row_sums, const A* __restrict__ lse,
                         const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                         const bool* __restrict__ allowed, const T* __restrict__ added, T* __restrict__ dk,
                         T* __restrict__ dv, const Shape shape) {
    constexpr int WIDTH = Exact<A>::WIDTH, CHUNKS = COLUMNS / Exact<A>::COLUMNS;
    extern __shared__ __align__(16) unsigned char memory[];
    Exact<A>& shared = *reinterpret_cast<Exact<A>*>(memory);
    const int tiles = (shape.keys + SIDE - 1) / SIDE, head_number = blockIdx.x / tiles;
    const int first_key = blockIdx.x % tiles * SIDE, first_column = blockIdx.y * COLUMNS;
    const Head<T> head(q, k, v, allowed, added, head_number, shape);
    const Rows<const T> g_rows(g, head_number, shape.heads, shape.queries, shape.e);
    const Rows<T> dk_rows(dk, head_number, shape.heads, shape.keys, shape.d);
    const Rows<T> dv_rows(dv, head_number, shape.heads, shape.keys, shape.e);
    lse += (long long)head_number * shape.queries;
    row_sums += (long long)head_number * shape.queries;

    A dk_sum[CHUNKS][4][WIDTH] = {}, dv_sum[CHUNKS][4][WIDTH] = {};
    for (int first_query = head.mask.queries_from(first_key); first_query < shape.queries; first_query += SIDE) {
        A p[4][4], ds[4][4];
        row_products(p, shared, head.k, first_key, head.q, first_query, shape.aligned);
        to_scores<true>(p, shared, head.mask, first_key, first_query);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int query = first_query + thread_column(j);
            const A column_lse = query < shape.queries ? finite_or_zero(lse[query]) : A(0);
            for (int i = 0; i < 4; ++i) p[i][j] = exponential(p[i][j] - column_lse);
        }
        row_products(ds, shared, head.v, first_key, g_rows, first_query, shape.aligned);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int query = first_query + thread_column(j);
            const A column_sum = query < shape.queries ? row_sums[query] : A(0);
            for (int i = 0; i < 4; ++i) ds[i][j] = p[i][j] * (ds[i][j] - column_sum);
        }
        set_weights(shared, p);
        add_weighted<CHUNKS>(dv_sum, shared, g_rows, first_query, first_column, shape.aligned);
        set_weights(shared, ds);
        add_weighted<CHUNKS>(dk_sum, shared, head.q, first_query, first_column, shape.aligned);
    }
    A scale[4], one[4];
    for (int i = 0; i < 4; ++i) scale[i] = A(shape.scale), one[i] = A(1);
    write_rows(dk_rows, dk_sum, scale, first_key, first_column, shape.aligned);
    write_rows(dv_rows, dv_sum, one, first_key, first_column, shape.aligned);
}
