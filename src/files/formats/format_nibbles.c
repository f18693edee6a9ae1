#include "files/formats/format_nibbles.h"

enum { BLOCK = KD_FORMAT_BLOCK, HALF = BLOCK / 2 };

/* --- codes --------------------------------------------------------------------------------------
 */

/* Where they begin in a block. */
static int codes_at(kd_nibbles how) {
    return how.offset ? 4 : 2;
}

static void put_codes(unsigned char *block, const uint8_t *q, kd_nibbles how) {
    unsigned char *out = block + codes_at(how);
    if (how.fifth) {
        uint32_t high = 0;
        for (int j = 0; j < BLOCK; j++) high |= (uint32_t)(q[j] >> 4) << j;
        memcpy(out, &high, sizeof high);
        out += sizeof high;
    }
    for (int j = 0; j < HALF; j++) out[j] = (unsigned char)((q[j] & 15) | (q[j + HALF] & 15) << 4);
}

static void get_codes(uint8_t *q, const unsigned char *block, kd_nibbles how) {
    const unsigned char *in = block + codes_at(how);
    uint32_t high = 0;
    if (how.fifth) {
        memcpy(&high, in, sizeof high);
        in += sizeof high;
    }
    for (int j = 0; j < HALF; j++) {
        q[j] = (uint8_t)((in[j] & 15u) | (high >> j & 1) << 4);
        q[j + HALF] = (uint8_t)((unsigned)(in[j] >> 4) | (high >> (j + HALF) & 1) << 4);
    }
}

static void put_block(unsigned char *block, float d, float m, const uint8_t *q, kd_nibbles how) {
    kd_format_put_half(block, d);
    if (how.offset) kd_format_put_half(block + 2, m);
    put_codes(block, q, how);
}

void kd_nibbles_put(unsigned char *row, const uint8_t *code, int64_t n, kd_nibbles how) {
    const int bytes = kd_nibbles_bytes(how);
    for (; n > 0; n -= BLOCK, row += bytes, code += BLOCK) put_codes(row, code, how);
}

void kd_nibbles_scales(float *scale, float *offset, const unsigned char *in, int64_t n,
                       kd_nibbles how) {
    const int bytes = kd_nibbles_bytes(how);
    for (; n > 0; n -= BLOCK, in += bytes, scale += BLOCK, offset += BLOCK)
        kd_format_fill(scale, offset, kd_format_get_half(in),
                       how.offset ? kd_format_get_half(in + 2) : 0, BLOCK);
}

void kd_nibbles_steps(kd_row_steps *out, const unsigned char *in, int64_t n, kd_nibbles how) {
    const int bytes = kd_nibbles_bytes(how);
    for (int64_t i = 0; i < n; i += BLOCK, in += bytes) {
        memcpy(&out->d[i / BLOCK], in, sizeof *out->d);
        if (how.offset) memcpy(&out->m[i / BLOCK], in + 2, sizeof *out->m);
        get_codes(out->code + i, in, how);
    }
}

void kd_nibbles_decode(float *out, const unsigned char *in, int64_t n, kd_nibbles how) {
    const int bytes = kd_nibbles_bytes(how);
    for (; n > 0; n -= BLOCK, in += bytes, out += BLOCK) {
        const float d = kd_format_get_half(in), m = how.offset ? kd_format_get_half(in + 2) : 0;
        uint8_t q[BLOCK];
        get_codes(q, in, how);
        if (how.offset)
            for (int j = 0; j < BLOCK; j++) out[j] = d * (float)q[j] + m;
        else
            for (int j = 0; j < BLOCK; j++) out[j] = d * (float)(q[j] - how.most);
    }
}

/* --- without importance -------------------------------------------------------------------------
 */

/* q[j] = (int)((x[j] − low)/d + offset), at most `most`, which x is at most one step beyond. Where
 * 1/d is infinite, q is 0, as ggml has it on x86. */
static void put_steps(uint8_t *q, const float *x, float low, float inverse, float offset,
                      int most) {
    int32_t step[BLOCK];
#pragma omp simd
    for (int j = 0; j < BLOCK; j++) {
        const float scaled = (x[j] - low) * inverse + offset;
        const int32_t s = scaled >= 0 && scaled < 128 ? (int32_t)scaled : 0;
        step[j] = s < most ? s : most;
    }
    for (int j = 0; j < BLOCK; j++) q[j] = (uint8_t)step[j];
}

/* → the largest − the least, which is *low. */
static float span(const float *x, float *low) {
    float high = x[0], least = x[0];
#pragma omp simd reduction(max : high) reduction(min : least)
    for (int j = 1; j < BLOCK; j++) {
        high = x[j] > high ? x[j] : high;
        least = x[j] < least ? x[j] : least;
    }
    *low = least;
    return high - least;
}

static void encode_plain(unsigned char *block, const float *x, kd_nibbles how) {
    uint8_t q[BLOCK];
    float d, m = 0;
    if (how.offset)
        d = span(x, &m) / (float)how.most;
    else
        d = kd_format_extreme(x) / -(float)how.most;
    const float inverse = d != 0 ? 1 / d : 0, middle = how.offset ? 0 : (float)how.most;
    put_steps(q, x, m, inverse, middle + 0.5f, how.offset ? how.most : 2 * how.most - 1);
    put_block(block, d, m, q, how);
}

/* --- with importance ----------------------------------------------------------------------------
 */

/* `count` blocks, at most eight. */
static void encode_weighted(unsigned char *out, const float *x, const float *weight, int count,
                            kd_nibbles how) {
    static const kd_format_candidates candidates = {-0.9f, 0.05f, 36, 0};
    kd_octet value[BLOCK], cost[BLOCK], d, m = {0};
    kd_octet_int steps[BLOCK];
    uint8_t q[KD_OCTET * BLOCK];
    kd_octet_gather(value, x, BLOCK, count);
    kd_octet_gather(cost, weight, BLOCK, count);
    if (how.offset)
        kd_format_search_offset(&d, &m, steps, value, cost, BLOCK, how.most, &candidates);
    else
        kd_format_search_scale(&d, steps, value, cost, BLOCK, how.most);
    kd_octet_scatter(q, steps, BLOCK, count);
    for (int k = 0; k < count; k++)
        put_block(out + k * kd_nibbles_bytes(how), d[k], m[k], q + k * BLOCK, how);
}

void kd_nibbles_encode(unsigned char *out, const float *x, const float *importance, int64_t n,
                       kd_nibbles how) {
    const int bytes = kd_nibbles_bytes(how);
    if (!importance) {
        for (int64_t i = 0; i < n; i += BLOCK, out += bytes) encode_plain(out, x + i, how);
        return;
    }
    const float sigma2 = kd_format_mean_square(x, n);
    for (int64_t i = 0; i < n; i += KD_OCTET * BLOCK, out += KD_OCTET * bytes) {
        const int64_t left = (n - i) / BLOCK;
        const int count = left < KD_OCTET ? (int)left : KD_OCTET;
        float weight[KD_OCTET * BLOCK];
        kd_format_weights(weight, importance + i, x + i, count * BLOCK, sigma2);
        encode_weighted(out, x + i, weight, count, how);
    }
}
