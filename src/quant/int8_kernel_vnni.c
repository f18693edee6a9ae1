/* The VNNI kernels: vpdpbusd adds four products of u8 and s8 into an int32 without saturating in
 * between (vpdpbusds, which saturates, is not used). Two encodings of the same instruction. */
#include "quant/int8_kernel.h"

#include <stddef.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

static inline int32_t four_of(const kd_int8_windows *in, int r, int s, int64_t k) {
    int32_t four;
    memcpy(&four, (const uint8_t *)in->row[r] + in->offset[s] + 4 * k, sizeof four);
    return four;
}

static inline kd_int8_windows only_row(const kd_int8_windows *in, int r) {
    kd_int8_windows one = *in;
    one.rows = 1;
    one.row[0] = in->row[r];
    return one;
}

/* --- AVX-VNNI: 256-bit registers, eight channels each ------------------------------------------
 */

__attribute__((target("avx2,avxvnni"), always_inline)) static inline void
avx_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
         int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    __m256i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int s = 0; s < in->segments; s++)
        for (int64_t k = 0; k < in->groups; k++, weight += 4 * KD_INT8_COLUMNS) {
            const __m256i *panel = (const __m256i *)(const void *)weight;
            const __m256i w0 = _mm256_loadu_si256(panel), w1 = _mm256_loadu_si256(panel + 1);
            for (int r = 0; r < rows; r++) {
                const __m256i x = _mm256_set1_epi32(four_of(in, r, s, k));
                sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], x, w0);
                sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], x, w1);
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
    if (in->rows == KD_INT8_ROWS)
        avx_rows(KD_INT8_ROWS, in, weight, c);
    else
        for (int r = 0; r < in->rows; r++) {
            const kd_int8_windows one = only_row(in, r);
            avx_rows(1, &one, weight, c + r);
        }
}

/* --- AVX512-VNNI: 512-bit registers, all sixteen channels ---------------------------------------
 */

__attribute__((target("avx512f,avx512vnni"), always_inline)) static inline void
avx512_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
            int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    __m512i sum[KD_INT8_ROWS];
    for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_si512();
    for (int s = 0; s < in->segments; s++)
        for (int64_t k = 0; k < in->groups; k++, weight += 4 * KD_INT8_COLUMNS) {
            const __m512i w = _mm512_loadu_si512(weight);
            for (int r = 0; r < rows; r++) {
                const __m512i x = _mm512_set1_epi32(four_of(in, r, s, k));
                sum[r] = _mm512_dpbusd_epi32(sum[r], x, w);
            }
        }
    for (int r = 0; r < rows; r++) _mm512_storeu_si512(c[r], sum[r]);
}

__attribute__((target("avx512f,avx512vnni"))) static void
avx512_tile(const kd_int8_windows *in, const int8_t *weight,
            int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    if (in->rows == KD_INT8_ROWS)
        avx512_rows(KD_INT8_ROWS, in, weight, c);
    else
        for (int r = 0; r < in->rows; r++) {
            const kd_int8_windows one = only_row(in, r);
            avx512_rows(1, &one, weight, c + r);
        }
}

static const kd_int8_kernel avxvnni = {"avxvnni", 4, false, avx_tile, kd_int8_store_avx2};
static const kd_int8_kernel avx512vnni = {"avx512vnni", 4, false, avx512_tile, kd_int8_store_avx2};

/* Leaf 7.1, bit 4 of eax; not every compiler's __builtin_cpu_supports knows the name. AVX2 stands
 * for the system saving the wide registers. */
const kd_int8_kernel *kd_int8_kernel_avxvnni(void) {
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx2") || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return NULL;
    return a & 1u << 4 ? &avxvnni : NULL;
}

const kd_int8_kernel *kd_int8_kernel_avx512vnni(void) {
    return __builtin_cpu_supports("avx512vnni") ? &avx512vnni : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avxvnni(void) {
    return NULL;
}

const kd_int8_kernel *kd_int8_kernel_avx512vnni(void) {
    return NULL;
}

#endif
