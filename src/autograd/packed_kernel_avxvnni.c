/* AVX-VNNI: four products of bytes are added at once. */
#include <stdbool.h>

#include "autograd/packed_kernel.h"

#if defined(__x86_64__) && !defined(KD_DOUBLE)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,f16c,fma,avxvnni")))

KD_PACKED_INLINE bool kd_codes_are_signed(const kd_steps_kind kind) {
    (void)kind;
    return false;
}

TARGET KD_PACKED_INLINE __m256i add_four(__m256i sum, __m256i code, __m256i step,
                                         const kd_steps_kind kind) {
    (void)kind;
    return _mm256_dpbusd_avx_epi32(sum, code, step);
}

#include "autograd/packed_kernel_256.h"

static const kd_packed_kernel avxvnni = {"avxvnni", tile};

const kd_packed_kernel *kd_packed_kernel_avxvnni(void) {
    return kd_isa_has(KD_ISA_AVXVNNI) ? &avxvnni : NULL;
}

#else

const kd_packed_kernel *kd_packed_kernel_avxvnni(void) {
    return NULL;
}

#endif
