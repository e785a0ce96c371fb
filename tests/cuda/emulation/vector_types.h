// float2, float4 and the like, and dim3.
#pragma once

namespace emu {
// What an array of T holds, for the check of its dtype: float for float4.
template <class T> struct ElementOf { typedef T type; };
}  // namespace emu

#define EMU_VECTOR(T, NAME, ALIGN)                                                  \
    struct alignas(2 * ALIGN) NAME##2 { T x, y; };                                  \
    struct NAME##3 { T x, y, z; };                                                  \
    struct alignas(4 * ALIGN > 16 ? 16 : 4 * ALIGN) NAME##4 { T x, y, z, w; };      \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                      \
    inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }              \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }      \
    template <> struct emu::ElementOf<NAME##2> { typedef T type; };                 \
    template <> struct emu::ElementOf<NAME##3> { typedef T type; };                 \
    template <> struct emu::ElementOf<NAME##4> { typedef T type; };
EMU_VECTOR(float, float, 4)
EMU_VECTOR(double, double, 8)
EMU_VECTOR(int, int, 4)
EMU_VECTOR(unsigned, uint, 4)
EMU_VECTOR(long long, longlong, 8)
EMU_VECTOR(short, short, 2)
EMU_VECTOR(unsigned char, uchar, 1)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
