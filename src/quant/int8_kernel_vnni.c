/* The VNNI kernels: vpdpbusd adds four products of u8 and s8 into an int32 without saturating in
 * between (vpdpbusds, which saturates, is not used). Two encodings of the same instruction. */
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

/* --- AVX-VNNI: 256-bit registers, eight channels each ------------------------------------------
 */

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

/* --- AVX512-VNNI: 512-bit registers, all sixteen channels ---------------------------------------
 */

/* Two sums a row, of even and of odd groups: six alone would wait for each other. */
__attribute__((target("avx512f,avx512vnni"), always_inline)) static inline void
avx512_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
            int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int64_t groups = in->groups;
    const uint8_t *x[KD_INT8_ROWS];
    __m512i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = _mm512_setzero_si512();
        x[r] = in->row[r];
    }
    for (int s = 0; s < in->segments; s++) {
        int64_t at = in->offset[s], k = 0;
        for (; k + 2 <= groups; k += 2, at += 8, weight += 8 * KD_INT8_COLUMNS) {
            const __m512i w0 = _mm512_loadu_si512(weight);
            const __m512i w1 = _mm512_loadu_si512(weight + 4 * KD_INT8_COLUMNS);
            for (int r = 0; r < rows; r++) {
                sum[r][0] =
                    _mm512_dpbusd_epi32(sum[r][0], _mm512_set1_epi32(four_at(x[r] + at)), w0);
                sum[r][1] =
                    _mm512_dpbusd_epi32(sum[r][1], _mm512_set1_epi32(four_at(x[r] + at + 4)), w1);
            }
        }
        if (k == groups) continue;
        const __m512i w = _mm512_loadu_si512(weight);
        for (int r = 0; r < rows; r++)
            sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], _mm512_set1_epi32(four_at(x[r] + at)), w);
        weight += 4 * KD_INT8_COLUMNS;
    }
    for (int r = 0; r < rows; r++)
        _mm512_storeu_si512(c[r], _mm512_add_epi32(sum[r][0], sum[r][1]));
}

__attribute__((target("avx512f,avx512vnni"))) static void
avx512_tile(const kd_int8_windows *in, const int8_t *weight,
            int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    FOR_EACH_COUNT(in->rows, avx512_rows, in, weight, c)
}

/* kd_requantize of sixteen sums; as kd_requantize_eight (grid_avx2.h). */
__attribute__((target("avx512f"), always_inline)) static inline __m512i
requantize_sixteen(__m512i x, __m512i factor, __m512i shift) {
    const __m512i nudge = _mm512_set1_epi64(1 << 30), one = _mm512_set1_epi32(1);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, factor), nudge);
    const __m512i odd = _mm512_add_epi64(
        _mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(factor, 32)), nudge);
    const __m512i high =
        _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, shift), one);
    const __m512i threshold =
        _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(high, 31));
    const __m512i low = _mm512_srav_epi32(high, shift);
    return _mm512_mask_add_epi32(
        low, _mm512_cmpgt_epi32_mask(_mm512_and_si512(high, mask), threshold), low, one);
}

__attribute__((target("avx512f"))) static void
store_avx512(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS], const kd_int8_rounding *how) {
    const __m512i bias = _mm512_loadu_si512(how->bias), factor = _mm512_loadu_si512(how->factor);
    const __m512i shift = _mm512_loadu_si512(how->shift), zero = _mm512_set1_epi32(how->zero);
    const __m512i least = _mm512_set1_epi32(how->low), most = _mm512_set1_epi32(how->high);
    const __mmask16 kept = (__mmask16)((1U << how->channels) - 1);
    if (_mm512_cmplt_epi32_mask(shift, _mm512_setzero_si512())) { /* M ≥ 1: rare */
        kd_int8_store_portable(rows, sum, how);
        return;
    }
    for (int r = 0; r < rows; r++) {
        const __m512i steps = _mm512_add_epi32(_mm512_loadu_si512(sum[r]), bias);
        __m512i q = requantize_sixteen(steps, factor, shift);
        q = _mm512_add_epi32(_mm512_min_epi32(_mm512_max_epi32(q, least), most), zero);
        _mm512_mask_cvtepi32_storeu_epi8(how->out + r * how->row_stride, kept, q);
    }
}

static const kd_int8_kernel avxvnni = {"avxvnni", 4, false, avx_tile, kd_int8_store_avx2};
static const kd_int8_kernel avx512vnni = {"avx512vnni", 4, false, avx512_tile, store_avx512};

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
