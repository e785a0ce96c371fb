// CUDA C++ as ordinary C++: g++ -include cuda_emu.h kernel.cu. See README.md.
#pragma once
#include "emu.h"
#include "kernel_entry.h"
#include "tensor_core_emu.h"
#include <cmath>
#include <math.h>  // exp(float) and the like as CUDA has them: of float, not double

// ---- language ----------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static                                                  // blocks run one at a time
#define EMU_DYNAMIC_SHARED(T, name) T*& name = (T*&)emu::dynamic_shared;  // for extern __shared__ T name[];
constexpr int warpSize = 32;

// ---- synchronisation ---------------------------------------------------------------------------------
inline void __syncthreads(EMU_PLACE) { emu::barrier(place); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_PLACE) { emu::sync_warp(mask, place); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- within a warp -----------------------------------------------------------------------------------
namespace emu {
// The first and the last lane of this lane's group of `width`.
inline int first(int width) { return lane() & ~(width - 1); }
inline int last(int width) { return lane() | (width - 1); }

template <class T> EMU_QUIET T shuffle(unsigned mask, T value, int from, int width, const char* what, Place place) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 2, 4 or 8 bytes");
    if (width < 1 || width > 32 || width & (width - 1))
        fail("%s:%d: %s of width %d", place.file, place.line, what, width);
    if (!(mask >> from & 1))
        fail("%s:%d: %s reads lane %d, which is not in mask %08x", place.file, place.line, what, from, mask);
    const Lane* lanes = exchange(mask, &value, sizeof value, what, place);
    std::memcpy(&value, lanes[from], sizeof value);
    return value;
}
}  // namespace emu
template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMU_PLACE) {
    return emu::shuffle(mask, value, emu::first(width) + (from & (width - 1)), width, "__shfl_sync", place);
}
// Beyond the group, a lane gets its own value back.
template <class T> T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, EMU_PLACE) {
    const int from = emu::lane() ^ distance;
    return emu::shuffle(mask, value, from > emu::last(width) ? emu::lane() : from, width, "__shfl_xor_sync", place);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, EMU_PLACE) {
    const int from = emu::lane() + (int)distance;
    return emu::shuffle(mask, value, from > emu::last(width) ? emu::lane() : from, width, "__shfl_down_sync", place);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, EMU_PLACE) {
    const int from = emu::lane() - (int)distance;
    return emu::shuffle(mask, value, from < emu::first(width) ? emu::lane() : from, width, "__shfl_up_sync", place);
}
EMU_QUIET inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_PLACE) {
    const unsigned char mine = predicate != 0;
    const emu::Lane* lanes = emu::exchange(mask, &mine, 1, "__ballot_sync", place);
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i)
        if (mask >> i & 1) votes |= (unsigned)lanes[i][0] << i;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, EMU_PLACE) { return __ballot_sync(mask, predicate, place) != 0; }
inline int __all_sync(unsigned mask, int predicate, EMU_PLACE) { return __ballot_sync(mask, predicate, place) == mask; }

// ---- atomics -----------------------------------------------------------------------------------------
#define EMU_ATOMIC(name, expression)                                          \
    template <class T> EMU_QUIET T name(T* p, std::common_type_t<T> value) {  \
        emu::touch(p, sizeof(T), emu::ATOMIC);                                \
        const T old = *p;                                                     \
        *p = (expression);                                                    \
        return old;                                                           \
    }
EMU_ATOMIC(atomicAdd, T(old + value))
EMU_ATOMIC(atomicSub, T(old - value))
EMU_ATOMIC(atomicExch, value)
EMU_ATOMIC(atomicMax, old > value ? old : value)
EMU_ATOMIC(atomicMin, old < value ? old : value)
EMU_ATOMIC(atomicOr, T(old | value))
EMU_ATOMIC(atomicAnd, T(old & value))
EMU_ATOMIC(atomicXor, T(old ^ value))
template <class T> EMU_QUIET T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> value) {
    emu::touch(p, sizeof(T), emu::ATOMIC);
    const T old = *p;
    if (old == expected) *p = value;
    return old;
}

// ---- memory ------------------------------------------------------------------------------------------
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T value) { *p = value; }

// ---- arithmetic --------------------------------------------------------------------------------------
template <class A, class B> inline std::common_type_t<A, B> min(A a, B b) {
    const std::common_type_t<A, B> x = a, y = b;
    return y < x ? y : x;
}
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b) {
    const std::common_type_t<A, B> x = a, y = b;
    return x < y ? y : x;
}
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
inline void sincospi(double x, double* s, double* c) {
    *s = sin(x * 3.14159265358979323846);
    *c = cos(x * 3.14159265358979323846);
}
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
