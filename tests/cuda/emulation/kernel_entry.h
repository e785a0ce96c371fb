// How Python starts a kernel: a C function for it, and its signature as text ("cf4* i4 " for const float*, int).
#pragma once
#include "emu.h"
#include <type_traits>
#include <utility>

namespace emu {
// 'f' a floating-point number, 'u' unsigned or bool, 'i' signed, 'x' anything else.
template <class T> struct KindOf {
    static constexpr char value =
        std::is_floating_point_v<T> ? 'f' : !std::is_integral_v<T> ? 'x' : std::is_unsigned_v<T> ? 'u' : 'i';
};

template <class T> EMU_QUIET char* write_code(char* to) {
    if constexpr (std::is_pointer_v<T>) {
        typedef std::remove_pointer_t<T> U;
        *to++ = std::is_const_v<U> ? 'c' : 'm';
        to = write_code<typename ElementOf<std::remove_cv_t<U>>::type>(to);
        *to++ = '*';
        return to;
    } else {
        *to++ = KindOf<T>::value;
        for (unsigned digit = 1000; digit; digit /= 10)
            if (sizeof(T) >= digit) *to++ = '0' + sizeof(T) / digit % 10;
        return to;
    }
}
template <class... A> EMU_QUIET void write_signature(void (*)(A...), char* to) {
    ((to = write_code<A>(to), *to++ = ' '), ...);
    *to = 0;
}
template <class... A, size_t... I>
EMU_QUIET inline void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(A*)arguments[I]...);
}
template <class... A> EMU_QUIET inline void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
}  // namespace emu

#define EMU_EXPORT extern "C" EMU_QUIET __attribute__((visibility("default")))
#define EMU_KERNEL(symbol, ...)                                                                \
    EMU_EXPORT void emu_call_##symbol(void** arguments) { emu::call(__VA_ARGS__, arguments); } \
    EMU_EXPORT void emu_signature_##symbol(char* to) { emu::write_signature(__VA_ARGS__, to); }

// Where this library lies in memory; the linker defines these names.
extern "C" unsigned char __ehdr_start[] __attribute__((visibility("hidden")));
extern "C" unsigned char _end[] __attribute__((visibility("hidden")));
EMU_EXPORT void emu_image(emu::Image* image) { *image = {(uintptr_t)__ehdr_start, (uintptr_t)_end}; }
