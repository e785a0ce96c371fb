// What emulated kernels ask of the emulator: barriers, exchanges within a warp, asynchronous copies, checks.
//
// Implemented in scheduler.cpp and checker.cpp, which are one shared library beside those of the kernels.
#pragma once
#include "vector_types.h"
#include <cstddef>
#include <cstdint>
#include <cstring>

extern uint3 threadIdx, blockIdx;  // of the thread that runs
extern dim3 blockDim, gridDim;

// The last parameter of a function: where it was called.
#define EMU_PLACE emu::Place place = {__builtin_FILE(), __builtin_LINE()}
// Functions that the compiler must not instrument: they act for the kernel, and say themselves what they touch.
#define EMU_QUIET __attribute__((no_sanitize("thread")))

namespace emu {
enum Access { READ, WRITE, ATOMIC, COPY };  // COPY: from now on an asynchronous copy may write there
struct Place { const char* file; int line; };  // in the kernel's source
typedef unsigned char Lane[64];  // what one lane brings to an exchange

struct Image { uintptr_t begin, end; };  // where a library of kernels lies in memory

extern void* dynamic_shared;  // as many bytes as the launch asked for

int lane();
void barrier(Place place);
void sync_warp(unsigned mask, Place place);

// Waits until every lane of the mask is here; what each of the 32 lanes brought.
const Lane* exchange(unsigned mask, const void* data, int bytes, const char* what, Place place);

// An asynchronous copy, carried out as late as is allowed: by the wait for its group.
void cp_async(void* to, const void* from, int bytes, bool wanted);
void cp_async_commit();
void cp_async_wait(int groups_left);

// Checks one access, as those of the compiler's instrumentation are; does nothing in fast mode.
void touch(const void* address, size_t bytes, Access kind);

// Ends the launch with this finding.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

template <class To, class From> EMU_QUIET inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emu
