// cuda_emu.cpp - the scheduler and the checks behind cuda_emu.h. Never instrumented itself.
#include "cuda_emu.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <random>
#include <sys/mman.h>
#include <vector>
#if defined(EMU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
void* emu::dynamic_shared;

extern "C" {
extern unsigned char __start_emu_shared[] __attribute__((weak, visibility("hidden")));   // static __shared__
extern unsigned char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __ehdr_start[] __attribute__((visibility("hidden")));               // this library
extern unsigned char _end[] __attribute__((visibility("hidden")));
struct emu_range { uintptr_t begin, end; int writable, grain; };     // one array argument
struct emu_stats { uint64_t global_read, global_write, shared_read, shared_write, atomics, barriers, collectives, switches; };
}

namespace emu {
namespace {
enum State { READY, AT_BARRIER, AT_WARP, DONE };
const char* const STATE[] = {"running", "at __syncthreads", "in a warp collective", "finished"};
constexpr size_t STACK = sizeof(void*) * 1024 * (
#if defined(EMU_ASAN)
    64
#else
    16
#endif
);
struct Copy { void* to; const void* from; int bytes, group; bool wanted; };
struct Fiber {
    void* sp; State state; uint3 tid; int line; unsigned mask; const char* what;
    int groups; std::vector<Copy> copies;
};
struct Warp { unsigned waiting; uint64_t epoch; alignas(16) Lane in[32], out[32]; };
// Per granule of memory: who wrote last, and the last two distinct readers.
struct Cell { uint64_t write, read, read2; };
struct Region { uintptr_t begin, end; bool writable, shared; int grain; std::vector<Cell> cells; };

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<Region> regions;
std::vector<Region*> by_address;                                     // those that are not empty; they do not overlap
emu_stats stats;
Fiber* self;
int me;
uint64_t epoch, block_number;
void* scheduler_sp;
char* stacks; size_t stacks_size;
void (*entry)(void**); void** arguments;
std::string error;
bool failed;
const bool lenient = std::getenv("EMU_LENIENT");                     // hardware since Volta: finished threads count as arrived

// ---- switching stacks: callee-saved registers on the old stack, swap, pop them from the new ------
extern "C" void emu_switch(void** save, void* next);
#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
emu_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
void* fresh_stack(char* top, void (*f)()) {
    void** sp = (void**)top;
    *--sp = nullptr; *--sp = (void*)f;              // ret pops f; then rsp % 16 == 8, as after a call
    for (int i = 0; i < 6; ++i) *--sp = nullptr;
    return sp;
}
#else
#error "add emu_switch for this architecture"
#endif

void switch_to(void** save, void* next, const void* bottom, size_t size, bool leaving_for_good = false) {
    ++stats.switches;
#if defined(EMU_ASAN)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(leaving_for_good ? nullptr : &fake, bottom, size);
    emu_switch(save, next);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    (void)bottom; (void)size; (void)leaving_for_good;
    emu_switch(save, next);
#endif
}
const void* scheduler_bottom; size_t scheduler_size;
void yield(bool for_good = false) { switch_to(&self->sp, scheduler_sp, scheduler_bottom, scheduler_size, for_good); }

void fiber_main() {
#if defined(EMU_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
    entry(arguments);
    if (!self->copies.empty()) fail("thread %d finished with cp_async copies in flight", me);
    self->state = DONE;
    yield(true);
    __builtin_unreachable();
}
void resume(int i) {
    me = i; self = &fibers[i]; threadIdx = self->tid;
    switch_to(&scheduler_sp, self->sp, stacks + i * STACK, STACK);
}

// ---- races: a stamp is (block, barriers passed, warp syncs passed, thread) ------------------------
uint64_t now() { return (block_number + 1) << 40 | (epoch & 0x3fff) << 26 | (warps[me / 32].epoch & 0xffff) << 10 | me; }
bool ordered(uint64_t before, uint64_t after) {
    if (!before) return true;
    if (before >> 40 != after >> 40) return false;                              // blocks are never ordered
    if ((before >> 26 & 0x3fff) != (after >> 26 & 0x3fff)) return true;         // a __syncthreads between
    const int a = before & 0x3ff, b = after & 0x3ff;
    return a == b || (a / 32 == b / 32 && (before >> 10 & 0xffff) != (after >> 10 & 0xffff));
}
std::string describe(uint64_t stamp) {
    return "block " + std::to_string((stamp >> 40) - 1) + " thread " + std::to_string(stamp & 0x3ff);
}
// A log of one warp's accesses: emu.memory_report() groups them into requests (coalescing, bank conflicts).
struct Logged { uint64_t pc, address; uint32_t bytes, lane, kind, shared; };
std::vector<Logged> log_;
int64_t log_block = -1, log_warp = 0;
uintptr_t fault;                                                     // code address of the last access

Region* region_of(uintptr_t p) {
    auto after = std::upper_bound(by_address.begin(), by_address.end(), p, [](uintptr_t q, Region* r) { return q < r->begin; });
    return after != by_address.begin() && p < after[-1]->end ? after[-1] : nullptr;
}

void access(uintptr_t p, size_t n, Access kind, void* pc) {
    if (p - (uintptr_t)stacks < stacks_size || regions.empty()) return;      // registers and local arrays
    fault = (uintptr_t)pc;
    Region* r = region_of(p);
    if (!r) {
        if (p >= (uintptr_t)__ehdr_start && p < (uintptr_t)_end && !(p >= (uintptr_t)__start_emu_shared && p < (uintptr_t)__stop_emu_shared)) return;
        Region* near = nullptr;                                      // say which array was overrun
        for (auto& x : regions) if (p >= x.end && p < x.end + 65536 && (!near || x.end > near->end)) near = &x;
        if (near) fail("out of bounds: %s of %zu bytes, %zu bytes past the end of %s array #%zu", kind == READ ? "read" : "write", n,
                       (size_t)(p - near->end), near->shared ? "shared" : "global", near - regions.data());
        fail("out of bounds: %s of %zu bytes at %p, in no array passed to the kernel", kind == READ ? "read" : "write", n, (void*)p);
    }
    if (p + n > r->end) fail("out of bounds: %s of %zu bytes straddles the end of an array", kind == READ ? "read" : "write", n);
    if (p % (n & -n)) fail("misaligned %zu-byte access", n);
    if (kind != READ && !r->writable) fail("write through a pointer to const");
    (kind == ATOMIC ? stats.atomics : r->shared ? (kind == READ ? stats.shared_read : stats.shared_write)
                                                : (kind == READ ? stats.global_read : stats.global_write)) += kind == ATOMIC ? 1 : n;
    if ((int64_t)block_number == log_block && me / 32 == log_warp)
        log_.push_back({fault - (uintptr_t)__ehdr_start, (uint64_t)(r - regions.data()) << 40 | (p - r->begin), (uint32_t)n, (uint32_t)me % 32, kind, r->shared});
    const uint64_t t = now();
    for (size_t i = (p - r->begin) / r->grain; i <= (p + n - 1 - r->begin) / r->grain; ++i) {
        Cell& c = r->cells[i];
        if (kind == READ && r->shared && !c.write) fail("read of uninitialised shared memory, byte %zu", i * r->grain);
        if (kind == ATOMIC) continue;
        const char* where = r->shared ? "shared" : "global";
        if (!ordered(c.write, t)) fail("race in %s memory, byte %zu: %s %s, written by %s with no barrier between", where, i * r->grain,
                                       describe(t).c_str(), kind == READ ? "reads" : "writes", describe(c.write).c_str());
        if (kind == READ) { if ((c.read ^ t) & 0x3ff) c.read2 = c.read; c.read = t; continue; }
        for (uint64_t reader : {c.read, c.read2})
            if (!ordered(reader, t)) fail("race in %s memory, byte %zu: %s writes, read by %s with no barrier between", where,
                                          i * r->grain, describe(t).c_str(), describe(reader).c_str());
        c.write = t;
    }
}

void stuck() {                                                       // nobody can run: say who waits for what
    std::string s = "deadlock in block (" + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z) + "):";
    for (size_t i = 0; i < fibers.size(); ) {
        size_t j = i;
        auto same = [&](Fiber& f) { return f.state == fibers[i].state && f.line == fibers[i].line && f.mask == fibers[i].mask; };
        while (j < fibers.size() && same(fibers[j])) ++j;
        char text[160];
        snprintf(text, sizeof text, "\n  threads %zu-%zu %s", i, j - 1, fibers[i].state == AT_WARP ? fibers[i].what : STATE[fibers[i].state]);
        s += text;
        if (fibers[i].state != DONE) s += " line " + std::to_string(fibers[i].line);
        i = j;
    }
    error = s; failed = true;
}

void run_block(const std::vector<Region*>& shared, std::mt19937_64* random) {
    const int n = fibers.size();
    epoch = 0;
    for (Region* r : shared) {                                       // garbage, as on the device: NaN for floats
        for (uintptr_t p = r->begin; p < r->end; ++p) *(volatile unsigned char*)p = 0xff;
        std::fill(r->cells.begin(), r->cells.end(), Cell{});
    }
    for (auto& w : warps) w.waiting = 0, w.epoch = 0;
    std::vector<int> order(n);
    for (int i = 0; i < n; ++i) {
        Fiber& f = fibers[i];
#if defined(EMU_ASAN)
        __asan_unpoison_memory_region(stacks + i * STACK, STACK);
#endif
        f.sp = fresh_stack(stacks + (i + 1) * STACK, fiber_main);
        f.state = READY; f.line = 0; f.mask = 0; f.groups = 0; f.copies.clear();
        f.tid = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        order[i] = i;
    }
    for (int done = 0; done < n; ) {
        bool progress = false;
        if (random) std::shuffle(order.begin(), order.end(), *random);
        for (int w = 0; w < n; w += 32) {                            // a warp runs until it is stuck
            for (bool again = true; again; ) {
                again = false;
                for (int k = w; k < std::min(w + 32, n); ++k) {
                    if (fibers[order[k]].state != READY) continue;
                    resume(order[k]);
                    if (failed) return;
                    again = progress = true;
                    if (self->state == DONE) ++done;
                }
                if (random) break;
            }
        }
        if (progress || done == n) continue;
        for (auto& f : fibers)                                       // strict: all threads, at the same line
            if (f.state != AT_BARRIER ? !lenient || f.state != DONE : !lenient && f.line != fibers[0].line) return stuck();
        for (auto& f : fibers) if (f.state == AT_BARRIER) f.state = READY;
        ++epoch; ++stats.barriers;
    }
}
}  // namespace

void fail(const char* format, ...) {
    char text[512];
    va_list a; va_start(a, format); vsnprintf(text, sizeof text, format, a); va_end(a);
    error = text;
    char at[96];
    snprintf(at, sizeof at, "\n  in block (%u,%u,%u) thread (%u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    error += at; failed = true;
    yield(true);
    __builtin_unreachable();
}
int lane() { return me % 32; }
void barrier(int line) {
    self->state = AT_BARRIER; self->line = line;
    yield();
}
const Lane* exchange(unsigned mask, const void* data, int bytes, const char* what, int line) {
    Warp& w = warps[me / 32];
    const int l = me % 32, first = me - l;
    if (!(mask >> l & 1)) fail("line %d: %s: lane %d is not in its own mask %08x", line, what, l, mask);
    std::memcpy(w.in[l], data, bytes);
    w.waiting |= 1u << l;
    self->mask = mask; self->what = what; self->line = line; self->state = AT_WARP;
    if ((w.waiting & mask) != mask) { yield(); return w.out; }
    for (int i = 0; i < 32; ++i)                                     // the last one in completes the group
        if (mask >> i & 1) {
            Fiber& f = fibers[first + i];
            if (f.mask != mask || f.line != line || f.what != what)
                fail("line %d: %s(mask %08x) meets %s(mask %08x) of lane %d at line %d", line, what, mask, f.what, f.mask, i, f.line);
            f.state = READY;
            std::memcpy(w.out[i], w.in[i], bytes);
        }
    w.waiting &= ~mask;
    ++stats.collectives;
    return w.out;
}
void sync_warp(unsigned mask, int line) {
    Warp& w = warps[me / 32];
    const uint64_t before = w.epoch;
    const unsigned all = fibers.size() - me / 32 * 32 >= 32 ? ~0u : (1u << fibers.size() % 32) - 1;
    char nothing = 0;
    exchange(mask, &nothing, 1, "__syncwarp", line);
    if ((mask & all) == all && w.epoch == before) ++w.epoch;         // a partial sync orders nothing here: strict
}
void touch(const void* p, size_t bytes, Access kind) { if (!regions.empty()) access((uintptr_t)p, bytes, kind, __builtin_return_address(0)); }
void cp_async(void* to, const void* from, int bytes, bool wanted) {
    if ((uintptr_t)to % bytes || (wanted && (uintptr_t)from % bytes)) fail("misaligned cp_async");
    if (wanted && !regions.empty()) access((uintptr_t)from, bytes, READ, __builtin_return_address(0));
    self->copies.push_back({to, from, bytes, self->groups, wanted});
}
void cp_async_commit() { ++self->groups; }
void cp_async_wait(int left) {                                       // late on purpose: a missing wait shows
    auto& v = self->copies;
    size_t i = 0;
    for (; i < v.size() && v[i].group < self->groups - left; ++i) {
        if (!regions.empty()) access((uintptr_t)v[i].to, v[i].bytes, WRITE, __builtin_return_address(0));
        if (v[i].wanted) std::memcpy(v[i].to, v[i].from, v[i].bytes);
        else std::memset(v[i].to, 0, v[i].bytes);
    }
    v.erase(v.begin(), v.begin() + i);
}
}  // namespace emu

using namespace emu;
extern "C" {
// ranges: the arrays passed, when checking; seed 0: threads and blocks in order, else a random schedule.
__attribute__((visibility("default"))) int emu_launch(void (*kernel)(void**), void** args, const unsigned* dims, size_t shared_bytes, uint64_t seed,
               const emu_range* ranges, int n_ranges, int check, emu_stats* out, char* message, size_t message_size) {
    entry = kernel; arguments = args;
    gridDim = {dims[0], dims[1], dims[2]}; blockDim = {dims[3], dims[4], dims[5]};
    const size_t threads = (size_t)dims[3] * dims[4] * dims[5], blocks = (size_t)dims[0] * dims[1] * dims[2];
    if (stacks_size < threads * STACK) {
        if (stacks) munmap(stacks, stacks_size);
        stacks_size = threads * STACK;
        stacks = (char*)mmap(nullptr, stacks_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    fibers.assign(threads, {}); warps.assign((threads + 31) / 32, {});
    stats = {}; failed = false; error.clear(); fault = 0; regions.clear();
    if (posix_memalign(&dynamic_shared, 128, shared_bytes)) return 2;
    const uintptr_t s = (uintptr_t)__start_emu_shared, d = (uintptr_t)dynamic_shared;
    std::vector<Region> pools;
    if (s) pools.push_back({s, (uintptr_t)__stop_emu_shared, true, true, 2, {}});
    pools.push_back({d, d + shared_bytes, true, true, 2, {}});
    if (check) {
        for (auto& p : pools) p.cells.resize((p.end - p.begin + 1) / 2 + 1);
        regions = pools;
        for (int i = 0; i < n_ranges; ++i) {
            const auto& r = ranges[i];
            regions.push_back({r.begin, r.end, r.writable != 0, false, r.grain, std::vector<Cell>((r.end - r.begin) / r.grain + 1)});
        }
    }
    by_address.clear();
    for (auto& r : regions) if (r.begin < r.end) by_address.push_back(&r);
    std::sort(by_address.begin(), by_address.end(), [](Region* a, Region* b) { return a->begin < b->begin; });
    std::vector<Region*> shared;
    for (size_t i = 0; i < pools.size(); ++i) shared.push_back(check ? &regions[i] : &pools[i]);
    std::mt19937_64 random(seed);
    std::vector<size_t> order(blocks);
    for (size_t i = 0; i < blocks; ++i) order[i] = i;
    if (seed) std::shuffle(order.begin(), order.end(), random);
    for (size_t i = 0; i < blocks && !failed; ++i) {
        const unsigned b = order[i];
        block_number = b;
        blockIdx = {b % dims[0], b / dims[0] % dims[1], b / (dims[0] * dims[1])};
        run_block(shared, seed ? &random : nullptr);
    }
    free(dynamic_shared); dynamic_shared = nullptr; regions.clear();
    if (out) *out = stats;
    snprintf(message, message_size, "%s", error.c_str());
    return failed ? 1 : 0;
}
__attribute__((visibility("default"))) uint64_t emu_fault_address() { return fault ? fault - (uintptr_t)__ehdr_start : 0; }

__attribute__((visibility("default"))) void emu_log(int64_t block, int64_t warp) { log_block = block; log_warp = warp; log_.clear(); }
__attribute__((visibility("default"))) size_t emu_logged(const Logged** out) { *out = log_.data(); return log_.size(); }

// ---- the callbacks that -fsanitize=thread plants before every load and store -----------------------
#define EMU_HOOK(N)                                                                                          \
    void __tsan_read##N(void* p) { access((uintptr_t)p, N, READ, __builtin_return_address(0)); }             \
    void __tsan_write##N(void* p) { access((uintptr_t)p, N, WRITE, __builtin_return_address(0)); }           \
    void __tsan_unaligned_read##N(void* p) { access((uintptr_t)p, N, READ, __builtin_return_address(0)); }   \
    void __tsan_unaligned_write##N(void* p) { access((uintptr_t)p, N, WRITE, __builtin_return_address(0)); }
EMU_HOOK(1) EMU_HOOK(2) EMU_HOOK(4) EMU_HOOK(8) EMU_HOOK(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* p, size_t n) { access((uintptr_t)p, n, READ, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t n) { access((uintptr_t)p, n, WRITE, __builtin_return_address(0)); }

// ---- and those of -fsanitize=bounds,alignment,...: the first thing in data is the source location ---
struct Where { const char* file; uint32_t line, column; };
#define EMU_UB(name, text, ...) void __ubsan_handle_##name(Where* w, ##__VA_ARGS__) { fail("%s at line %u", text, w->line); }
EMU_UB(out_of_bounds, "array index out of bounds", void*)
EMU_UB(type_mismatch_v1, "misaligned pointer", void*)
EMU_UB(shift_out_of_bounds, "shift by more than the width", void*, void*)
EMU_UB(divrem_overflow, "integer division by zero", void*, void*)
EMU_UB(add_overflow, "signed overflow", void*, void*) EMU_UB(sub_overflow, "signed overflow", void*, void*)
EMU_UB(mul_overflow, "signed overflow", void*, void*) EMU_UB(negate_overflow, "signed overflow", void*)
}
