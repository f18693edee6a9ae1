/* Inside the k-quants: a super-block of 256 values is cut into sub-blocks, whose scales (and
 * offsets) are small integers times one half-precision number. */
#ifndef KD_FILES_FORMAT_SUPER_H
#define KD_FILES_FORMAT_SUPER_H

#include "files/formats/format_block.h"

enum { KD_SUPER_BLOCK = 256, KD_SUPER_SUBS = KD_SUPER_BLOCK / KD_FORMAT_BLOCK };

/* Scales and offsets of 8 sub-blocks of 32: value = d·scale·q − m·offset, scale and offset 0 … 63.
 */
typedef struct {
    float d, m; /* as half precision has them */
    uint8_t scale[KD_SUPER_SUBS], offset[KD_SUPER_SUBS];
} kd_super_scales;

enum { KD_SUPER_SCALES_BYTES = 2 + 2 + 12 };

/* d, m, then 12 bytes of 6-bit numbers: of the first four sub-blocks their scales, then their
 * offsets; of the others the low four bits of both in a byte, the upper two above the first eight.
 */
void kd_super_put_scales(unsigned char *out, const kd_super_scales *scales);
void kd_super_get_scales(kd_super_scales *out, const unsigned char *in);

/* For grids: scale d·s and offset −m·o of 256 values. */
void kd_super_fill(float *scale, float *offset, const unsigned char *in);

/* How finely the candidates for a sub-block's scale are tried. */
typedef struct {
    kd_format_candidates plain, weighted; /* without and with importance */
} kd_super_search;

/* The scales, and q (256) in 0 … most with them. `importance` (256), or NULL. */
void kd_super_quantize(kd_super_scales *scales, uint8_t *q, const float *x, const float *importance,
                       int most, const kd_super_search *search);

#endif
