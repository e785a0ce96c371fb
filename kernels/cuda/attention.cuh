// What the attention kernels share: the sizes, the rows of one head, and which scores count.
#pragma once
#include "numbers.cuh"

// Elements from one sample, row and head to the next, in an array (N, rows, heads, columns).
struct Strides {
    long long sample, row, head;
};

// The sizes of one call, as kernels/cuda/attention.py fills them in. The mask's strides are 0 along axes that share it.
struct Shape {
    int heads, queries, keys, d, e;  // q (N,queries,heads,d), k (N,keys,heads,d), v (N,keys,heads,e)
    int causal;                      // query l sees keys s <= l
    int aligned;                     // 16 bytes at a time can be moved of every row
    Strides q, k, v;
    long long mask_sample, mask_head, mask_query, mask_key;
    double scale;
};

// The rows of one head of an array (N, count, heads, columns). `head` counts over all samples.
template <class T> struct Rows {
    T* first;
    long long stride;
    int count, columns;

    __device__ Rows(T* array, int head, int heads, const Strides& strides, int count, int columns)
        : first(array + head / heads * strides.sample + head % heads * strides.head), stride(strides.row),
          count(count), columns(columns) {}
    __device__ Rows(T* contiguous, int head, int heads, int count, int columns)
        : Rows(contiguous, head, heads, {(long long)count * heads * columns, (long long)heads * columns, columns},
               count, columns) {}
    __device__ T* row(int r) const { return first + r * stride; }
};

__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }

// Which keys the queries of one head see, and what the mask adds: a score is scale q . k + added.
template <class T> struct Mask {
    typedef Accumulator<T> A;
    const bool* allowed;   // the mask, if it is of bools,
    const T* added;        // or else of numbers
    const Shape& shape;

    __device__ Mask(const bool* allowed, const T* added, int head, const Shape& shape)
        : allowed(allowed), added(added), shape(shape) {
        const long long first = head / shape.heads * shape.mask_sample + head % shape.heads * shape.mask_head;
        if (allowed) this->allowed += first;
        if (added) this->added += first;
    }
    // What is added to a score: -infinity where the query must not look.
    __device__ A operator()(int query, int key) const {
        if (query >= shape.queries || key >= shape.keys || (shape.causal && key > query)) return minus_infinity();
        const long long at = query * shape.mask_query + key * shape.mask_key;
        if (allowed) return allowed[at] ? A(0) : A(minus_infinity());
        return added ? widen(added[at]) : A(0);
    }
    // Whether nothing is added to any score of these queries and keys.
    __device__ bool plain(int first_query, int queries, int first_key, int keys) const {
        return !allowed && !added && first_query + queries <= shape.queries && first_key + keys <= shape.keys &&
               !(shape.causal && first_key + keys - 1 > first_query);
    }
    // Which keys any of the queries up to this one may see, and from which query on a key may be seen.
    __device__ int keys_for(int last_query) const {
        return shape.causal ? min(shape.keys, last_query + 1) : shape.keys;
    }
    __device__ int queries_from(int first_key) const { return shape.causal ? first_key : 0; }
};

// What the attention of one head is computed from.
template <class T> struct Head {
    Rows<const T> q, k, v;
    Mask<T> mask;

    __device__ Head(const T* q, const T* k, const T* v, const bool* allowed, const T* added, int head,
                    const Shape& shape)
        : q(q, head, shape.heads, shape.q, shape.queries, shape.d),
          k(k, head, shape.heads, shape.k, shape.keys, shape.d),
          v(v, head, shape.heads, shape.v, shape.keys, shape.e), mask(allowed, added, head, shape) {}
};

// A row that sees nothing has the largest score, and the lse, -infinity; its probabilities are exp(-infinity - 0) = 0.
template <class A> __device__ __forceinline__ A finite_or_zero(A top) { return top == minus_infinity() ? A(0) : top; }
