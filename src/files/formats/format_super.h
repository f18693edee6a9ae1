/* Inside the k-quants: a super-block of 256 values is cut into sub-blocks, whose scales (and
 * offsets) are small integers times one half-precision number. */
#ifndef KD_FILES_FORMAT_SUPER_H
#define KD_FILES_FORMAT_SUPER_H

#include "files/formats/format_block.h"

enum { KD_SUPER_BLOCK = 256, KD_SUPER_SUBS = 16 /* the most */ };

/* Super-blocks whose sub-blocks have offsets: q2_K, q4_K, q5_K. */
typedef struct {
    int sub;        /* values in a sub-block                                               */
    int most;       /* steps are 0 … most                                                  */
    int most_scale; /* scales and offsets are 0 … most_scale                               */
    bool rms;       /* without importance a value costs |x| plus the sub-block's rms       */
    float sigma;    /* with: importance·√(sigma·(mean x² of the super-block) + x²)         */
    kd_format_candidates plain, weighted; /* without and with importance */
} kd_super_kind;

/* value = d·scale·q − m·offset, of each sub-block. */
typedef struct {
    float d, m; /* as half precision has them */
    uint8_t scale[KD_SUPER_SUBS], offset[KD_SUPER_SUBS];
} kd_super_scales;

/* The scales, and q (256) with them. `importance` (256), or NULL. */
void kd_super_quantize(kd_super_scales *scales, uint8_t *q, const float *x, const float *importance,
                       const kd_super_kind *kind);

/* Scale d·s and offset −m·o of 256 values. */
void kd_super_fill(float *scale, float *offset, const kd_super_scales *scales, int sub);

/* q4_K and q5_K: d, m, then 12 bytes of 6-bit numbers: of the first four sub-blocks their scales,
 * then their offsets; of the others the low four bits of both in a byte, the upper two above the
 * first eight. */
enum { KD_SUPER_SCALES_BYTES = 2 + 2 + 12 };
void kd_super_put_scales(unsigned char *out, const kd_super_scales *scales);
void kd_super_get_scales(kd_super_scales *out, const unsigned char *in);
/* kd_super_fill of all n values of a row whose blocks of `bytes` begin with such scales. */
void kd_super_get_row(float *scale, float *offset, const unsigned char *in, int64_t n, int bytes);

/* Likewise for products in whole numbers: block `b` of a row, but for its codes. */
void kd_super_get_steps(kd_row_steps *out, const unsigned char *in, int64_t b);

/* --- 16 sub-blocks of 16 without offsets: q3_K, q6_K --------------------------------------------
 */
enum { KD_SUPER_SUB = KD_SUPER_BLOCK / KD_SUPER_SUBS };

/* Scales of the sub-blocks that lose least by `weight` (256); NULL: kd_format_search_steps. q (256)
 * is 0 … 2·most − 1. */
void kd_super_search_scales(float *scale, uint8_t *q, const float *x, const float *weight,
                            int most);
/* q with these scales; a scale of 0 leaves what is there. */
void kd_super_requantize(uint8_t *q, const float *x, const float *scale, int most);

/* --- packing ------------------------------------------------------------------------------------
 */

/* Of each 128 values, byte j of 32 has two bits of values j, j + 32, j + 64, j + 96. */
static inline void kd_super_put_pairs(unsigned char *out, const uint8_t *q) {
    for (int half = 0; half < KD_SUPER_BLOCK; half += 128)
        for (int j = half; j < half + 32; j++)
            *out++ = (unsigned char)((q[j] & 3) | (q[j + 32] & 3) << 2 | (q[j + 64] & 3) << 4 |
                                     (q[j + 96] & 3) << 6);
}
static inline void kd_super_get_pairs(uint8_t *q, const unsigned char *in) {
    for (int i = 0; i < KD_SUPER_BLOCK; i++)
        q[i] = in[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

/* Of each 64 values, byte j of 32 has four bits of values j (low) and j + 32. */
static inline void kd_super_put_nibbles(unsigned char *out, const uint8_t *q) {
    for (int i = 0; i < KD_SUPER_BLOCK; i += 64)
        for (int j = i; j < i + 32; j++)
            *out++ = (unsigned char)((q[j] & 15) | (q[j + 32] & 15) << 4);
}
static inline void kd_super_get_nibbles(uint8_t *q, const unsigned char *in) {
    for (int i = 0; i < KD_SUPER_BLOCK; i++)
        q[i] = in[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
}

#endif
