// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// A block of Philox is four words, and gives four numbers of a row of an array (rows, elements): a quad.
//
//   row r:   | quad 0  | quad 1  | quad 2 |     thread i owns quad i % quads of row i / quads; the last quad of a row
//            | 0 1 2 3 | 4 5 6 7 | 8 9    |     may be short. No thread needs another: any split gives the same bits.
#pragma once
#include "numbers.cuh"

struct Words { unsigned of[4]; };

// The words of block `block` of a row of a draw of a seed: ten rounds on the counter (block, row, draw), the key is seed.
__device__ __forceinline__ Words philox(unsigned long long seed, unsigned long long draw, unsigned row, unsigned block) {
    unsigned c0 = block, c1 = row, c2 = unsigned(draw), c3 = unsigned(draw >> 32);
    unsigned k0 = unsigned(seed), k1 = unsigned(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = unsigned(p1 >> 32) ^ c1 ^ k0;
        c1 = unsigned(p1);
        c2 = unsigned(p0 >> 32) ^ c3 ^ k1;
        c3 = unsigned(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// The four numbers of a quad.
template <class T> struct Four { T of[4]; };

// Uniform in [0, 1), multiples of 2^-24: exact in float.
template <class T> __device__ __forceinline__ Four<T> uniform_of(const Words& words) {
    const T step = T(1) / (1 << 24);
    return {{T(words.of[0] >> 8) * step, T(words.of[1] >> 8) * step, T(words.of[2] >> 8) * step, T(words.of[3] >> 8) * step}};
}

// sqrt(-2 ln u), and the sine and cosine of an angle in half turns, which is exact at the axes.
__device__ __forceinline__ float radius_of(float u) { return sqrtf(-2.0f * logf(u)); }
__device__ __forceinline__ double radius_of(double u) { return sqrt(-2.0 * log(u)); }
__device__ __forceinline__ void sine_cosine(float half_turns, float* s, float* c) { sincospif(half_turns, s, c); }
__device__ __forceinline__ void sine_cosine(double half_turns, double* s, double* c) { sincospi(half_turns, s, c); }

// Box & Muller 1958 on words (0, 1) and (2, 3): u1 in (0, 1] for the radius, u2 in [0, 1) for the angle 2 pi u2.
// In float within 1e-6: over all 2^24 values of each, CUDA's radius is off by 3.6e-7 and its sine by 5.3e-8 at the most,
// so the product by 3.6e-7 + 5.77 * 5.3e-8 and its own rounding, 2.4e-7.
template <class T> __device__ __forceinline__ Four<T> normal_of(const Words& words) {
    const T step = T(1) / (1 << 24);
    Four<T> z;
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
        const T radius = radius_of(T((words.of[k] >> 8) + 1) * step);
        T sine, cosine;
        sine_cosine(T(words.of[k + 1] >> 8) * (2 * step), &sine, &cosine);
        z.of[k] = radius * cosine;
        z.of[k + 1] = radius * sine;
    }
    return z;
}

// Where the quad of a thread lies.
struct Quad {
    unsigned row, block;  // of all rows, of its row
    long long at;         // its first number, in the flat array
    int count;            // of its numbers: 4, but fewer at the end of a row
};
__device__ __forceinline__ Quad quad_of(long long thread, long long quads, long long elements) {
    const long long row = thread / quads, block = thread % quads, left = elements - 4 * block;
    return {unsigned(row), unsigned(block), row * elements + 4 * block, left < 4 ? int(left) : 4};
}

// The numbers of a quad from memory and back: 16 bytes at once if the rows are `whole` quads that begin at 16 bytes.
template <class T> __device__ __forceinline__ Four<T> load_quad(const T* x, const Quad& quad, bool whole) {
    constexpr int WIDTH = 16 / sizeof(T);
    Four<T> four;
#pragma unroll
    for (int k = 0; k < 4; k += WIDTH) {
        if (whole) {
            const Vector<T, WIDTH> some = load<WIDTH>(x + quad.at + k);
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) four.of[k + j] = some.of[j];
        } else {
#pragma unroll
            for (int j = k; j < k + WIDTH; ++j) four.of[j] = j < quad.count ? x[quad.at + j] : T(0);
        }
    }
    return four;
}
template <class T> __device__ __forceinline__ void store_quad(T* x, const Quad& quad, bool whole, const Four<T>& four) {
    constexpr int WIDTH = 16 / sizeof(T);
#pragma unroll
    for (int k = 0; k < 4; k += WIDTH) {
        if (whole) {
            Vector<T, WIDTH> some;
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) some.of[j] = four.of[k + j];
            store<WIDTH>(x + quad.at + k, some);
        } else {
#pragma unroll
            for (int j = k; j < k + WIDTH; ++j)
                if (j < quad.count) x[quad.at + j] = four.of[j];
        }
    }
}
