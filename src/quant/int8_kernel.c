#include "quant/int8_kernel.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "quant/blob.h"

/* --- portable --------------------------------------------------------------------------------- */

static void portable_tile(int rows, int64_t groups, const void *a, int64_t stride,
                          const int8_t *weight, int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    memset(c, 0, (size_t)rows * sizeof *c);
    for (int r = 0; r < rows; r++) {
        const uint8_t *x = (const uint8_t *)a + r * stride;
        for (int64_t k = 0; k < groups; k++, x += 4)
            for (int j = 0; j < KD_INT8_COLUMNS; j++) {
                const int8_t *w = weight + (k * KD_INT8_COLUMNS + j) * 4;
                c[r][j] = (int32_t)((uint32_t)c[r][j] + (uint32_t)(x[0] * w[0] + x[1] * w[1] +
                                                                   x[2] * w[2] + x[3] * w[3]));
            }
    }
}

static const kd_int8_kernel portable = {"portable", 4, false, portable_tile};

/* --- packing ---------------------------------------------------------------------------------- */

static int64_t group_count(const kd_int8_kernel *kernel, int64_t K) {
    return (K + kernel->group - 1) / kernel->group;
}

int64_t kd_int8_packed_bytes(const kd_int8_kernel *kernel, int64_t channels, int64_t K) {
    int64_t panels = (channels + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS;
    return panels * group_count(kernel, K) * KD_INT8_COLUMNS * kernel->group;
}

void kd_int8_pack(const kd_int8_kernel *kernel, int8_t *out, const int8_t *w, int64_t channels,
                  int64_t K) {
    const int64_t groups = group_count(kernel, K), group = kernel->group;
    memset(out, 0, (size_t)kd_int8_packed_bytes(kernel, channels, K));
    for (int64_t channel = 0; channel < channels; channel++) {
        int8_t *panel = out + channel / KD_INT8_COLUMNS * groups * KD_INT8_COLUMNS * group;
        int64_t column = channel % KD_INT8_COLUMNS;
        for (int64_t k = 0; k < K; k++)
            panel[(k / group * KD_INT8_COLUMNS + column) * group + k % group] = w[channel * K + k];
    }
}

/* --- choosing --------------------------------------------------------------------------------- */

/* The largest products there are, next to each other: sums that pass 2^15 and alternate in sign. */
static bool is_right(const kd_int8_kernel *kernel) {
    enum { K = 12 };
    uint8_t a[KD_INT8_ROWS][K];
    uint16_t wide[KD_INT8_ROWS][K];
    int8_t w[KD_INT8_COLUMNS][K], packed[KD_INT8_COLUMNS * K];
    int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS];
    for (int k = 0; k < K; k++) {
        for (int r = 0; r < KD_INT8_ROWS; r++)
            wide[r][k] = a[r][k] = (uint8_t)(r == 0 ? 255 : 255 - 17 * r * k);
        for (int j = 0; j < KD_INT8_COLUMNS; j++)
            w[j][k] = (int8_t)(j == 0 ? 127 : j == 1 ? -128 : k % 2 ? 127 - j : -128 + j * k);
    }
    kd_int8_pack(kernel, packed, w[0], KD_INT8_COLUMNS, K);
    for (int rows = 1; rows <= KD_INT8_ROWS; rows++) {
        memset(c, 0x55, sizeof c);
        kernel->tile(rows, K / kernel->group, kernel->wide ? (void *)wide : (void *)a, K, packed,
                     c);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < KD_INT8_COLUMNS; j++) {
                int32_t sum = 0;
                for (int k = 0; k < K; k++) sum += a[r][k] * w[j][k];
                if (c[r][j] != sum) return false;
            }
    }
    return true;
}

static const kd_int8_kernel *portable_kernel(void) {
    return &portable;
}

/* From slow to fast; `isa` is what DISTILL_ISA calls it. */
static const struct {
    const char *isa;
    const kd_int8_kernel *(*get)(void);
} candidate[] = {
    {"portable", portable_kernel},
    {"avx2", kd_int8_kernel_avx2},
    {"vnni", kd_int8_kernel_avxvnni},
    {"vnni", kd_int8_kernel_avx512vnni},
};
enum { CANDIDATES = sizeof candidate / sizeof *candidate };

const kd_int8_kernel *kd_int8_kernel_find(const char *name) {
    for (int i = 0; i < CANDIDATES; i++) {
        const kd_int8_kernel *kernel = candidate[i].get();
        if (kernel && strcmp(kernel->name, name) == 0) return kernel;
    }
    return NULL;
}

const kd_int8_kernel *kd_int8_kernel_choose(void) {
    const char *isa = getenv("DISTILL_ISA");
    int highest = CANDIDATES - 1;
    if (isa && *isa) {
        while (highest >= 0 && strcmp(candidate[highest].isa, isa) != 0) highest--;
        if (highest < 0) {
            kd_warn("DISTILL_ISA=%s: must be portable, avx2 or vnni; ignored", isa);
            highest = CANDIDATES - 1;
        }
    }
    for (int i = highest; i > 0; i--) {
        const kd_int8_kernel *kernel = candidate[i].get();
        if (!kernel) continue;
        if (is_right(kernel)) return kernel;
        kd_warn("the %s kernel gives wrong results on this processor and is not used",
                kernel->name);
    }
    return &portable;
}

const char *kd_int8_kernel_name(void) {
    return kd_int8_kernel_choose()->name;
}
