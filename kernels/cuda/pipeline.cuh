// Copies from global to shared memory that run while the threads compute (sm_80 and later; before, they end at once).
//
//   cp_async<16>(to, from, wanted)   starts a copy of 16 (or 8, or 4) bytes; zeros instead, if not wanted
//   cp_async_commit()                what this thread started since the last commit is one group
//   cp_async_wait<n>()               waits until at most n of this thread's groups are still under way
//
// What other threads copied is there after the wait and a __syncthreads. PTX ISA, "cp.async".
#pragma once

template <int BYTES> __device__ __forceinline__ void cp_async(void* to, const void* from, bool wanted = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#if defined(__CUDACC__) && __CUDA_ARCH__ < 800
    struct alignas(BYTES) Piece { unsigned of[BYTES / 4]; };
    *static_cast<Piece*>(to) = wanted ? *static_cast<const Piece*>(from) : Piece{};
#elif defined(__CUDACC__)
    const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    const int read = wanted ? BYTES : 0;  // the rest is filled with zeros
    if constexpr (BYTES == 16)            // .cg: not through the first-level cache
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(read) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(BYTES), "r"(read)
                     : "memory");
#else
    emu::cp_async(to, from, BYTES, wanted);
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if defined(__CUDACC__) && __CUDA_ARCH__ < 800
#elif defined(__CUDACC__)
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu::cp_async_commit();
#endif
}

template <int GROUPS_LEFT> __device__ __forceinline__ void cp_async_wait() {
#if defined(__CUDACC__) && __CUDA_ARCH__ < 800
#elif defined(__CUDACC__)
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT) : "memory");
#else
    emu::cp_async_wait(GROUPS_LEFT);
#endif
}
