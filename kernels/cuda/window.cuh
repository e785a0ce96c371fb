// Which pixel of x meets which tap of a convolution's kernel, over volumes (an image is a volume of depth 1).
//
//   conv            y[n, p, o] = sum_t sum_c x[n, stride p + dilation t - padding, c] weight[t, c, o]
//   conv_transpose  y[n, stride q + dilation t - padding, o] += x[n, q, c] weight[t, c, o]
//
// Pixel h of a transposed convolution's y hears only of taps with dilation t = h + padding (mod stride). So the pixels
// of one phase h mod stride are an ordinary convolution of stride 1 with those taps, last first, and nothing is ever
// multiplied by the zeros between strides:
//
//   y   0 1 2 3 4 5 6 ..     stride 2, padding 1, 4 taps:   phase 0 hears of taps 3 and 1,
//       a b a b a b a ..                                     phase 1 of taps 2 and 0
//
// A Slide is either of them along one axis.
#pragma once

struct Axis {  // what the caller asked for, along one axis
    int in, out, kernel, stride, padding, dilation;
    int tap_step;  // stride / gcd(stride, dilation): from one tap of a phase to the next
};

struct Window {
    Axis axis[3];                             // depth, height, width
    int samples, groups, channels, columns;   // channels of x and columns of y in one group
    int tap_pitch, row_pitch, group_pitch;    // from one tap of the weight, one of its channels, one group to the next
    int transposed;
};

struct Slide {
    int positions, taps;      // how many
    int first, stride, step;  // position p and tap t meet at pixel first + stride p + step t of x
    int tap_first, tap_step;  // tap t is number tap_first + tap_step t of the weight
    int y_first, y_step;      // position p is pixel y_first + y_step p of y
};

__device__ __forceinline__ Slide slide_of(const Axis& a) {
    return {a.out, a.kernel, -a.padding, a.stride, a.dilation, 0, 1, 0, 1};
}

__device__ __forceinline__ Slide slide_of_phase(const Axis& a, int phase) {
    int tap = a.kernel - 1;  // the last tap of the phase; -1 if it has none
    while (tap >= 0 && (phase + a.padding - a.dilation * tap) % a.stride != 0) --tap;
    const int taps = tap < 0 ? 0 : tap / a.tap_step + 1;
    const int first = tap < 0 ? 0 : (phase + a.padding - a.dilation * tap) / a.stride;
    const int positions = (a.out - phase + a.stride - 1) / a.stride;
    return {positions, taps, first, 1, a.dilation * a.tap_step / a.stride, tap, -a.tap_step, phase, a.stride};
}

struct Slides {
    Slide d, h, w;
    __device__ int positions() const { return d.positions * h.positions * w.positions; }  // of one sample
    __device__ int taps() const { return d.taps * h.taps * w.taps; }
};

// How the window slides; phase, where it is transposed, counts through those of the three axes.
__device__ __forceinline__ Slides slides_of(const Window& window, int phase) {
    const Axis &d = window.axis[0], &h = window.axis[1], &w = window.axis[2];
    if (!window.transposed) return {slide_of(d), slide_of(h), slide_of(w)};
    return {slide_of_phase(d, phase / (w.stride * h.stride)), slide_of_phase(h, phase / w.stride % h.stride),
            slide_of_phase(w, phase % w.stride)};
}

// A number in digits of sizes a, b, c and as many as it takes, the last digit first. Positions are counted so, in
// digits (w, h, d, sample), and what is summed over, in digits (channel, w, h, d) of the taps.
struct Digits { int of[4]; };
struct Sizes { int a, b, c; };

__device__ __forceinline__ Sizes position_sizes(const Slides& s) {
    return {s.w.positions, s.h.positions, s.d.positions};
}
__device__ __forceinline__ Sizes tap_sizes(const Slides& s, int channels) {
    return {max(channels, 1), max(s.w.taps, 1), max(s.h.taps, 1)};  // 0 where there is nothing to count
}

__device__ __forceinline__ Digits digits_of(int number, const Sizes& size) {
    const int b = number / size.a, c = b / size.b, d = c / size.c;
    return {{number - b * size.a, b - c * size.b, c - d * size.c, d}};
}
__device__ __forceinline__ void add(Digits& to, const Digits& step, const Sizes& size) {
    const int sizes[3] = {size.a, size.b, size.c};
    int carry = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        const int sum = to.of[i] + step.of[i] + carry;
        carry = sum >= sizes[i];
        to.of[i] = carry ? sum - sizes[i] : sum;
    }
    to.of[3] += step.of[3] + carry;
}

// A position's place in x, and how far a tap is from there. Their coordinates add up; they are `at` x + position.at *
// (channels of a pixel) + tap.at in memory: `at` counts pixels for a position, numbers for a tap.
struct alignas(16) Place { int at, d, h, w; };
constexpr int NOWHERE = -(1 << 30);  // a coordinate outside x, whatever is added

__device__ __forceinline__ Place place_of_position(const Window& window, const Slides& s, const Digits& p) {
    if (p.of[3] >= window.samples) return {0, NOWHERE, 0, 0};
    const Axis* in = window.axis;
    const int d = s.d.first + s.d.stride * p.of[2], h = s.h.first + s.h.stride * p.of[1];
    const int w = s.w.first + s.w.stride * p.of[0];
    return {((p.of[3] * in[0].in + d) * in[1].in + h) * in[2].in + w, d, h, w};
}
__device__ __forceinline__ Place place_of_tap(const Window& window, const Slides& s, const Digits& t) {
    if (t.of[3] >= s.d.taps) return {0, NOWHERE, 0, 0};
    const int d = s.d.step * t.of[3], h = s.h.step * t.of[2], w = s.w.step * t.of[1];
    const int pixel = (d * window.axis[1].in + h) * window.axis[2].in + w;
    return {pixel * window.channels * window.groups + t.of[0], d, h, w};
}
__device__ __forceinline__ bool inside(const Window& window, const Place& position, const Place& tap) {
    return ((unsigned)(position.d + tap.d) < (unsigned)window.axis[0].in) &  // no branches
           ((unsigned)(position.h + tap.h) < (unsigned)window.axis[1].in) &
           ((unsigned)(position.w + tap.w) < (unsigned)window.axis[2].in);
}

// Where the row of the weight lies that a tap's digits name; and the pixel of y that a position's digits do.
__device__ __forceinline__ int weight_row(const Window& window, const Slides& s, const Digits& t) {
    const int d = s.d.tap_first + s.d.tap_step * t.of[3], h = s.h.tap_first + s.h.tap_step * t.of[2];
    const int w = s.w.tap_first + s.w.tap_step * t.of[1];
    const int tap = (d * window.axis[1].kernel + h) * window.axis[2].kernel + w;
    return tap * window.tap_pitch + t.of[0] * window.row_pitch;
}
__device__ __forceinline__ int pixel_of_y(const Window& window, const Slides& s, const Digits& p) {
    const int d = s.d.y_first + s.d.y_step * p.of[2], h = s.h.y_first + s.h.y_step * p.of[1];
    const int w = s.w.y_first + s.w.y_step * p.of[0];
    return ((p.of[3] * window.axis[0].out + d) * window.axis[1].out + h) * window.axis[2].out + w;
}
