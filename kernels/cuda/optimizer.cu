// The optimiser's kernels: one launch for all arrays of a network, which stay where they are.
//
//   arrays   |     0      |1|  2  |       3        |     a block owns CHUNK numbers of one array, and of those that go
//   blocks   | 0 | 1 | 2  |3|4| 5 | 6 | 7 | 8 | 9  |     with it: 16 bytes a thread at a time, the rest one by one
//
// A table says where the arrays are; it has a column for each array (none is empty), and as rows:
//
//   0  the first of the blocks that the array takes     2 ...       the address of its numbers, for each list of arrays
//   1  how many numbers it has                          2 + lists   what else belongs to it
//
// A block finds its column by bisection. Bytes a number: sizeof(T) times
//   adam 7 (4 read, 3 written; 9 with averages), scale 2, lerp 3, add 3, sum_squares 1;   flops: 15, 1, 3, 1, 2
#include "numbers.cuh"

constexpr int THREADS = 256;
constexpr int CHUNK = 4096;  // numbers

// The numbers of a block: `begin` to `end` of those of array `array`; up to `whole` they are moved 16 bytes at a time.
struct Piece {
    int array;
    long long begin, whole, end;
};

template <class T, int LISTS>
__device__ __forceinline__ Piece piece_of(const unsigned long long* __restrict__ table, int arrays) {
    int low = 0, high = arrays;  // table[low] <= block < table[high]
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (table[middle] <= blockIdx.x ? low : high) = middle;
    }
    const long long size = table[arrays + low], begin = (blockIdx.x - (long long)table[low]) * CHUNK;
    const long long end = min(begin + CHUNK, size);
    unsigned long long addresses = 0;
    for (int list = 0; list < LISTS; ++list) addresses |= table[(2 + list) * arrays + low];
    constexpr int WIDTH = 16 / sizeof(T);
    return {low, begin, addresses % 16 ? begin : begin + (end - begin) / WIDTH * WIDTH, end};
}

template <class T>
__device__ __forceinline__ T* numbers_of(const unsigned long long* __restrict__ table, int arrays, int list, int array) {
    return reinterpret_cast<T*>(table[(2 + list) * arrays + array]);
}

// Calls f(WIDTH as a type, at) for the numbers at, ..., at + WIDTH - 1 that this thread owns.
template <int WIDTH> struct Width { static constexpr int value = WIDTH; };
template <class T, class F> __device__ __forceinline__ void for_numbers(const Piece& piece, F f) {
    constexpr int WIDTH = 16 / sizeof(T);
    for (long long at = piece.begin + threadIdx.x * WIDTH; at < piece.whole; at += THREADS * WIDTH) f(Width<WIDTH>(), at);
    for (long long at = piece.whole + threadIdx.x; at < piece.end; at += THREADS) f(Width<1>(), at);
}

// ---- Adam: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 -------------------------------------------------------
// Lists: parameters, gradients, means, squares, averages (null where an array has none); then two rows of doubles: the
// rate lr / (1 - b1^t) and the root 1 / sqrt(1 - b2^t), which undo the start of means and squares at 0.

__device__ __forceinline__ float root_of(float x) { return sqrtf(x); }
__device__ __forceinline__ double root_of(double x) { return sqrt(x); }

template <class T>
__global__ void __launch_bounds__(256)
adam(const unsigned long long* __restrict__ table, int arrays, T scale, T coupled, T kept, T new_mean, T new_square,
     T eps, T new_average) {
    const Piece piece = piece_of<T, 5>(table, arrays);
    const int array = piece.array;
    T* const p = numbers_of<T>(table, arrays, 0, array);
    const T* const g = numbers_of<T>(table, arrays, 1, array);
    T* const m = numbers_of<T>(table, arrays, 2, array);
    T* const v = numbers_of<T>(table, arrays, 3, array);
    T* const average = numbers_of<T>(table, arrays, 4, array);
    const T rate = T(__longlong_as_double(table[7 * arrays + array]));
    const T root = T(__longlong_as_double(table[8 * arrays + array]));
    for_numbers<T>(piece, [=](auto width, long long at) {
        constexpr int N = decltype(width)::value;
        Vector<T, N> value = load<N>(p + at), mean = load<N>(m + at), square = load<N>(v + at), old = {};
        const Vector<T, N> gradients = load<N>(g + at);
        if (average) old = load<N>(average + at);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const T gradient = scale * gradients.of[k] + coupled * value.of[k];
            mean.of[k] += new_mean * (gradient - mean.of[k]);
            square.of[k] += new_square * (gradient * gradient - square.of[k]);
            value.of[k] = kept * value.of[k] - rate * mean.of[k] / (root_of(square.of[k]) * root + eps);
            old.of[k] += new_average * (value.of[k] - old.of[k]);
        }
        store(p + at, value);
        store(m + at, mean);
        store(v + at, square);
        if (average) store(average + at, old);
    });
}

// ---- in place: x = factor x,   x = x + weight (target - x),   x = x + other --------------------------------------

template <class T>
__global__ void __launch_bounds__(256) scale(const unsigned long long* __restrict__ table, int arrays, T factor) {
    const Piece piece = piece_of<T, 1>(table, arrays);
    T* const x = numbers_of<T>(table, arrays, 0, piece.array);
    for_numbers<T>(piece, [=](auto width, long long at) {
        constexpr int N = decltype(width)::value;
        Vector<T, N> value = load<N>(x + at);
#pragma unroll
        for (int k = 0; k < N; ++k) value.of[k] *= factor;
        store(x + at, value);
    });
}

template <class T>
__global__ void __launch_bounds__(256) lerp(const unsigned long long* __restrict__ table, int arrays, T weight) {
    const Piece piece = piece_of<T, 2>(table, arrays);
    T* const x = numbers_of<T>(table, arrays, 0, piece.array);
    const T* const target = numbers_of<T>(table, arrays, 1, piece.array);
    for_numbers<T>(piece, [=](auto width, long long at) {
        constexpr int N = decltype(width)::value;
        Vector<T, N> value = load<N>(x + at);
        const Vector<T, N> goal = load<N>(target + at);
#pragma unroll
        for (int k = 0; k < N; ++k) value.of[k] += weight * (goal.of[k] - value.of[k]);
        store(x + at, value);
    });
}

template <class T>
__global__ void __launch_bounds__(256) add(const unsigned long long* __restrict__ table, int arrays) {
    const Piece piece = piece_of<T, 2>(table, arrays);
    T* const x = numbers_of<T>(table, arrays, 0, piece.array);
    const T* const other = numbers_of<T>(table, arrays, 1, piece.array);
    for_numbers<T>(piece, [=](auto width, long long at) {
        constexpr int N = decltype(width)::value;
        Vector<T, N> value = load<N>(x + at);
        const Vector<T, N> more = load<N>(other + at);
#pragma unroll
        for (int k = 0; k < N; ++k) value.of[k] += more.of[k];
        store(x + at, value);
    });
}

// ---- the sum of all squares, in two stages ------------------------------------------------------------------------

// sums[first + block] = the sum of the squares of the numbers of a block
template <class T>
__global__ void __launch_bounds__(256)
sum_squares(const unsigned long long* __restrict__ table, int arrays, double* __restrict__ sums, long long first) {
    const Piece piece = piece_of<T, 1>(table, arrays);
    const T* const x = numbers_of<T>(table, arrays, 0, piece.array);
    double sum = 0;
    for_numbers<T>(piece, [&](auto width, long long at) {
        constexpr int N = decltype(width)::value;
        const Vector<T, N> value = load<N>(x + at);
#pragma unroll
        for (int k = 0; k < N; ++k) sum += double(value.of[k]) * double(value.of[k]);
    });
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) sums[first + blockIdx.x] = sum;
}

// total = the sum of all sums; one block
__global__ void __launch_bounds__(256)
sum_sums(const double* __restrict__ sums, long long count, double* __restrict__ total) {
    double sum = 0;
    for (long long i = threadIdx.x; i < count; i += THREADS) sum += sums[i];
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) *total = sum;
}
