// cuda_emu.h - compile a CUDA C++ kernel as ordinary C++ and run it on the CPU. For tests only.
//
//   g++ -x c++ -std=c++17 -include cuda_emu.h kernel.cu ...        (emu.py does this)
//
// A block's threads are fibers that run one at a time and switch only inside __syncthreads, __syncwarp
// and the warp collectives, so results are deterministic for a given schedule seed. With CHECK the
// kernel is compiled with -fsanitize=thread against *our* __tsan_* callbacks (cuda_emu.cpp), which see
// every load and store: out-of-bounds, write to const, data race, read of uninitialised shared memory.
#pragma once
#include <cmath>
#include <math.h>  // exp(float) and the like as CUDA has them: of float, not double
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

// ---- language -----------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static __attribute__((section("emu_shared")))      // one block at a time
#define EMU_DYNAMIC_SHARED(T, name) static T*& name = (T*&)emu::dynamic_shared;   // emu.py: `extern __shared__ T name[];`
#define EMU_QUIET __attribute__((no_sanitize("thread")))

#define EMU_VECTOR(T, N, A1)                                                                          \
    struct N##1 { T x; };                                                                             \
    struct alignas(2 * A1) N##2 { T x, y; };                                                          \
    struct N##3 { T x, y, z; };                                                                       \
    struct alignas(4 * A1 > 16 ? 16 : 4 * A1) N##4 { T x, y, z, w; };                                 \
    inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                              \
    inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }                                      \
    inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTOR(float, float, 4) EMU_VECTOR(int, int, 4) EMU_VECTOR(unsigned, uint, 4) EMU_VECTOR(double, double, 8)
EMU_VECTOR(unsigned char, uchar, 1) EMU_VECTOR(short, short, 2) EMU_VECTOR(long long, longlong, 8)
struct dim3 { unsigned x = 1, y = 1, z = 1; };

extern uint3 threadIdx, blockIdx;                  // set by the scheduler at every switch
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- what the runtime offers --------------------------------------------------------------------
namespace emu {
enum Access { READ, WRITE, ATOMIC };
typedef unsigned char Lane[64];
extern void* dynamic_shared;                       // exactly the launch's shared_mem bytes
[[noreturn]] void fail(const char* format, ...);
void barrier(int line);
// Waits until every lane of mask is here, then returns what each of the 32 lanes brought.
const Lane* exchange(unsigned mask, const void* data, int bytes, const char* what, int line);
void sync_warp(unsigned mask, int line);
int lane();
void touch(const void* p, size_t bytes, Access kind);       // the check for one access (no-op without CHECK)
void cp_async(void* smem, const void* gmem, int bytes, bool wanted);     // performed by the matching cp_async_wait
void cp_async_commit();
void cp_async_wait(int groups_left);

template <class To, class From> EMU_QUIET inline To bits(From f) {
    static_assert(sizeof(To) == sizeof(From)); To t; std::memcpy(&t, &f, sizeof t); return t;
}
template <class T> EMU_QUIET T shuffle(unsigned mask, T v, int from, const char* what, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, "CUDA shuffles 2, 4 or 8 bytes");
    if (!(mask >> from & 1)) fail("line %d: %s reads lane %d, which is not in mask %08x", line, what, from, mask);
    const Lane* lanes = exchange(mask, &v, sizeof v, what, line);
    std::memcpy(&v, lanes[from], sizeof v);
    return v;
}
inline void check_width(int width, int line) {
    if (width < 1 || width > 32 || (width & (width - 1))) fail("line %d: shuffle width %d", line, width);
}
EMU_QUIET inline unsigned round_tf32(float x) {             // cvt.rna: nearest, ties away from zero
    unsigned u = bits<unsigned>(x);
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}
EMU_QUIET inline float as_tf32(unsigned u) { return bits<float>(u & 0xffffe000u); }    // the unit drops 13 bits
// D(16x8) += A(16x8) B(8x8) over one warp; fragment layout of mma.m16n8k8, see kernels/mma.cuh.
EMU_QUIET inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                       int line = __builtin_LINE()) {
    unsigned ab[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto L = (const unsigned(*)[16])exchange(0xffffffffu, ab, sizeof ab, "mma", line);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + (i / 2) * 8, col = 2 * q + i % 2;
        for (int k = 0; k < 8; ++k) {
            const unsigned A = L[(row % 8) * 4 + k % 4][(k / 4) * 2 + row / 8], B = L[col * 4 + k % 4][4 + k / 4];
            d[i] += as_tf32(A) * as_tf32(B);
        }
    }
}
// The same with halves, k = 16; two of them in each 32 bits.
EMU_QUIET inline float half_of(unsigned pair, int which) {
    const unsigned short b = (unsigned short)(pair >> 16 * which); _Float16 h; std::memcpy(&h, &b, sizeof h); return (float)h;
}
EMU_QUIET inline void mma_m16n8k16_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                        int line = __builtin_LINE()) {
    unsigned ab[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto L = (const unsigned(*)[16])exchange(0xffffffffu, ab, sizeof ab, "mma", line);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + (i / 2) * 8, col = 2 * q + i % 2;
        for (int k = 0; k < 16; ++k) {
            const int from = k % 8 / 2;
            d[i] += half_of(L[(row % 8) * 4 + from][(k / 8) * 2 + row / 8], k % 2) * half_of(L[col * 4 + from][4 + k / 8], k % 2);
        }
    }
}
// ldmatrix.x4: lane 8 i + r brings the address of row r of matrix i.
EMU_QUIET inline void load_matrices(unsigned (&parts)[4], const void* row, bool transposed, int line = __builtin_LINE()) {
    if ((uintptr_t)row % 16) fail("line %d: ldmatrix of a misaligned row", line);
    touch(row, 16, READ);
    unsigned short mine[8];
    std::memcpy(mine, row, sizeof mine);
    auto L = (const unsigned short(*)[32])exchange(0xffffffffu, mine, sizeof mine, "ldmatrix", line);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const unsigned low = transposed ? L[8 * i + 2 * q][g] : L[8 * i + g][2 * q];
        const unsigned high = transposed ? L[8 * i + 2 * q + 1][g] : L[8 * i + g][2 * q + 1];
        parts[i] = low | high << 16;
    }
}
// Kernel signature as text ("cf4*" = const float*, "mi4*" = int*, "i4", "u8", "f4"): emu.py checks arguments.
template <class T> std::string code() {
    if constexpr (std::is_pointer_v<T>) {
        using U = std::remove_pointer_t<T>;
        return (std::is_const_v<U> ? "c" : "m") + code<std::remove_cv_t<U>>() + "*";
    } else {
        const char* kind = std::is_floating_point_v<T> ? "f" : std::is_unsigned_v<T> ? "u" : std::is_integral_v<T> ? "i" : "x";
        return kind + std::to_string(sizeof(T));
    }
}
template <class... A> std::string signature(void (*)(A...)) { return ((code<A>() + ",") + ... + ""); }
template <class... A, size_t... I>
EMU_QUIET inline void call(void (*f)(A...), void** a, std::index_sequence<I...>) { f(*(A*)a[I]...); }
template <class... A>
EMU_QUIET inline void call(void (*f)(A...), void** a) { call(f, a, std::index_sequence_for<A...>()); }
}  // namespace emu
#define EMU_KERNEL(symbol, ...)                                                                       \
    extern "C" EMU_QUIET __attribute__((visibility("default"))) void emu_call_##symbol(void** a) { emu::call(__VA_ARGS__, a); }              \
    extern "C" EMU_QUIET __attribute__((visibility("default"))) const char* emu_signature_##symbol() {                                                 \
        static std::string s = emu::signature(__VA_ARGS__); return s.c_str(); }

// ---- synchronisation, warp collectives, atomics --------------------------------------------------
#define EMU_LINE int line = __builtin_LINE()
inline void __syncthreads(EMU_LINE) { emu::barrier(line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_LINE) { emu::sync_warp(mask, line); }
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T> T __shfl_sync(unsigned mask, T v, int src, int width = 32, EMU_LINE) {
    emu::check_width(width, line);
    return emu::shuffle(mask, v, (emu::lane() & ~(width - 1)) + (src & (width - 1)), "__shfl_sync", line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int m, int width = 32, EMU_LINE) {
    emu::check_width(width, line);
    const int from = emu::lane() ^ m;
    return emu::shuffle(mask, v, from > (emu::lane() | (width - 1)) ? emu::lane() : from, "__shfl_xor_sync", line);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, EMU_LINE) {
    emu::check_width(width, line);
    const int from = emu::lane() + delta;
    return emu::shuffle(mask, v, from > (emu::lane() | (width - 1)) ? emu::lane() : from, "__shfl_down_sync", line);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, EMU_LINE) {
    emu::check_width(width, line);
    const int from = emu::lane() - delta;
    return emu::shuffle(mask, v, from < (emu::lane() & ~(width - 1)) ? emu::lane() : from, "__shfl_up_sync", line);
}
EMU_QUIET inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_LINE) {
    const unsigned char p = predicate != 0;
    const emu::Lane* lanes = emu::exchange(mask, &p, 1, "__ballot_sync", line);
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) if (mask >> i & 1) r |= (unsigned)lanes[i][0] << i;
    return r;
}
inline int __any_sync(unsigned mask, int p, EMU_LINE) { return __ballot_sync(mask, p, line) != 0; }
inline int __all_sync(unsigned mask, int p, EMU_LINE) { return __ballot_sync(mask, p, line) == mask; }

#define EMU_ATOMIC(name, expression)                                                                  \
    template <class T> EMU_QUIET T name(T* p, std::common_type_t<T> v) {                              \
        emu::touch(p, sizeof(T), emu::ATOMIC); const T old = *p; *p = (expression); return old; }
EMU_ATOMIC(atomicAdd, T(old + v)) EMU_ATOMIC(atomicSub, T(old - v)) EMU_ATOMIC(atomicExch, v)
EMU_ATOMIC(atomicMax, old > v ? old : v) EMU_ATOMIC(atomicMin, old < v ? old : v)
EMU_ATOMIC(atomicOr, T(old | v)) EMU_ATOMIC(atomicAnd, T(old & v)) EMU_ATOMIC(atomicXor, T(old ^ v))
template <class T> EMU_QUIET T atomicCAS(T* p, std::common_type_t<T> compare, std::common_type_t<T> v) {
    emu::touch(p, sizeof(T), emu::ATOMIC); const T old = *p; if (old == compare) *p = v; return old;
}

// ---- intrinsics -----------------------------------------------------------------------------------
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
template <class A, class B> inline auto min(A a, B b) { std::common_type_t<A, B> x = a, y = b; return y < x ? y : x; }
template <class A, class B> inline auto max(A a, B b) { std::common_type_t<A, B> x = a, y = b; return x < y ? y : x; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.f / sqrtf(x); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.f), 1.f); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float sinpif(float x) { return (float)sin(x * 3.14159265358979323846); }
inline float cospif(float x) { return (float)cos(x * 3.14159265358979323846); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x); *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sin(x * 3.14159265358979323846); *c = cos(x * 3.14159265358979323846); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { return emu::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emu::bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return emu::bits<double>(x); }
inline float __int_as_float(int x) { return emu::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emu::bits<float>(x); }
inline int __float2int_rn(float x) { return (int)lrintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
