/* IEEE half precision (binary16) as bits, rounded to the nearest, ties to even. */
#ifndef KD_DATA_HALF_H
#define KD_DATA_HALF_H

#include <stdint.h>

#define KD_HALF_MAX 65504.0f

uint16_t kd_half_from_float(float x);
float kd_half_to_float(uint16_t half);

/* The same for n numbers, by the processor's own instructions where it has them; the same bits. */
void kd_half_encode(uint16_t *out, const float *x, int64_t n);
void kd_half_decode(float *out, const uint16_t *half, int64_t n);

#endif
