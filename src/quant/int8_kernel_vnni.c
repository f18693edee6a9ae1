/* The AVX-VNNI kernel: vpdpbusd adds four products of u8 and s8 into an int32 without saturating in
 * between (vpdpbusds, which saturates, is not used), in 256-bit registers, eight channels each. */
#include "quant/int8_kernel.h"
#include "quant/int8_kernel_rows.h"

#include <stddef.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

static inline int32_t four_at(const uint8_t *from) {
    int32_t four;
    memcpy(&four, from, sizeof four);
    return four;
}

__attribute__((target("avx2,avxvnni"), always_inline)) static inline void
avx_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
         int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int64_t groups = in->groups;
    const uint8_t *x[KD_INT8_ROWS];
    __m256i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
        x[r] = in->row[r];
    }
    for (int s = 0; s < in->segments; s++) {
        int64_t at = in->offset[s]; /* of all rows */
        for (int64_t k = 0; k < groups; k++, at += 4, weight += 4 * KD_INT8_COLUMNS) {
            const __m256i *panel = (const __m256i *)(const void *)weight;
            const __m256i w0 = _mm256_loadu_si256(panel), w1 = _mm256_loadu_si256(panel + 1);
            for (int r = 0; r < rows; r++) {
                const __m256i four = _mm256_set1_epi32(four_at(x[r] + at));
                sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], four, w0);
                sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], four, w1);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)(void *)c[r], sum[r][0]);
        _mm256_storeu_si256((__m256i *)(void *)(c[r] + 8), sum[r][1]);
    }
}

__attribute__((target("avx2,avxvnni"))) static void
avx_tile(const kd_int8_windows *in, const int8_t *weight,
         int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    FOR_EACH_COUNT(in->rows, avx_rows, in, weight, c)
}

static const kd_int8_kernel avxvnni = {"avxvnni", 4, false, 6, avx_tile, kd_int8_store_avx2, NULL};

/* Leaf 7.1, bit 4 of eax; not every compiler's __builtin_cpu_supports knows the name. AVX2 stands
 * for the system saving the wide registers. */
const kd_int8_kernel *kd_int8_kernel_avxvnni(void) {
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx2") || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return NULL;
    return a & 1u << 4 ? &avxvnni : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avxvnni(void) {
    return NULL;
}

#endif
