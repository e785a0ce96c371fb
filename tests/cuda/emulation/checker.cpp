// Every load and store of the kernel in check mode: is it inside an array, aligned, allowed, of something written before,
// and a barrier away from other threads' accesses to the same place? Never instrumented itself.
#include "checker.h"
#include <algorithm>
#include <string>
#include <vector>

extern "C" unsigned char __ehdr_start[] __attribute__((visibility("hidden")));  // this library
extern "C" unsigned char _end[] __attribute__((visibility("hidden")));

namespace emu {
Counts counts;
uint64_t now;
uintptr_t fault;

// ---- when: block + 1, barriers passed by the block, by the warp, and thread, in one number; 0: never ----------------
constexpr int THREAD = 10, WARP_BARRIERS = 16, BARRIERS = 14;

uint64_t time_of(uint64_t block, uint64_t barriers, uint64_t warp_barriers, uint64_t thread) {
    const uint64_t of_block = (block + 1) << BARRIERS | (barriers & ((1 << BARRIERS) - 1));
    const uint64_t of_warp = of_block << WARP_BARRIERS | (warp_barriers & ((1 << WARP_BARRIERS) - 1));
    return of_warp << THREAD | thread;
}

namespace {
uint64_t thread_of(uint64_t t) { return t & ((1 << THREAD) - 1); }
uint64_t warp_of(uint64_t t) { return thread_of(t) / 32; }
uint64_t between_warp_barriers(uint64_t t) { return t >> THREAD; }
uint64_t between_barriers(uint64_t t) { return t >> (THREAD + WARP_BARRIERS); }
uint64_t block_of(uint64_t t) { return t >> (THREAD + WARP_BARRIERS + BARRIERS); }

bool ordered(uint64_t before, uint64_t after) {
    if (!before) return true;
    if (block_of(before) != block_of(after)) return false;  // blocks run in any order
    if (between_barriers(before) != between_barriers(after) || thread_of(before) == thread_of(after)) return true;
    return warp_of(before) == warp_of(after) && between_warp_barriers(before) != between_warp_barriers(after);
}
std::string told(uint64_t t) {
    return "block " + std::to_string(block_of(t) - 1) + " thread " + std::to_string(thread_of(t));
}

// ---- where ----------------------------------------------------------------------------------------------------------
// Who wrote a number last, who began an asynchronous copy to it, and who read it: the last reader, the last other one of its warp, the last of another warp of
// its block, and the last of another block. A write that races with any reader races with one of these.
struct Cell {
    uint64_t written, copied, read, of_warp, of_block, of_grid;

    void add_reader(uint64_t t) {
        if (read && block_of(read) != block_of(t)) of_grid = read;
        else if (read && warp_of(read) != warp_of(t)) of_block = read;
        else if (read && thread_of(read) != thread_of(t)) of_warp = read;
        read = t;
    }
};
struct Region : Range {
    std::vector<Cell> cells;  // one for every `grain` bytes, from the first access on
};

std::vector<Region> regions;  // sorted
Image image;

// The accesses of one warp, for memory_report.py, which has the same struct.
struct Logged { uint64_t pc, address; uint32_t bytes, lane, kind, shared; };
std::vector<Logged> logged;
int64_t logged_block = -1, logged_warp;

// The last region that begins at p or before. Often it is the same again.
Region* region_before(uintptr_t p) {
    static size_t last;
    if (last < regions.size() && regions[last].begin <= p && p < regions[last].end) return &regions[last];
    const auto begins_after = [](uintptr_t p, const Region& r) { return p < r.begin; };
    const auto next = std::upper_bound(regions.begin(), regions.end(), p, begins_after);
    if (next == regions.begin()) return nullptr;
    last = next - regions.begin() - 1;
    return &regions[last];
}

// threadIdx and the like in this library, and constants in that of the kernel; but not what lies behind a shared array.
bool constant(uintptr_t p, const Region* before) {
    if ((uintptr_t)__ehdr_start <= p && p < (uintptr_t)_end) return true;
    return image.begin <= p && p < image.end && !(before && before->shared && p - before->end < 4096);
}

const char* const NAME[] = {"read", "write", "atomic", "write"};

void check_order(Region& region, uintptr_t p, size_t bytes, Access kind) {
    const int shift = region.grain / 2;  // 1, 2 or 4 bytes
    if (region.cells.empty()) region.cells.resize((region.end - region.begin) / region.grain + 1);
    const size_t first = (p - region.begin) >> shift, last = (p + bytes - 1 - region.begin) >> shift;
    const auto race = [&](size_t i, const char* done, uint64_t other) {
        fail("race in %s memory, byte %zu of %s: %s %ss, %s by %s with no barrier between",
             region.shared ? "shared" : "global", i * region.grain, region.name, told(now).c_str(), NAME[kind], done,
             told(other).c_str());
    };
    for (size_t i = first; i <= last; ++i) {
        Cell& cell = region.cells[i];
        for (uint64_t writer : {cell.written, cell.copied})
            if (!ordered(writer, now)) race(i, "written", writer);
        if (kind == READ) {
            if (region.shared && !cell.written)
                fail("read of uninitialised shared memory, byte %zu of %s", i * region.grain, region.name);
            cell.add_reader(now);
        } else {
            for (uint64_t reader : {cell.read, cell.of_warp, cell.of_block, cell.of_grid})
                if (!ordered(reader, now)) race(i, "read", reader);
            (kind == COPY ? cell.copied : cell.written) = now;
        }
    }
}

void count(const Region& region, size_t bytes, Access kind) {
    if (kind == ATOMIC) ++counts.atomics;
    else if (region.shared) (kind == READ ? counts.shared_read : counts.shared_written) += bytes;
    else (kind == READ ? counts.global_read : counts.global_written) += bytes;
}

void check(const void* address, size_t bytes, Access kind, void* code) {
    const uintptr_t p = (uintptr_t)address;
    if (regions.empty() || on_a_stack(p)) return;
    fault = (uintptr_t)code - image.begin;
    Region* region = region_before(p);
    if (!region || p >= region->end) {
        if (kind == READ && constant(p, region)) return;
        if (region && p - region->end < 1 << 16)
            fail("out of bounds: %s of %zu bytes, %zu bytes past the end of %s", NAME[kind], bytes, p - region->end,
                 region->name);
        fail("out of bounds: %s of %zu bytes at %p, in no array passed to the kernel", NAME[kind], bytes, address);
    }
    if (p + bytes > region->end)
        fail("out of bounds: %s of %zu bytes straddles the end of %s", NAME[kind], bytes, region->name);
    if (p & ((bytes & -bytes) - 1)) fail("misaligned %s of %zu bytes in %s", NAME[kind], bytes, region->name);
    if (kind != READ && !region->writable) fail("%s through a pointer to const, to %s", NAME[kind], region->name);
    if (kind == COPY) return check_order(*region, p, bytes, kind);  // the write itself is still to come
    count(*region, bytes, kind);
    if (logged_block >= 0 && (int64_t)block_of(now) - 1 == logged_block && (int64_t)warp_of(now) == logged_warp)
        logged.push_back({fault, (uint64_t)(region - regions.data()) << 40 | (p - region->begin), (uint32_t)bytes,
                          (uint32_t)thread_of(now) % 32, kind, (uint32_t)region->shared});
    if (kind != ATOMIC) check_order(*region, p, bytes, kind);
    fault = 0;
}
}  // namespace

void begin_checks(const Image& of_kernel, const Range* ranges, int number) {
    image = of_kernel;
    for (int i = 0; i < number; ++i) regions.push_back({ranges[i], {}});
    std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.begin < b.begin; });
}
void end_checks() { regions.clear(); }

void forget_shared() {
    for (Region& region : regions)
        if (region.shared) std::fill(region.cells.begin(), region.cells.end(), Cell{});
}

void touch(const void* address, size_t bytes, Access kind) {
    check(address, bytes, kind, __builtin_return_address(0));
}
}  // namespace emu

using emu::READ;
using emu::WRITE;

extern "C" {
void emu_log(int64_t block, int64_t warp) {
    emu::logged_block = block;
    emu::logged_warp = warp;
    emu::logged.clear();
}
size_t emu_logged(const emu::Logged** out) {
    *out = emu::logged.data();
    return emu::logged.size();
}

// ---- what -fsanitize=thread calls before every load and store -------------------------------------------------------
#define EMU_ACCESS(BYTES)                                                                                             \
    void __tsan_read##BYTES(void* p) { emu::check(p, BYTES, READ, __builtin_return_address(0)); }             \
    void __tsan_write##BYTES(void* p) { emu::check(p, BYTES, WRITE, __builtin_return_address(0)); }           \
    void __tsan_unaligned_read##BYTES(void* p) { emu::check(p, BYTES, READ, __builtin_return_address(0)); }   \
    void __tsan_unaligned_write##BYTES(void* p) { emu::check(p, BYTES, WRITE, __builtin_return_address(0)); }
EMU_ACCESS(1)
EMU_ACCESS(2)
EMU_ACCESS(4)
EMU_ACCESS(8)
EMU_ACCESS(16)
void __tsan_read_range(void* p, size_t n) { emu::check(p, n, READ, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t n) { emu::check(p, n, WRITE, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// ---- and -fsanitize=bounds,alignment,...: where begins with the place in the source ---------------------------------
struct Where { const char* file; uint32_t line, column; };
#define EMU_UNDEFINED(NAME, text, ...) \
    void __ubsan_handle_##NAME(Where* where, ##__VA_ARGS__) {                        \
        emu::fail("%s at %s:%u", text, where->file, where->line);                      \
    }
EMU_UNDEFINED(out_of_bounds, "array index out of bounds", void*)
EMU_UNDEFINED(type_mismatch_v1, "misaligned or null pointer", void*)
EMU_UNDEFINED(shift_out_of_bounds, "shift by more than the width", void*, void*)
EMU_UNDEFINED(divrem_overflow, "integer division by zero", void*, void*)
EMU_UNDEFINED(add_overflow, "signed overflow", void*, void*)
EMU_UNDEFINED(sub_overflow, "signed overflow", void*, void*)
EMU_UNDEFINED(mul_overflow, "signed overflow", void*, void*)
EMU_UNDEFINED(negate_overflow, "signed overflow", void*)
}
