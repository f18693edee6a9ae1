/* The kernel of every processor, and which one is used. */
#include "autograd/packed_kernel.h"

#include <math.h>
#include <string.h>

static float half_at(const unsigned char *from) {
    uint16_t half;
    memcpy(&half, from, sizeof half);
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    const uint32_t mantissa = half & 0x3ff;
    if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * (float)mantissa;
    const uint32_t bits =
        sign | mantissa << 13 |
        (exponent == 31 ? 0x7f800000 | (mantissa ? 0x400000u : 0) : (exponent + 112) << 23);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The codes of 32 columns, column group behind column group: out[group·64 + row·4 + column]. */
static void unpack(uint8_t out[512], const unsigned char *in, kd_steps_kind kind) {
    if (kind.bits == 8) {
        memcpy(out, in, 512);
        return;
    }
    const unsigned char *high = in + 256;
    for (int i = 0; i < 256; i++) {
        out[i] = in[i] & 15;
        out[i + 256] = in[i] >> 4;
    }
    for (int i = 0; i < 512 && kind.bits == 5; i++)
        out[i] = (uint8_t)(out[i] | (high[i / 8] >> i % 8 & 1) << 4);
    for (int i = 0; i < 512 && kind.bits == 6; i++)
        out[i] = (uint8_t)(out[i] | (high[i / 256 * 64 + i % 64] >> i / 64 % 4 * 2 & 3) << 4);
}

/* Σ code·step over column groups begin … end − 1 of one row of the panel. */
static int32_t dot(const uint8_t *code, const int8_t *step, int begin, int end) {
    int32_t sum = 0;
    for (int g = begin; g < end; g++)
        for (int j = 0; j < 4; j++) sum += code[g * 64 + j] * step[g * 4 + j];
    return sum;
}

/* Block `b` of 32 columns, of row i of the panel and one row of A. */
static float add_block(float sum, const kd_rounded_rows *A, int64_t at, const uint8_t *code,
                       const unsigned char *halves, const unsigned char *small, int i,
                       kd_steps_kind kind) {
    enum { PANEL = KD_PACKED_PANEL };
    const float d = half_at(halves + 2 * i), a = A->scale[at];
    const int8_t *step = A->step + at * KD_STEPS_BLOCK, *scale = (const int8_t *)small;
    if (kind.sub == 16) {
        for (int h = 0; h < 2; h++) {
            const int32_t steps =
                dot(code, step, 4 * h, 4 * h + 4) + kind.zero * A->minus[2 * at + h];
            sum = fmaf((float)steps, d * (float)scale[h * PANEL + i] * a, sum);
        }
        return sum;
    }
    const int32_t minus = A->minus[2 * at] + A->minus[2 * at + 1];
    const int32_t steps = dot(code, step, 0, 8) + kind.zero * minus;
    sum = fmaf((float)steps, (kind.sub ? d * (float)scale[i] : d) * a, sum);
    if (!kind.offset) return sum;
    const float m = half_at(halves + 2 * PANEL + 2 * i);
    return fmaf(kind.sub ? m * (float)scale[PANEL + i] : m, A->total[at], sum);
}

static void tile(const kd_packed *W, int64_t panel, const kd_rounded_rows *A, int64_t first,
                 int rows, float *out) {
#define KIND(name, bits, zero, offset, sub) {bits, zero, offset, sub},
    static const kd_steps_kind kinds[] = {KD_STEPS_KINDS(KIND)};
#undef KIND
    const kd_steps_kind kind = kinds[W->which];
    const int64_t blocks = W->columns / KD_STEPS_BLOCK;
    const int each = kd_steps_block(kind) / KD_STEPS_BLOCK;
    for (int i = 0; i < rows * KD_PACKED_PANEL; i++) out[i] = 0;
    for (int64_t b = 0; b < blocks; b++) {
        uint8_t code[512];
        const unsigned char *halves =
            W->scales + panel * W->scales_bytes + b / each * kd_steps_scale_bytes(kind);
        const int within = (int)(b % each) * (kind.sub ? KD_STEPS_BLOCK / kind.sub : 0);
        const unsigned char *small =
            halves + kd_steps_halves_bytes(kind) + within * kd_steps_small_bytes(kind);
        unpack(code, W->codes + panel * W->codes_bytes + b * kd_steps_code_bytes(kind), kind);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < KD_PACKED_PANEL; i++) {
                float *sum = out + r * KD_PACKED_PANEL + i;
                *sum = add_block(*sum, A, (first + r) * blocks + b, code + 4 * i, halves, small, i,
                                 kind);
            }
    }
}

static const kd_packed_kernel portable = {"portable", tile};

const kd_packed_kernel *kd_packed_kernel_of(kd_isa isa) {
    switch (isa) {
    case KD_ISA_PORTABLE:
        return &portable;
    case KD_ISA_AVX2:
        return kd_packed_kernel_avx2();
    case KD_ISA_AVXVNNI:
        return kd_packed_kernel_avxvnni();
    case KD_ISA_AVX512VNNI:
        return kd_packed_kernel_avx512vnni();
    default:
        return NULL;
    }
}

static const kd_packed_kernel *choose(void) {
    for (int isa = KD_ISA_COUNT - 1; isa > KD_ISA_PORTABLE; isa--) {
        const kd_packed_kernel *kernel =
            kd_isa_may_use((kd_isa)isa) ? kd_packed_kernel_of((kd_isa)isa) : NULL;
        if (kernel) return kernel;
    }
    return &portable;
}

/* Once: asking the processor is slow where it is a virtual one. */
const kd_packed_kernel *kd_packed_kernel_choose(void) {
    static const kd_packed_kernel *_Atomic chosen;
    if (!chosen) chosen = choose();
    return chosen;
}

const char *kd_packed_kernel_name(void) {
    return kd_packed_kernel_choose()->name;
}
