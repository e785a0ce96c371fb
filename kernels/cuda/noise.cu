// Forward noising and the reverse steps of diffusion, in one pass over memory: the noise is made in registers.
//
//   x, out, ...:  |0123|4567|89..|    a thread owns the four numbers of one block of Philox (see philox.cuh): it loads
//                  t0   t1   t2       them, makes their noise, and stores the result
//
//   add_noise        bytes a number: sizeof(T) (1 read + 2 written);   flops: 3, and 45 instructions for the noise
//   denoising_step   bytes a number: sizeof(T) (2 or 3 read + 1 written);   flops: 9, and as many if there is noise
//   linear_step      bytes a number: sizeof(T) (1 to 5 read + 1 written);   flops: 2 an array, the noise as above
//   gaussian_step    bytes a number: sizeof(T) (2 read + 1 written);   flops: 3, the noise, and an exponential
#include "philox.cuh"

// x_t = alpha[row] x0 + sigma[row] noise
template <class T>
__global__ void __launch_bounds__(256)
add_noise(const T* __restrict__ x0, const T* __restrict__ alpha, const T* __restrict__ sigma, T* __restrict__ x_t,
          T* __restrict__ noise, long long rows, long long quads, long long elements, bool whole,
          unsigned long long seed, unsigned long long draw, unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    Four<T> value = load_quad(x0, quad, whole);
    const Four<T> z = normal_of<T>(philox(seed, draw, first_row + quad.row, quad.block));
    const T signal = alpha[quad.row], deviation = sigma[quad.row];
#pragma unroll
    for (int k = 0; k < 4; ++k) value.of[k] = signal * value.of[k] + deviation * z.of[k];
    store_quad(x_t, quad, whole, value);
    store_quad(noise, quad, whole, z);
}

// x_prev = from_x0 clip(c_x x + c_m m) + from_x x + deviation z, m = out, or uncond + guidance (out - uncond)
template <class T>
__global__ void __launch_bounds__(256)
denoising_step(const T* __restrict__ x, const T* __restrict__ out, const T* __restrict__ uncond, T* __restrict__ x_prev,
               T c_x, T c_m, T from_x0, T from_x, T deviation, T guidance, T clip, long long rows, long long quads,
               long long elements, bool whole, unsigned long long seed, unsigned long long draw, unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    const Four<T> now = load_quad(x, quad, whole);
    Four<T> m = load_quad(out, quad, whole);
    if (uncond != nullptr) {
        const Four<T> base = load_quad(uncond, quad, whole);
#pragma unroll
        for (int k = 0; k < 4; ++k) m.of[k] = base.of[k] + guidance * (m.of[k] - base.of[k]);
    }
    Four<T> z = {};
    if (deviation != T(0)) z = normal_of<T>(philox(seed, draw, first_row + quad.row, quad.block));
    Four<T> value;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        T clean = c_x * now.of[k] + c_m * m.of[k];
        clean = clean < -clip ? -clip : clean > clip ? clip : clean;  // a NaN stays
        value.of[k] = from_x0 * clean + from_x * now.of[k] + deviation * z.of[k];
    }
    store_quad(x_prev, quad, whole, value);
}

// y = clip(from_a a + from_b b + ...) + deviation z, of 1 to 5 arrays: those that are missing are null
template <class T>
__global__ void __launch_bounds__(256)
linear_step(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ c, const T* __restrict__ d,
            const T* __restrict__ e, T* __restrict__ y, T from_a, T from_b, T from_c, T from_d, T from_e, T deviation,
            T bound, long long rows, long long quads, long long elements, bool whole, unsigned long long seed,
            unsigned long long draw, unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    const T* const arrays[5] = {a, b, c, d, e};
    const T factors[5] = {from_a, from_b, from_c, from_d, from_e};
    Four<T> value = {};
#pragma unroll
    for (int n = 0; n < 5; ++n) {
        if (arrays[n] == nullptr) continue;
        const Four<T> term = load_quad(arrays[n], quad, whole);
#pragma unroll
        for (int k = 0; k < 4; ++k) value.of[k] += factors[n] * term.of[k];
    }
    Four<T> z = {};
    if (deviation != T(0)) z = normal_of<T>(philox(seed, draw, first_row + quad.row, quad.block));
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const T sum = value.of[k];
        value.of[k] = (sum < -bound ? -bound : sum > bound ? bound : sum) + deviation * z.of[k];  // a NaN stays
    }
    store_quad(y, quad, whole, value);
}

// y = mean + exp(log_variance / 2) z
template <class T>
__global__ void __launch_bounds__(256)
gaussian_step(const T* __restrict__ mean, const T* __restrict__ log_variance, T* __restrict__ y, long long rows,
              long long quads, long long elements, bool whole, unsigned long long seed, unsigned long long draw,
              unsigned first_row) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= rows * quads) return;
    const Quad quad = quad_of(i, quads, elements);
    Four<T> value = load_quad(mean, quad, whole);
    const Four<T> log_square = load_quad(log_variance, quad, whole);
    const Four<T> z = normal_of<T>(philox(seed, draw, first_row + quad.row, quad.block));
#pragma unroll
    for (int k = 0; k < 4; ++k) value.of[k] += exp(T(0.5) * log_square.of[k]) * z.of[k];
    store_quad(y, quad, whole, value);
}
