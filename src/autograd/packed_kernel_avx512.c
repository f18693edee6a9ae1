/* AVX512-VNNI: a register holds four columns of all sixteen rows of a panel, and their sums. */
#include "autograd/packed_kernel.h"

#include <stddef.h>

#if defined(__x86_64__) && !defined(KD_DOUBLE)
#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vnni,avx512vl,f16c,fma")))

AVX512 KD_PACKED_INLINE __m512i four_at(const int8_t *from) {
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

AVX512 KD_PACKED_INLINE __m512 halves_at(const unsigned char *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)from));
}

AVX512 KD_PACKED_INLINE __m512 bytes_at(const unsigned char *from) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from)));
}

/* The codes of 32 columns, four to a register. */
AVX512 KD_PACKED_INLINE void unpack(__m512i w[8], const unsigned char *in,
                                    const kd_steps_kind kind) {
    const __m512i low = _mm512_set1_epi8(15);
    if (kind.bits == 8) {
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) w[g] = _mm512_loadu_si512(in + 64 * g);
        return;
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
        const __m512i pair = _mm512_loadu_si512(in + 64 * g);
        w[g] = _mm512_and_si512(pair, low);
        w[g + 4] = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
    }
    if (kind.bits == 5) {
        uint64_t fifth[8];
        memcpy(fifth, in + 256, sizeof fifth);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            w[g] = _mm512_mask_add_epi8(w[g], fifth[g], w[g], _mm512_set1_epi8(16));
    }
    if (kind.bits == 6) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m512i upper = _mm512_loadu_si512(in + 256 + 64 * h);
            const __m512i mask = _mm512_set1_epi8(48);
            w[4 * h] =
                _mm512_or_si512(w[4 * h], _mm512_and_si512(_mm512_slli_epi16(upper, 4), mask));
            w[4 * h + 1] =
                _mm512_or_si512(w[4 * h + 1], _mm512_and_si512(_mm512_slli_epi16(upper, 2), mask));
            w[4 * h + 2] = _mm512_or_si512(w[4 * h + 2], _mm512_and_si512(upper, mask));
            w[4 * h + 3] =
                _mm512_or_si512(w[4 * h + 3], _mm512_and_si512(_mm512_srli_epi16(upper, 2), mask));
        }
    }
}

/* start + Σ code·step over column groups begin … end − 1 */
AVX512 KD_PACKED_INLINE __m512 dot(const __m512i w[8], const int8_t *step, int32_t start,
                                   const int begin, const int end) {
    __m512i sum = _mm512_set1_epi32(start);
#pragma GCC unroll 8
    for (int g = begin; g < end; g++) sum = _mm512_dpbusd_epi32(sum, w[g], four_at(step + 4 * g));
    return _mm512_cvtepi32_ps(sum);
}

/* Of 32 columns: scales, and offsets. */
typedef struct {
    __m512 scale[2], offset;
} block_scales;

AVX512 KD_PACKED_INLINE void add_block(__m512 *sum, const kd_rounded_rows *A, int64_t at,
                                       const __m512i w[8], const block_scales *s,
                                       const kd_steps_kind kind) {
    const __m512 a = _mm512_set1_ps(A->scale[at]);
    const int8_t *step = A->step + at * KD_STEPS_BLOCK;
    const int32_t first = kind.zero ? A->minus[2 * at] : 0;
    const int32_t last = kind.zero ? A->minus[2 * at + 1] : 0;
    if (kind.sub == 16) {
        const __m512 early = dot(w, step, first * kind.zero, 0, 4);
        const __m512 late = dot(w, step, last * kind.zero, 4, 8);
        *sum = _mm512_fmadd_ps(early, _mm512_mul_ps(s->scale[0], a), *sum);
        *sum = _mm512_fmadd_ps(late, _mm512_mul_ps(s->scale[1], a), *sum);
        return;
    }
    const __m512 steps = dot(w, step, (first + last) * kind.zero, 0, 8);
    *sum = _mm512_fmadd_ps(steps, _mm512_mul_ps(s->scale[0], a), *sum);
    if (kind.offset) *sum = _mm512_fmadd_ps(s->offset, _mm512_set1_ps(A->total[at]), *sum);
}

AVX512 KD_PACKED_INLINE block_scales read_scales(__m512 d, __m512 m, const unsigned char *small,
                                                 const kd_steps_kind kind) {
    enum { PANEL = KD_PACKED_PANEL };
    block_scales s = {.scale = {d}, .offset = m};
    if (kind.sub) s.scale[0] = _mm512_mul_ps(d, bytes_at(small));
    if (kind.sub == 16) s.scale[1] = _mm512_mul_ps(d, bytes_at(small + PANEL));
    if (kind.sub && kind.offset) s.offset = _mm512_mul_ps(m, bytes_at(small + PANEL));
    return s;
}

AVX512 KD_PACKED_INLINE void multiply(const kd_packed *W, int64_t panel, const kd_rounded_rows *A,
                                      int64_t first, float *out, const kd_steps_kind kind,
                                      const int rows) {
    enum { AHEAD = 2048 /* bytes of codes that are asked for ahead of time */ };
    const int64_t blocks = W->columns / KD_STEPS_BLOCK;
    const int each = kd_steps_block(kind) / KD_STEPS_BLOCK;
    const int small_bytes = kind.sub ? 32 / kind.sub * kd_steps_small_bytes(kind) : 0;
    const unsigned char *codes = W->codes + panel * W->codes_bytes;
    const unsigned char *scales = W->scales + panel * W->scales_bytes;
    __m512 sum[KD_PACKED_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks;) {
        const __m512 d = halves_at(scales);
        const __m512 m = kind.offset ? halves_at(scales + 2 * KD_PACKED_PANEL) : d;
        const unsigned char *small = scales + kd_steps_halves_bytes(kind);
        for (int i = 0; i < each; i++, b++, small += small_bytes) {
            const block_scales s = read_scales(d, m, small, kind);
            __m512i w[8];
            if (rows == 1)
#pragma GCC unroll 8
                for (int line = 0; line < kd_steps_code_bytes(kind); line += 64)
                    __builtin_prefetch(codes + AHEAD + line);
            unpack(w, codes, kind);
            codes += kd_steps_code_bytes(kind);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                add_block(&sum[r], A, (first + r) * blocks + b, w, &s, kind);
        }
        scales += kd_steps_scale_bytes(kind);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) _mm512_storeu_ps(out + r * KD_PACKED_PANEL, sum[r]);
}

#define KIND_TILE(name, bits, zero, offset, sub)                                                   \
    AVX512 static void tile_##name(const kd_packed *W, int64_t panel, const kd_rounded_rows *A,    \
                                   int64_t first, int rows, float *out) {                          \
        const kd_steps_kind kind = {bits, zero, offset, sub};                                      \
        KD_PACKED_CASE(multiply, kind, rows)                                                       \
    }
KD_STEPS_KINDS(KIND_TILE)

static void tile(const kd_packed *W, int64_t panel, const kd_rounded_rows *A, int64_t first,
                 int rows, float *out) {
#define KIND_OF(name, bits, zero, offset, sub) tile_##name,
    static void (*const of_kind[])(const kd_packed *, int64_t, const kd_rounded_rows *, int64_t,
                                   int, float *) = {KD_STEPS_KINDS(KIND_OF)};
    of_kind[W->which](W, panel, A, first, rows, out);
}

static const kd_packed_kernel avx512vnni = {"avx512vnni", tile};

const kd_packed_kernel *kd_packed_kernel_avx512vnni(void) {
    return kd_isa_has(KD_ISA_AVX512VNNI) ? &avx512vnni : NULL;
}

#else

const kd_packed_kernel *kd_packed_kernel_avx512vnni(void) {
    return NULL;
}

#endif
