// The tensor cores' instructions, from the layouts of fragments in the PTX ISA (drawn in kernels/cuda/tensor_core.cuh).
#pragma once
#include "emu.h"

namespace emu {
// cvt.rna: to the nearest number with 10 bits of fraction, ties away from zero.
EMU_QUIET inline unsigned round_tf32(float x) {
    const unsigned u = bits<unsigned>(x);
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}
// The tensor core does not look at the last 13 bits, rounded or not.
EMU_QUIET inline float as_tf32(unsigned u) { return bits<float>(u & 0xffffe000u); }

// One of the two halves in 32 bits.
EMU_QUIET inline float half_of(unsigned pair, int which) { return bits<_Float16>((unsigned short)(pair >> 16 * which)); }

// D (16x8) += A (16x8) B (8x8)
EMU_QUIET inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                       EMU_PLACE) {
    const unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const auto of_lane = (const unsigned(*)[16])exchange(0xffffffffu, mine, sizeof mine, "mma", place);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + i / 2 * 8, column = 2 * q + i % 2;
        for (int k = 0; k < 8; ++k) {
            const unsigned left = of_lane[row % 8 * 4 + k % 4][k / 4 * 2 + row / 8];
            const unsigned right = of_lane[column * 4 + k % 4][4 + k / 4];
            d[i] += as_tf32(left) * as_tf32(right);
        }
    }
}

// D (16x8) += A (16x16) B (16x8), A and B of halves
EMU_QUIET inline void mma_m16n8k16_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                        EMU_PLACE) {
    const unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const auto of_lane = (const unsigned(*)[16])exchange(0xffffffffu, mine, sizeof mine, "mma", place);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + i / 2 * 8, column = 2 * q + i % 2;
        for (int k = 0; k < 16; ++k) {
            const unsigned left = of_lane[row % 8 * 4 + k % 8 / 2][k / 8 * 2 + row / 8];
            const unsigned right = of_lane[column * 4 + k % 8 / 2][4 + k / 8];
            d[i] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
}

// ldmatrix.x4: lane 8 i + r brings the address of row r of matrix i.
EMU_QUIET inline void load_matrices(unsigned (&parts)[4], const void* row, bool transposed,
                                    EMU_PLACE) {
    if ((uintptr_t)row % 16) fail("%s:%d: ldmatrix of a misaligned row", place.file, place.line);
    touch(row, 16, READ);
    const auto rows = (const unsigned short(*)[32])exchange(0xffffffffu, row, 16, "ldmatrix", place);
    const int g = lane() / 4, q = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const unsigned low = transposed ? rows[8 * i + 2 * q][g] : rows[8 * i + g][2 * q];
        const unsigned high = transposed ? rows[8 * i + 2 * q + 1][g] : rows[8 * i + g][2 * q + 1];
        parts[i] = low | high << 16;
    }
}
}  // namespace emu
