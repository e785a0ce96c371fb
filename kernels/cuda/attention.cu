#include "attention_exact.cuh"

// One block: 64 queries of a head, COLUMNS columns of out.
template <class T, class A, int COLUMNS>
__global__ void __launch_bounds__(256)
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
    const Scores<T> scores(allowed, added, head, shape);

    A top[4], total[4] = {}, sum[CHUNKS][4][E::WIDTH] = {};
    for (int i = 0; i < 4; ++i) top[i] = minus_infinity();
    const int keys = scores.keys_for(first_query + SIDE - 1);
    for (int first_key = 0; first_key < keys; first_key += SIDE) {
        A p[4][4];
        row_products(p, shared, q_rows, first_query, k_rows, first_key, shape.aligned);
        for (int i = 0; i < 4; ++i) {
            A largest = top[i];
            for (int j = 0; j < 4; ++j) {
                p[i][j] = scores(p[i][j], first_query + thread_row(i), first_key + thread_column(j));
                largest = largest < p[i][j] ? p[i][j] : largest;
            }
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
    for (int i = 0; i < 4; ++i) {
        total[i] = row_sum(total[i]);
        factor[i] = total[i] == A(0) ? A(0) : A(1) / total[i];
        const int query = first_query + thread_row(i);
        if (threadIdx.x % 16 == 0 && blockIdx.y == 0 && query < shape.queries)
            lse[head * shape.queries + query] = top[i] + logarithm(total[i]);
    }
    write_rows(Rows<T>(out, head, shape.heads, shape.queries, shape.e), sum, factor, first_query, first_column, shape.aligned);
}
