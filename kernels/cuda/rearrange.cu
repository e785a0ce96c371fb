// Moving numbers from place to place. One thread a vector of channels; the rows of channels are contiguous.
//
//   upsample     x (N,D,H,W,C) -> y (N,D fd,H fh,W fw,C): every pixel becomes a block of equal ones
//   sum_blocks   x (N,D fd,H fh,W fw,C) -> y (N,D,H,W,C): the sum of every block of pixels
//
//   |aa|bb|    one thread writes one    bytes: the larger image and, 1 / (fd fh fw) of it, the smaller one once each
//   |aa|bb|    vector of y, reading     (equal pixels of y are read from a cache); flops: 1 a number of the larger
//              its one or all of x's    image to sum, none to upsample
//
// Divisions find out where a vector lies. They are of 32 bits, since those of 64 would take longer than the memory does:
// y has at most 2^31 vectors, which the launcher sees to (an `int` holds them), and x any number.
#include "numbers.cuh"

// Where a vector of an image lies. N and D are one axis, `plane`: a pixel of y and its block in x have the same n.
struct Place { unsigned plane, h, w, c; };

__device__ __forceinline__ Place place_of(unsigned vector, int height, int width, int vectors_of_pixel) {
    const unsigned vectors_of_row = width * vectors_of_pixel;
    const unsigned row = vector / vectors_of_row, in_row = vector % vectors_of_row;
    return {row / height, row % height, in_row / vectors_of_pixel, in_row % vectors_of_pixel};
}

// Sizes of the images here and below are those of the smaller one.
template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
upsample(const T* __restrict__ x, T* __restrict__ y, int vectors, int height, int width, int vectors_of_pixel,
         int factor_d, int factor_h, int factor_w) {
    const unsigned i = blockIdx.x * 256 + threadIdx.x;  // a vector of y
    if (i >= vectors) return;
    const Place to = place_of(i, height * factor_h, width * factor_w, vectors_of_pixel);
    const long long row = (long long)(to.plane / factor_d) * height + to.h / factor_h;
    const long long from = (row * width + to.w / factor_w) * vectors_of_pixel + to.c;
    store<WIDTH>(y + (long long)i * WIDTH, load<WIDTH>(x + from * WIDTH));
}

template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
sum_blocks(const T* __restrict__ x, T* __restrict__ y, int vectors, int height, int width, int vectors_of_pixel,
           int factor_d, int factor_h, int factor_w) {
    const unsigned i = blockIdx.x * 256 + threadIdx.x;  // a vector of y
    if (i >= vectors) return;
    const Place to = place_of(i, height, width, vectors_of_pixel);
    const long long row = (long long)width * factor_w * vectors_of_pixel * WIDTH;  // numbers in a row of x
    const T* corner = x + ((long long)to.plane * factor_d * height + to.h) * factor_h * row +
                      ((long long)to.w * factor_w * vectors_of_pixel + to.c) * WIDTH;
    Vector<T, WIDTH> sum = {};
    for (int d = 0; d < factor_d; ++d) {
        for (int h = 0; h < factor_h; ++h) {
            const T* from = corner + ((long long)d * height * factor_h + h) * row;
#pragma unroll 2
            for (int w = 0; w < factor_w; ++w, from += vectors_of_pixel * WIDTH) {
                const Vector<T, WIDTH> pixel = load<WIDTH>(from);
#pragma unroll
                for (int k = 0; k < WIDTH; ++k) sum.of[k] += pixel.of[k];
            }
        }
    }
    store<WIDTH>(y + (long long)i * WIDTH, sum);
}
