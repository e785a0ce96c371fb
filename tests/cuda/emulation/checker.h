// What the scheduler tells the checker, which sees every access of the kernel to memory.
#pragma once
#include "emu.h"

namespace emu {
struct Range {  // memory that a kernel may use; emulator.py has the same struct
    uintptr_t begin, end;
    const char* name;
    int writable, shared, grain;  // grain: bytes of a number
};
struct Counts { uint64_t global_read, global_written, shared_read, shared_written, atomics, barriers, collectives; };

extern Counts counts;

// The ranges do not overlap. Nothing is checked before begin_checks, nor after end_checks.
void begin_checks(const Image& of_kernel, const Range* ranges, int number);
void end_checks();

// Shared memory holds nothing yet.
void forget_shared();

// When a thread does what it does. Of two threads' accesses, one comes first for certain only if a barrier lies between.
extern uint64_t now;  // of the thread that runs
uint64_t time_of(uint64_t block, uint64_t barriers, uint64_t warp_barriers, uint64_t thread);

// Registers and local arrays are on the threads' stacks.
bool on_a_stack(uintptr_t address);

// Where in the kernels' library the last access that failed was; 0 if none.
extern uintptr_t fault;
}  // namespace emu
