// Random numbers into an array: words, uniform and normal numbers. philox.cuh says who makes which.
//
//   values:  |0123|4567|89..|    a thread makes the four numbers of one block and stores them
//             t0   t1   t2       bytes: the array, once; no flops to speak of but the making itself, about 25 (uniform)
//                                or 45 (normal) instructions a number, most of them 32-bit integer multiplications
#include "philox.cuh"

__global__ void __launch_bounds__(256)
words(unsigned* __restrict__ values, long long quads, unsigned long long seed, unsigned long long draw, unsigned row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= quads) return;
    const Words made = philox(seed, draw, row, unsigned(i));
    store<4>(values + 4 * i, Vector<unsigned, 4>{{made.of[0], made.of[1], made.of[2], made.of[3]}});
}

template <class T>
__global__ void __launch_bounds__(256)
uniform(T* __restrict__ values, long long rows, long long quads, long long elements, bool whole, unsigned long long seed,
        unsigned long long draw, unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    store_quad(values, quad, whole, uniform_of<T>(philox(seed, draw, first_row + quad.row, quad.block)));
}

template <class T>
__global__ void __launch_bounds__(256)
normal(T* __restrict__ values, long long rows, long long quads, long long elements, bool whole, unsigned long long seed,
       unsigned long long draw, unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    store_quad(values, quad, whole, normal_of<T>(philox(seed, draw, first_row + quad.row, quad.block)));
}
