#include "files/formats/format_iq4.h"

/* 8 sub-blocks of 32 levels (format_iq4.h): half d, 2 bytes of the upper two bits of each scale, 4
 * bytes of the lower four, 128 of levels: value = d·(s − 32)·level. */
enum { SUB = KD_FORMAT_BLOCK, SUPER = KD_OCTET * SUB };
enum { HIGH = 2, LOW = HIGH + 2, LEVELS = LOW + 4, BYTES = LEVELS + SUPER / 2, MOST_SCALE = 32 };

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (; n > 0; n -= SUPER, row += BYTES)
        for (int j = 0; j < KD_OCTET; j++, code += SUB)
            kd_iq4_put(row + LEVELS + j * SUB / 2, code);
}

static void put_scales(unsigned char *block, const kd_octet_int *step) {
    unsigned high = 0;
    memset(block + LOW, 0, LEVELS - LOW);
    for (int j = 0; j < KD_OCTET; j++) {
        const unsigned s = (unsigned)((*step)[j] + MOST_SCALE);
        block[LOW + j / 2] = (unsigned char)(block[LOW + j / 2] | (s & 15) << j % 2 * 4);
        high |= (s >> 4) << 2 * j;
    }
    block[HIGH] = (unsigned char)high;
    block[HIGH + 1] = (unsigned char)(high >> 8);
}

/* d·(s − 32) of sub-block j. */
static float get_scale(const unsigned char *block, int j) {
    const int high = (block[HIGH + j / 4] >> j % 4 * 2) & 3;
    const int low = block[LOW + j / 2] >> j % 2 * 4 & 15;
    return kd_format_get_half(block) * (float)((low | high << 4) - MOST_SCALE);
}

static void encode_block(unsigned char *out, const float *x, const float *importance) {
    kd_octet value[SUB], cost[SUB], scale;
    kd_octet_int steps[SUB];
    float weight[SUPER], extreme = 0;
    uint8_t q[SUPER];
    kd_iq4_weigh(weight, x, importance, SUPER);
    kd_octet_gather(value, x, SUB, KD_OCTET);
    kd_octet_gather(cost, weight, SUB, KD_OCTET);
    kd_format_search_levels(&scale, value, cost, SUB, KD_IQ4_LEVEL);
    for (int j = 0; j < KD_OCTET; j++)
        if (fabsf(scale[j]) > fabsf(extreme)) extreme = scale[j];
    const float d = -extreme / MOST_SCALE, inverse = d != 0 ? 1 / d : 0;
    const kd_octet_int step = kd_octet_step(inverse * scale, -MOST_SCALE, MOST_SCALE - 1);
    const kd_octet own = d * kd_octet_float(step);
    const kd_octet back = kd_octet_pick(own != 0, 1 / own, (kd_octet){0});
    kd_format_levels(steps, value, &back, SUB, KD_IQ4_LEVEL);
    kd_octet_scatter(q, steps, SUB, KD_OCTET);
    kd_format_put_half(out, d);
    put_scales(out, &step);
    put_codes(out, q, SUPER);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += SUPER, out += BYTES)
        encode_block(out, x + at, importance ? importance + at : NULL);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= SUPER, in += BYTES)
        for (int j = 0; j < KD_OCTET; j++, out += SUB)
            kd_iq4_get(out, in + LEVELS + j * SUB / 2, get_scale(in, j));
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= SUPER, in += BYTES)
        for (int j = 0; j < KD_OCTET; j++, scale += SUB, offset += SUB)
            kd_format_fill(scale, offset, get_scale(in, j), 0, SUB);
}

static const kd_format_grid GRID = {
    .codes = KD_IQ4_LEVELS, .level = KD_IQ4_VALUE, .scales = scales, .put = put_codes};

const kd_number_format kd_format_iq4_xs = {.name = "iq4_xs",
                                           .ggml_type = 23,
                                           .file_type = 22,
                                           .gguf_file_type = 30,
                                           .block = SUPER,
                                           .bytes = BYTES,
                                           .fallback = &kd_format_iq4_nl,
                                           .encode = encode,
                                           .decode = decode,
                                           .grid = &GRID};
