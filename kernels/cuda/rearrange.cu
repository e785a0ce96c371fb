// Moving numbers from place to place. One thread a vector of channels; the rows of channels are contiguous.
//
//   upsample   x (N,D,H,W,C) -> y (N,D fd,H fh,W fw,C): every pixel becomes a block of equal ones
//
//   y:  |aa|bb|    one thread writes one   bytes: 1 + 1 / (fd fh fw) times those of y, of which x comes mostly from the
//       |aa|bb|    vector of y             second-level cache; flops: none
#include "numbers.cuh"

template <class T, int WIDTH>
__global__ void __launch_bounds__(256)
upsample(const T* __restrict__ x, T* __restrict__ y, long long vectors, int depth, int height, int width,
         int vectors_of_pixel, int factor_d, int factor_h, int factor_w) {
    const long long i = blockIdx.x * 256LL + threadIdx.x;  // a vector of y
    if (i >= vectors) return;
    const int c = i % vectors_of_pixel;
    long long at = i / vectors_of_pixel;  // a pixel of y
    const int w = at % (width * factor_w) / factor_w;
    at /= width * factor_w;
    const int h = at % (height * factor_h) / factor_h;
    at /= height * factor_h;  // n, d
    const long long plane = at / (depth * factor_d) * depth + at % (depth * factor_d) / factor_d;
    const long long from = ((plane * height + h) * width + w) * vectors_of_pixel + c;
    store<WIDTH>(y + i * WIDTH, load<WIDTH>(x + from * WIDTH));
}
