// A block's threads as fibers: each has a stack of its own, and they take turns on one thread of the CPU.
#include "checker.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <sys/mman.h>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
void* emu::dynamic_shared;

namespace emu {
namespace {
enum State { READY, AT_BARRIER, AT_COLLECTIVE, DONE };
bool operator==(const Place& a, const Place& b) { return a.line == b.line && !std::strcmp(a.file, b.file); }

struct Copy { void* to; const void* from; int bytes, group; bool wanted; };
struct Thread {
    void* stack;  // its top, while another runs
    State state;
    uint3 index;
    Place place = {"", 0};  // where it waits,
    const char* what;       // at which collective,
    unsigned mask;          // for which lanes
    int group;              // of the asynchronous copies that it starts now
    std::vector<Copy> copies;
};
struct Warp { unsigned waiting; uint64_t barriers; alignas(16) Lane in[32], out[32]; };

std::vector<Thread> threads;
std::vector<Warp> warps;
int me;  // the thread that runs
uint64_t block, barriers;
void (*kernel)(void**);
void** arguments;
std::string finding;

// ---- switching ------------------------------------------------------------------------------------------------------
constexpr size_t STACK = 128 << 10;
char* stacks;
size_t stacks_bytes;
void* scheduler_stack;

extern "C" void emu_switch(void** save, void* next);
#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
emu_switch:             # what a called function must preserve goes on the old stack and comes from the new one
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
void* fresh_stack(char* top, void (*function)()) {
    void** sp = (void**)top;
    *--sp = nullptr;  // ret leaves the stack pointer 8 bytes off a multiple of 16, as a call does
    *--sp = (void*)function;
    for (int i = 0; i < 6; ++i) *--sp = nullptr;
    return sp;
}
#else
#error "emu_switch is written for x86-64 only"
#endif

void allocate_stacks(size_t bytes) {
    if (bytes <= stacks_bytes) return;
    if (stacks) munmap(stacks, stacks_bytes);
    stacks_bytes = bytes;
    stacks = (char*)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
void yield() { emu_switch(&threads[me].stack, scheduler_stack); }

void resume(int thread) {
    me = thread;
    threadIdx = threads[me].index;
    now = time_of(block, barriers, warps[me / 32].barriers, me);
    emu_switch(&scheduler_stack, threads[me].stack);
}
void run_thread() {
    kernel(arguments);
    if (!threads[me].copies.empty()) fail("thread %d ends with asynchronous copies under way", me);
    threads[me].state = DONE;
    yield();
    __builtin_unreachable();
}

// ---- one block ------------------------------------------------------------------------------------------------------
std::string block_told() {
    return "block (" + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z) + ")";
}

// Nobody can run: who waits for what?
std::string deadlock() {
    static const char* const DOING[] = {"", "in __syncthreads", "", "finished"};
    std::string text = "deadlock in " + block_told() + ":";
    for (size_t i = 0, j; i < threads.size(); i = j) {
        const Thread& first = threads[i];
        const auto same = [&](const Thread& t) {
            return t.state == first.state && t.place == first.place && t.mask == first.mask;
        };
        for (j = i; j < threads.size() && same(threads[j]);) ++j;
        text += "\n  threads " + std::to_string(i) + "-" + std::to_string(j - 1) + " ";
        text += first.state == AT_COLLECTIVE ? std::string("in ") + first.what : DOING[first.state];
        if (first.state != DONE) text += std::string(" at ") + first.place.file + ":" + std::to_string(first.place.line);
    }
    return text;
}

void begin_block() {
    barriers = 0;
    for (Warp& warp : warps) warp.waiting = 0, warp.barriers = 0;
    for (size_t i = 0; i < threads.size(); ++i) {
        Thread& t = threads[i];
        t = {};
        t.stack = fresh_stack(stacks + (i + 1) * STACK, run_thread);
        t.index = {unsigned(i) % blockDim.x, unsigned(i) / blockDim.x % blockDim.y, unsigned(i) / (blockDim.x * blockDim.y)};
    }
}

// Every thread has reached the same __syncthreads. (Real GPUs do not count those that have finished; relying on that, or
// on two barriers being as good as one, is undefined in CUDA's words, and a finding here.)
bool barrier_complete() {
    return std::all_of(threads.begin(), threads.end(), [](const Thread& t) {
        return t.state == AT_BARRIER && t.place == threads[0].place;
    });
}

// Warp by warp until all are done; within a warp thread by thread, each until it waits. With `random` in a new order in
// every round, and threads of a warp that could go on wait for the next.
void run_block(std::mt19937_64* random) {
    begin_block();
    const int n = threads.size();
    std::vector<int> order(n);
    for (int i = 0; i < n; ++i) order[i] = i;
    for (int done = 0; done < n;) {
        bool progress = false;
        if (random) std::shuffle(order.begin(), order.end(), *random);
        for (int first = 0; first < n; first += 32) {
            for (bool again = true; again;) {
                again = false;
                for (int k = first; k < std::min(first + 32, n); ++k) {
                    if (threads[order[k]].state != READY) continue;
                    resume(order[k]);
                    if (!finding.empty()) return;
                    again = progress = true;
                    done += threads[me].state == DONE;
                }
                if (random) break;
            }
        }
        if (progress || done == n) continue;
        if (!barrier_complete()) {
            finding = deadlock();
            return;
        }
        for (Thread& t : threads) t.state = READY;
        ++barriers, ++counts.barriers;
    }
}
}  // namespace

// ---- what kernels call ----------------------------------------------------------------------------------------------
void fail(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    finding = text + ("\n  in " + block_told()) + " thread (" + std::to_string(threadIdx.x) + "," +
              std::to_string(threadIdx.y) + "," + std::to_string(threadIdx.z) + ")";
    yield();
    __builtin_unreachable();
}

int lane() { return me % 32; }

void barrier(Place place) {
    threads[me].state = AT_BARRIER;
    threads[me].place = place;
    yield();
}

const Lane* exchange(unsigned mask, const void* data, int bytes, const char* what, Place place) {
    Warp& warp = warps[me / 32];
    Thread* const lanes = &threads[me / 32 * 32];
    Thread& self = threads[me];
    if (!(mask >> lane() & 1))
        fail("%s:%d: %s: lane %d is not in its own mask %08x", place.file, place.line, what, lane(), mask);
    std::memcpy(warp.in[lane()], data, bytes);
    warp.waiting |= 1u << lane();
    self.mask = mask, self.what = what, self.place = place, self.state = AT_COLLECTIVE;
    if ((warp.waiting & mask) != mask) {
        yield();
        return warp.out;
    }
    for (int i = 0; i < 32; ++i) {  // the last one in completes the exchange
        if (!(mask >> i & 1)) continue;
        Thread& other = lanes[i];
        if (other.mask != mask || !(other.place == place) || other.what != what)
            fail("%s:%d: %s (mask %08x) meets %s (mask %08x) of lane %d at %s:%d", place.file, place.line, what, mask,
                 other.what, other.mask, i, other.place.file, other.place.line);
        other.state = READY;
        std::memcpy(warp.out[i], warp.in[i], bytes);
    }
    warp.waiting &= ~mask;
    ++counts.collectives;
    return warp.out;
}

// Orders the warp's accesses only if the whole warp takes part: stricter than CUDA.
void sync_warp(unsigned mask, Place place) {
    Warp& warp = warps[me / 32];
    const uint64_t before = warp.barriers;
    const size_t lanes = threads.size() - me / 32 * 32;
    const unsigned all = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    exchange(mask, "", 1, "__syncwarp", place);
    if ((mask & all) == all && warp.barriers == before) ++warp.barriers;  // the first to go on
    now = time_of(block, barriers, warp.barriers, me);
}

void cp_async(void* to, const void* from, int bytes, bool wanted) {
    if ((uintptr_t)to % bytes || (wanted && (uintptr_t)from % bytes)) fail("misaligned cp.async of %d bytes", bytes);
    if (wanted) touch(from, bytes, READ);
    touch(to, bytes, COPY);
    threads[me].copies.push_back({to, from, bytes, threads[me].group, wanted});
}
void cp_async_commit() { ++threads[me].group; }
void cp_async_wait(int groups_left) {
    std::vector<Copy>& copies = threads[me].copies;
    size_t i = 0;
    for (; i < copies.size() && copies[i].group < threads[me].group - groups_left; ++i) {
        touch(copies[i].to, copies[i].bytes, WRITE);
        if (copies[i].wanted) std::memcpy(copies[i].to, copies[i].from, copies[i].bytes);
        else std::memset(copies[i].to, 0, copies[i].bytes);
    }
    copies.erase(copies.begin(), copies.begin() + i);
}
}  // namespace emu

using namespace emu;

// Runs a grid. dims: gridDim, blockDim; seed 0: blocks and threads in order, otherwise shuffled; ranges: the memory that
// may be touched. Returns whether there is a finding, and that in `message`.
extern "C" int emu_launch(
    void (*entry)(void**), void** args, const Image* image, const unsigned* dims, void* dynamic,
    uint64_t seed, const Range* ranges, int number, int check, Counts* out, char* message, size_t message_bytes, uint64_t* fault_at) {
    kernel = entry, arguments = args, dynamic_shared = dynamic;
    gridDim = {dims[0], dims[1], dims[2]};
    blockDim = {dims[3], dims[4], dims[5]};
    const size_t per_block = (size_t)dims[3] * dims[4] * dims[5], blocks = (size_t)dims[0] * dims[1] * dims[2];
    allocate_stacks(per_block * STACK);
    threads.assign(per_block, {});
    warps.assign((per_block + 31) / 32, {});
    counts = {}, fault = 0;
    finding.clear();
    if (check) begin_checks(*image, ranges, number);

    std::mt19937_64 random(seed);
    std::vector<size_t> order(blocks);
    for (size_t i = 0; i < blocks; ++i) order[i] = i;
    if (seed) std::shuffle(order.begin(), order.end(), random);
    for (size_t i = 0; i < blocks && finding.empty(); ++i) {
        block = order[i];
        blockIdx = {unsigned(block % dims[0]), unsigned(block / dims[0] % dims[1]), unsigned(block / dims[0] / dims[1])};
        for (int k = 0; k < number; ++k)
            if (ranges[k].shared) std::memset((void*)ranges[k].begin, 0xff, ranges[k].end - ranges[k].begin);  // NaN
        forget_shared();
        run_block(seed ? &random : nullptr);
    }
    end_checks();
    *out = counts, *fault_at = fault;
    snprintf(message, message_bytes, "%s", finding.c_str());
    return !finding.empty();
}
bool emu::on_a_stack(uintptr_t p) { return p - (uintptr_t)stacks < stacks_bytes; }
