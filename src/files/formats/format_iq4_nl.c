#include "files/formats/format_iq4.h"

/* Half d, 16 bytes of levels (format_iq4.h): value = d·level. */
enum { BLOCK = KD_FORMAT_BLOCK, BYTES = 2 + BLOCK / 2 };

/* `count` blocks, at most eight. */
static void encode_blocks(unsigned char *out, const float *x, const float *importance, int count) {
    kd_octet value[BLOCK], cost[BLOCK], d;
    kd_octet_int steps[BLOCK];
    float weight[KD_OCTET * BLOCK];
    uint8_t q[KD_OCTET * BLOCK];
    for (int i = 0; i < count * BLOCK; i += BLOCK)
        kd_iq4_weigh(weight + i, x + i, importance ? importance + i : NULL, BLOCK);
    kd_octet_gather(value, x, BLOCK, count);
    kd_octet_gather(cost, weight, BLOCK, count);
    kd_format_search_levels(&d, value, cost, BLOCK, KD_IQ4_LEVEL);
    const kd_octet inverse = kd_octet_pick(d != 0, 1 / d, (kd_octet){0});
    kd_format_levels(steps, value, &inverse, BLOCK, KD_IQ4_LEVEL);
    kd_octet_scatter(q, steps, BLOCK, count);
    for (int k = 0; k < count; k++) {
        kd_format_put_half(out + k * BYTES, d[k]);
        kd_iq4_put(out + k * BYTES + 2, q + k * BLOCK);
    }
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t i = 0; i < n; i += KD_OCTET * BLOCK, out += KD_OCTET * BYTES) {
        const int64_t left = (n - i) / BLOCK;
        encode_blocks(out, x + i, importance ? importance + i : NULL,
                      left < KD_OCTET ? (int)left : KD_OCTET);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= BLOCK, out += BLOCK, in += BYTES)
        kd_iq4_get(out, in + 2, kd_format_get_half(in));
}

KD_FORMAT_HALF_SCALES(0)
KD_FORMAT_PUT_CODES(kd_iq4_put, 2)

static const kd_format_grid GRID = {
    .codes = KD_IQ4_LEVELS, .level = KD_IQ4_VALUE, .scales = scales, .put = put_codes};

const kd_number_format kd_format_iq4_nl = {.name = "iq4_nl",
                                           .ggml_type = 20,
                                           .file_type = 19,
                                           .gguf_file_type = 25,
                                           .block = BLOCK,
                                           .bytes = BYTES,
                                           .fallback = &kd_format_f16,
                                           .encode = encode,
                                           .decode = decode,
                                           .grid = &GRID};
