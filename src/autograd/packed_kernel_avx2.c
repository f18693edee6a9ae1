/* AVX2: products of bytes are added in pairs of 16 bits, which holds where codes are below 64;
 * codes of 8 bits are made signed and their signs moved to the other side: 2·128·127 < 2¹⁵. */
#include <stdbool.h>

#include "autograd/packed_kernel.h"

#if defined(__x86_64__) && !defined(KD_DOUBLE)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,f16c,fma")))

KD_PACKED_INLINE bool kd_codes_are_signed(const kd_steps_kind kind) {
    return kind.bits == 8;
}

TARGET KD_PACKED_INLINE __m256i add_four(__m256i sum, __m256i code, __m256i step,
                                         const kd_steps_kind kind) {
    if (kd_codes_are_signed(kind)) {
        code = _mm256_xor_si256(code, _mm256_set1_epi8(-128));
        step = _mm256_sign_epi8(step, code);
        code = _mm256_abs_epi8(code);
    }
    const __m256i two = _mm256_maddubs_epi16(code, step);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
}

#include "autograd/packed_kernel_256.h"

static const kd_packed_kernel avx2 = {"avx2", tile};

const kd_packed_kernel *kd_packed_kernel_avx2(void) {
    return kd_isa_has(KD_ISA_AVX2) ? &avx2 : NULL;
}

#else

const kd_packed_kernel *kd_packed_kernel_avx2(void) {
    return NULL;
}

#endif
