// One warp multiplies small matrices: D (16x8) += A (16xK) B (Kx8), accumulated in float32 (sm_80 and later).
//
// The 32 lanes share the matrices out. With g = lane / 4 and q = lane % 4, a lane holds (PTX ISA, "Matrix fragments"):
//
//   D      d[0], d[1] = D[g][2q, 2q+1]        d[2], d[3] = D[g+8][2q, 2q+1]
//
//   TF32,  a[0] = A[g][q]    a[2] = A[g][q+4]      b[0] = B[q][g]
//   K = 8  a[1] = A[g+8][q]  a[3] = A[g+8][q+4]    b[1] = B[q+4][g]
//
//   half,  a[0] = A[g][2q, 2q+1]    a[2] = A[g][2q+8, 2q+9]      b[0] = B[2q, 2q+1][g]
//   K = 16 a[1] = A[g+8][2q, 2q+1]  a[3] = A[g+8][2q+8, 2q+9]    b[1] = B[2q+8, 2q+9][g]     (two in 32 bits)
#pragma once

// float32 rounded to the 10 bits of fraction that the tensor cores read.
__device__ __forceinline__ unsigned to_tf32(float x) {
#ifdef __CUDACC__
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
#else
    return emu::round_tf32(x);
#endif
}

__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emu::mma_m16n8k8_tf32(d, a, b);
#endif
}

__device__ __forceinline__ void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emu::mma_m16n8k16_half(d, a, b);
#endif
}

// Four 8x8 matrices of halves from shared memory: lane 8 i + r gives the address of row r of matrix i (16 aligned bytes);
// lane 4 g + q gets of each matrix i, in parts[i], the elements [g][2q, 2q+1], or, transposed, [2q, 2q+1][g].
template <bool TRANSPOSED> __device__ __forceinline__ void load_matrices(unsigned (&parts)[4], const void* row) {
#ifdef __CUDACC__
    const unsigned shared = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3]) : "r"(shared) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3]) : "r"(shared) : "memory");
#else
    emu::load_matrices(parts, row, TRANSPOSED);
#endif
}
