/* Inside the kernels of 256-bit registers, which are one file but for how four products are added:
 * before it is included, TARGET says what the compiler may use and
 *
 *   add_four(sum, code, step, kind)   sum + Σ of four products, of codes as they are stored or,
 * where kd_codes_are_signed(kind), of code − zero
 *
 * A register holds four columns of eight rows of a panel, so that a panel goes in two halves. */
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "autograd/packed_kernel.h"

#define load(from) _mm256_loadu_si256((const __m256i *)(const void *)(from))

TARGET KD_PACKED_INLINE __m256i four_at(const int8_t *from) {
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

TARGET KD_PACKED_INLINE __m256 halves_at(const unsigned char *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)from));
}

TARGET KD_PACKED_INLINE __m256 bytes_at(const unsigned char *from) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from)));
}

/* 16 in the bytes whose bit is set. */
TARGET KD_PACKED_INLINE __m256i fifth_bits(const unsigned char *from) {
    uint32_t bits;
    memcpy(&bits, from, sizeof bits);
    const __m256i spread =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i own =
        _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(own, bit), _mm256_set1_epi8(16));
}

/* The codes of column group g (0 … 7) of half `h` of a panel. */
TARGET KD_PACKED_INLINE __m256i codes_of(const unsigned char *in, const int g, int h,
                                         const kd_steps_kind kind) {
    if (kind.bits == 8) return load(in + 64 * g + 32 * h);
    const __m256i low = _mm256_set1_epi8(15), pair = load(in + 64 * (g % 4) + 32 * h);
    const __m256i w = _mm256_and_si256(g < 4 ? pair : _mm256_srli_epi16(pair, 4), low);
    if (kind.bits == 5) return _mm256_or_si256(w, fifth_bits(in + 256 + 8 * g + 4 * h));
    if (kind.bits == 6) {
        const __m256i upper = load(in + 256 + 64 * (g / 4) + 32 * h);
        const __m256i two = g % 4 == 0   ? _mm256_slli_epi16(upper, 4)
                            : g % 4 == 1 ? _mm256_slli_epi16(upper, 2)
                            : g % 4 == 2 ? upper
                                         : _mm256_srli_epi16(upper, 2);
        return _mm256_or_si256(w, _mm256_and_si256(two, _mm256_set1_epi8(48)));
    }
    return w;
}

TARGET KD_PACKED_INLINE void block(__m256 *sum, const kd_rounded_rows *A, int64_t at,
                                   const __m256i w[8], const __m256 scale[2], __m256 offset,
                                   const kd_steps_kind kind) {
    const __m256 a = _mm256_set1_ps(A->scale[at]);
    const int8_t *step = A->step + at * KD_STEPS_BLOCK;
    const int32_t zero = kd_codes_are_signed(kind) ? 0 : kind.zero;
    const int32_t minus[2] = {zero ? zero * A->minus[2 * at] : 0,
                              zero ? zero * A->minus[2 * at + 1] : 0};
    const int parts = kind.sub == 16 ? 2 : 1;
    for (int part = 0; part < parts; part++) {
        __m256i steps = _mm256_set1_epi32(parts == 2 ? minus[part] : minus[0] + minus[1]);
        for (int g = 0; g < 8 / parts; g++) {
            const int own = part * 4 + g;
            steps = add_four(steps, w[own], four_at(step + 4 * own), kind);
        }
        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(steps), _mm256_mul_ps(scale[part], a), *sum);
    }
    if (kind.offset) *sum = _mm256_fmadd_ps(offset, _mm256_set1_ps(A->total[at]), *sum);
}
TARGET KD_PACKED_INLINE void half(const kd_packed *W, int64_t panel, int h,
                                  const kd_rounded_rows *A, int64_t first, float *out,
                                  const kd_steps_kind kind, const int rows) {
    enum { PANEL = KD_PACKED_PANEL };
    const int64_t blocks = W->columns / KD_STEPS_BLOCK;
    const int each = kd_steps_block(kind) / KD_STEPS_BLOCK;
    const int small_bytes = kind.sub ? 32 / kind.sub * kd_steps_small_bytes(kind) : 0;
    const unsigned char *codes = W->codes + panel * W->codes_bytes;
    const unsigned char *scales = W->scales + panel * W->scales_bytes;
    __m256 sum[KD_PACKED_ROWS];
    for (int r = 0; r < rows; r++) sum[r] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; scales += kd_steps_scale_bytes(kind)) {
        const __m256 d = halves_at(scales + 16 * h);
        const __m256 m = kind.offset ? halves_at(scales + 2 * PANEL + 16 * h) : d;
        const unsigned char *small = scales + kd_steps_halves_bytes(kind) + 8 * h;
        for (int i = 0; i < each; i++, b++, small += small_bytes) {
            __m256i w[8];
            __m256 scale[2] = {d, d}, offset = m;
            if (kind.sub) scale[0] = _mm256_mul_ps(d, bytes_at(small));
            if (kind.sub == 16) scale[1] = _mm256_mul_ps(d, bytes_at(small + PANEL));
            if (kind.sub && kind.offset) offset = _mm256_mul_ps(m, bytes_at(small + PANEL));

#pragma GCC unroll 8
            for (int g = 0; g < 8; g++) w[g] = codes_of(codes, g, h, kind);
            codes += kd_steps_code_bytes(kind);

#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                block(&sum[r], A, (first + r) * blocks + b, w, scale, offset, kind);
        }
    }
    for (int r = 0; r < rows; r++) _mm256_storeu_ps(out + r * PANEL + 8 * h, sum[r]);
}
TARGET KD_PACKED_INLINE void both(const kd_packed *W, int64_t panel, const kd_rounded_rows *A,
                                  int64_t first, float *out, const kd_steps_kind kind,
                                  const int rows) {
    for (int h = 0; h < 2; h++) half(W, panel, h, A, first, out, kind, rows);
}

#define KIND_TILE(name, bits, zero, offset, sub)                                                   \
    TARGET static void tile_##name(const kd_packed *W, int64_t panel, const kd_rounded_rows *A,    \
                                   int64_t first, int rows, float *out) {                          \
        const kd_steps_kind kind = {bits, zero, offset, sub};                                      \
        KD_PACKED_CASE(both, kind, rows)                                                           \
    }
KD_STEPS_KINDS(KIND_TILE)

static void tile(const kd_packed *W, int64_t panel, const kd_rounded_rows *A, int64_t first,
                 int rows, float *out) {
#define KIND_OF(name, bits, zero, offset, sub) tile_##name,
    static void (*const of_kind[])(const kd_packed *, int64_t, const kd_rounded_rows *, int64_t,
                                   int, float *) = {KD_STEPS_KINDS(KIND_OF)};
    of_kind[W->which](W, panel, A, first, rows, out);
}
