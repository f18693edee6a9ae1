/* The Arm kernels. SDOT adds four products of signed bytes into an int32: activations are taken
 * less 128, and 128·Σw, which one more SDOT a vector of weights finds, is added at the end. USMMLA
 * (I8MM) multiplies two rows of eight unsigned bytes with two of eight signed ones. Both are exact.
 */
#include "quant/int8_kernel.h"
#include "quant/int8_kernel_rows.h"

#include <stddef.h>

#ifdef __aarch64__
#include <arm_neon.h>
#include <string.h>

#include "base/isa.h"

#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define DOTPROD_INLINE                                                                             \
    __attribute__((target("arch=armv8.2-a+dotprod"), always_inline)) static inline
#define I8MM        __attribute__((target("arch=armv8.2-a+i8mm")))
#define I8MM_INLINE __attribute__((target("arch=armv8.2-a+i8mm"), always_inline)) static inline

/* --- dot products: four values of k for each of four channels in a register --------------------
 */

DOTPROD_INLINE int8x16_t four_everywhere(const uint8_t *x) {
    uint32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
}

DOTPROD_INLINE void dot_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
                             int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int8x16_t one = vdupq_n_s8(1);
    const uint8_t *x[KD_INT8_ROWS];
    int32x4_t sum[KD_INT8_ROWS][4], weights[4];
    for (int j = 0; j < 4; j++) weights[j] = vdupq_n_s32(0);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < 4; j++) sum[r][j] = vdupq_n_s32(0);
        x[r] = in->row[r];
    }
    for (int s = 0; s < in->segments; s++) {
        int64_t at = in->offset[s];
        for (int64_t k = 0; k < in->groups; k++, at += 4, weight += 4 * KD_INT8_COLUMNS) {
            int8x16_t w[4];
            for (int j = 0; j < 4; j++) {
                w[j] = vld1q_s8(weight + 16 * j);
                weights[j] = vdotq_s32(weights[j], w[j], one);
            }
            for (int r = 0; r < rows; r++) {
                const int8x16_t four = four_everywhere(x[r] + at);
                for (int j = 0; j < 4; j++) sum[r][j] = vdotq_s32(sum[r][j], w[j], four);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            vst1q_s32(c[r] + 4 * j, vaddq_s32(sum[r][j], vshlq_n_s32(weights[j], 7)));
}

DOTPROD static void dot_tile(const kd_int8_windows *in, const int8_t *weight,
                             int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]){
    FOR_EACH_COUNT(in->rows, dot_rows, in, weight, c)}

/* --- matrix products: eight values of k for each of two channels in a register ------------------
 */

/* Rows in pairs; the last of an odd count stands beside itself. */
I8MM_INLINE void matrix_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
                             int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int pairs = (rows + 1) / 2;
    const uint8_t *x[KD_INT8_ROWS];
    int32x4_t sum[KD_INT8_ROWS / 2][8];
    for (int r = 0; r < 2 * pairs; r++) x[r] = in->row[r < rows ? r : rows - 1];
    for (int p = 0; p < pairs; p++)
        for (int j = 0; j < 8; j++) sum[p][j] = vdupq_n_s32(0);
    for (int s = 0; s < in->segments; s++) {
        int64_t at = in->offset[s];
        for (int64_t k = 0; k < in->groups; k++, at += 8, weight += 8 * KD_INT8_COLUMNS) {
            uint8x16_t both[KD_INT8_ROWS / 2];
            for (int p = 0; p < pairs; p++)
                both[p] = vcombine_u8(vld1_u8(x[2 * p] + at), vld1_u8(x[2 * p + 1] + at));
            for (int j = 0; j < 8; j++) {
                const int8x16_t w = vld1q_s8(weight + 16 * j);
                for (int p = 0; p < pairs; p++) sum[p][j] = vusmmlaq_s32(sum[p][j], both[p], w);
            }
        }
    }
    for (int p = 0; p < pairs; p++)
        for (int j = 0; j < 8; j++) {
            vst1_s32(c[2 * p] + 2 * j, vget_low_s32(sum[p][j]));
            if (2 * p + 1 < rows) vst1_s32(c[2 * p + 1] + 2 * j, vget_high_s32(sum[p][j]));
        }
}

I8MM static void matrix_tile(const kd_int8_windows *in, const int8_t *weight,
                             int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    FOR_EACH_COUNT(in->rows, matrix_rows, in, weight, c)
}

/* --- rounding -----------------------------------------------------------------------------------
 */

/* kd_requantize (grid.h) of four sums: SQRDMULH is the rounding high product. Before the rounding
 * shift negative numbers that are shifted at all lose 1, which turns half up into half away from
 * zero. */
static inline int32x4_t requantize_four(int32x4_t x, int32x4_t factor, int32x4_t shift) {
    const int32x4_t none = vdupq_n_s32(0), right = vnegq_s32(vmaxq_s32(shift, none));
    x = vqshlq_s32(x, vmaxq_s32(vnegq_s32(shift), none));
    x = vqrdmulhq_s32(x, factor);
    x = vqaddq_s32(x, vshrq_n_s32(vandq_s32(x, right), 31));
    return vrshlq_s32(x, right);
}

static void store(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                  const kd_int8_rounding *how) {
    const int32x4_t low = vdupq_n_s32(how->low), high = vdupq_n_s32(how->high);
    const int32x4_t zero = vdupq_n_s32(how->zero);
    for (int r = 0; r < rows; r++) {
        uint8_t stored[KD_INT8_COLUMNS], *out = how->out + r * how->row_stride;
        int16x4_t part[4];
        for (int j = 0; j < 4; j++) {
            int32x4_t x = vaddq_s32(vld1q_s32(sum[r] + 4 * j), vld1q_s32(how->bias + 4 * j));
            x = requantize_four(x, vld1q_s32(how->factor + 4 * j), vld1q_s32(how->shift + 4 * j));
            part[j] = vmovn_s32(vaddq_s32(vminq_s32(vmaxq_s32(x, low), high), zero));
        }
        vst1_u8(stored, vqmovun_s16(vcombine_s16(part[0], part[1])));
        vst1_u8(stored + 8, vqmovun_s16(vcombine_s16(part[2], part[3])));
        memcpy(out, stored, (size_t)how->channels);
    }
}

static const kd_int8_kernel dotprod = {"dotprod", 4, false, 6, dot_tile, store, NULL};
static const kd_int8_kernel i8mm = {"i8mm", 8, false, 6, matrix_tile, store, NULL};

const kd_int8_kernel *kd_int8_kernel_dotprod(void) {
    return kd_isa_has(KD_ISA_DOTPROD) ? &dotprod : NULL;
}

const kd_int8_kernel *kd_int8_kernel_i8mm(void) {
    return kd_isa_has(KD_ISA_I8MM) ? &i8mm : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_dotprod(void) {
    return NULL;
}

const kd_int8_kernel *kd_int8_kernel_i8mm(void) {
    return NULL;
}

#endif
